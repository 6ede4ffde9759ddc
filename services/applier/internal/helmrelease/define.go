package helmrelease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	helmchart "helm.sh/helm/v3/pkg/chart"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// define makes a chart's definitions and waits until they are served; served is true when the action may begin. Before
// that nothing is stored: definitions that fail leave no revision, and whatever is wanted by then comes next. Should the
// applier be killed, another makes them again.
func (p *pass) define(ctx context.Context, all []*record, made *record, run helmstore.Run, crds []*helmchart.File) (result bus.Result, served bool, err error) {
	runner, err := p.runner(run.Action)
	if err != nil {
		return bus.Result{}, false, err
	}
	if runner.Options.CRDs = crds; !runner.MakesDefinitions() {
		return bus.Result{}, true, nil
	}
	began := p.defining.since(string(p.hr.UID) + " " + run.Input)
	progress, wait, err := p.advance(ctx, began, func(ctx context.Context) (release.Progress, error) {
		progress, err := runner.Definitions(ctx)
		progress.Left = release.DefinitionsTimeout - time.Since(began)
		return progress, err
	})
	switch {
	case err == nil && progress.Done:
		p.defining.forget(string(p.hr.UID) + " " + run.Input)
		return bus.Result{}, true, nil
	case ctx.Err() != nil:
		return bus.Result{}, false, context.Cause(ctx)
	case progress.Left <= 0 && err == nil:
		err = fmt.Errorf("timeout waiting for: %s", progress.Message)
	case err != nil && release.Transient(err) && progress.Left > 0:
		return bus.Result{}, false, err
	case err == nil:
		return bus.Result{Next: wait}, false, p.announce(ctx, textRunning(run.Action, runner.Options.Timeout))
	}
	p.defining.forget(string(p.hr.UID) + " " + run.Input)
	if failed := p.attempted(made, run); failed != nil {
		return bus.Result{}, false, errors.Join(err, failed)
	}
	result, err = p.failed(ctx, all, made, run.Action, fmt.Errorf("failed to apply CustomResourceDefinitions: %w", err))
	return result, false, err
}

// clocks say since when this process waits for what no storage knows of.
type clocks struct {
	mu    sync.Mutex
	began map[string]time.Time
}

func (c *clocks) since(what string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began == nil {
		c.began = map[string]time.Time{}
	}
	for other, began := range c.began { // of those that something newer took the place of
		if time.Since(began) > 10*release.DefinitionsTimeout {
			delete(c.began, other)
		}
	}
	if _, ok := c.began[what]; !ok {
		c.began[what] = time.Now()
	}
	return c.began[what]
}

func (c *clocks) forget(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.began, what)
}
