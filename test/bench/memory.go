package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// residentMemory returns the resident memory of a process and its children, in bytes.
func residentMemory(pid int) (int64, error) {
	sum, err := residentOf(pid)
	if err != nil {
		return 0, err
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, fmt.Errorf("list children of process %d: %w", pid, err)
	}
	for _, task := range tasks {
		list, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended meanwhile
		}
		for _, field := range strings.Fields(string(list)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return 0, fmt.Errorf("read children of process %d: %w", pid, err)
			}
			if size, err := residentOf(child); err == nil { // else the child has ended meanwhile
				sum += size
			}
		}
	}
	return sum, nil
}

func residentOf(pid int) (int64, error) {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	fields := strings.Fields(string(body))
	if len(fields) < 2 {
		return 0, fmt.Errorf("read memory of process %d: %q", pid, body)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	return pages * int64(os.Getpagesize()), nil
}
