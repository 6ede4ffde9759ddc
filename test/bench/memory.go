package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// residentMemory returns what a process and its children hold in memory, in
// bytes. Pages that several of them share, such as the program's own text, are
// counted once (proportional set size).
func residentMemory(pid int) (int64, error) {
	sum, err := proportional(pid)
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
			if size, err := proportional(child); err == nil { // else the child has ended meanwhile
				sum += size
			}
		}
	}
	return sum, nil
}

func proportional(pid int) (int64, error) {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(body)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "Pss:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("read memory of process %d: no Pss in smaps_rollup", pid)
}
