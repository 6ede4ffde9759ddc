package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// peakMemory samples the memory of a process and its children each second until
// the returned function is called, which returns the most that was seen, in bytes.
// A second in which the process does not run, as while it is restarted, is left out.
func peakMemory(pid func() int) (stop func() int64) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan int64)
	go func() {
		var most int64
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				result <- most
				return
			case <-tick.C:
				if now, err := residentMemory(pid()); err == nil {
					most = max(most, now)
				}
			}
		}
	}()
	return func() int64 {
		cancel()
		return <-result
	}
}

// residentMemory returns what a process and its children hold in memory, in
// bytes. Pages that several of them share, such as the program's own text, are
// counted once (proportional set size).
func residentMemory(pid int) (int64, error) {
	sum, err := proportional(pid)
	if err != nil {
		return 0, err
	}
	err = children(pid, func(child int) {
		if size, err := proportional(child); err == nil { // else the child has ended meanwhile
			sum += size
		}
	})
	return sum, err
}

// children calls visit for each child process that lives now.
func children(pid int, visit func(child int)) error {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return fmt.Errorf("list children of process %d: %w", pid, err)
	}
	for _, task := range tasks {
		list, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended meanwhile
		}
		for _, field := range strings.Fields(string(list)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return fmt.Errorf("read children of process %d: %w", pid, err)
			}
			visit(child)
		}
	}
	return nil
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
