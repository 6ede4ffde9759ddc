package controlplane

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of processor time in /proc on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// CPUTime returns the processor time that each component has used so far, by its name.
func (c *ControlPlane) CPUTime() (map[string]time.Duration, error) {
	used := map[string]time.Duration{}
	for _, p := range c.processes {
		d, err := ProcessCPUTime(p.pid)
		if err != nil {
			return nil, fmt.Errorf("read processor time of %s: %w", p.name, err)
		}
		used[p.name] = d
	}
	return used, nil
}

// Processes returns the process id of each component by its name.
func (c *ControlPlane) Processes() map[string]int {
	pids := map[string]int{}
	for _, p := range c.processes {
		pids[p.name] = p.pid
	}
	return pids
}

// ProcessCPUTime returns the user and system time a process has used, to 10 ms
// (proc_pid_stat(5), fields 14 and 15). It works on Linux only.
func ProcessCPUTime(pid int) (time.Duration, error) { return cpuTime(pid, 14, 15) }

// EndedCPUTime returns the user and system time of those children of a process
// that have ended and were waited for, to 10 ms (fields 16 and 17). It works on
// Linux only.
func EndedCPUTime(pid int) (time.Duration, error) { return cpuTime(pid, 16, 17) }

// cpuTime sums fields of a process's stat line, counted from 1.
func cpuTime(pid int, numbers ...int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command name, field 2, is in parentheses and may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var ticks int64
	for _, number := range numbers {
		if len(fields) <= number-3 {
			return 0, fmt.Errorf("read processor time of process %d: short stat line", pid)
		}
		n, err := strconv.ParseInt(string(fields[number-3]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time of process %d: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}
