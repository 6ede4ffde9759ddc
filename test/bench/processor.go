package main

import (
	"fmt"
	"time"

	"github.com/sluice-gitops/sluice/test/controlplane"
)

// processor is the processor time of one measurement. It moves far less than the
// time on the clock when something else uses the machine.
type processor struct{ api, services, builds time.Duration }

func (p processor) minus(q processor) processor {
	return processor{api: p.api - q.api, services: p.services - q.services, builds: p.builds - q.builds}
}

func (p processor) plus(q processor) processor {
	return processor{api: p.api + q.api, services: p.services + q.services, builds: p.builds + q.builds}
}

func (p processor) String() string {
	if p.services == 0 && p.builds == 0 {
		return fmt.Sprintf("API server and etcd %.1f s", p.api.Seconds())
	}
	return fmt.Sprintf("API server and etcd %.1f s, services %.1f s, builds %.1f s",
		p.api.Seconds(), p.services.Seconds(), p.builds.Seconds())
}

// spent returns the processor time used so far: by the API server with etcd, by
// sluice, and by the processes it builds in.
func (w *world) spent() (processor, error) {
	components, err := w.Plane.CPUTime()
	if err != nil {
		return processor{}, err
	}
	p := processor{api: components["kube-apiserver"] + components["etcd"]}
	if p.services, err = controlplane.ProcessCPUTime(w.Sluice.PID()); err != nil {
		return processor{}, err
	}
	p.builds, err = childrenCPUTime(w.Sluice.PID())
	return p, err
}

// spending returns what was spent while do ran.
func (w *world) spending(do func() error) (processor, error) {
	before, err := w.spent()
	if err != nil {
		return processor{}, err
	}
	if err := do(); err != nil {
		return processor{}, err
	}
	after, err := w.spent()
	return after.minus(before), err
}

// childrenCPUTime returns the processor time of a process's children: of those
// that live now, and of those it has waited for (proc_pid_stat(5), fields 16, 17).
func childrenCPUTime(pid int) (time.Duration, error) {
	sum, err := controlplane.EndedCPUTime(pid)
	if err != nil {
		return 0, err
	}
	err = children(pid, func(child int) {
		if used, err := controlplane.ProcessCPUTime(child); err == nil { // else the child has ended meanwhile
			sum += used
		}
	})
	return sum, err
}
