package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
)

// recreates reports whether an error is to be answered by making the object anew:
// it was asked for, the error may mean an immutable field, and the API server
// says that it would accept the object if it did not exist. Anything else it says,
// or no answer, keeps the live object: nothing is deleted that may not come back.
func (c *call) recreates(ctx context.Context, i *item, err error) bool {
	asked := c.req.Force || i.optOut.Has(livestate.Force)
	if !asked || !immutable(err) || errors.Is(classify(i, err), ErrConflict) {
		return false
	}
	live, err := c.req.Client.Get(ctx, i.ref)
	if err != nil {
		i.refused = err
		return false
	}
	trial := &item{ref: i.ref, desired: trialOf(i.desired, live), fresh: i.fresh}
	_, _, i.refused = c.apply(ctx, trial, true)
	return i.refused == nil
}

// trialName returns a valid name that no other object has. A name that is cut must
// not end with a dot, beside which no dash may stand.
func trialName(name string) string {
	const suffix = "-sluice-trial"
	return strings.TrimRight(name[:min(len(name), validation.DNS1123LabelMaxLength-len(suffix))], ".") + suffix
}

// trialOf returns the object under a name that no other has, without the addresses
// and ports that the live object holds and gives back when it is deleted. Those it
// does not hold stay, so that the trial shows whether they are free.
func trialOf(o, live *unstructured.Unstructured) *unstructured.Unstructured {
	trial := o.DeepCopy()
	trial.SetName(trialName(o.GetName()))
	if !needsAddress(trial) {
		return trial
	}
	held, _ := live.Object["spec"].(map[string]any)
	spec, _ := trial.Object["spec"].(map[string]any)
	for _, field := range []string{"clusterIP", "clusterIPs", "healthCheckNodePort"} {
		if reflect.DeepEqual(spec[field], held[field]) {
			delete(spec, field)
		}
	}
	returned := map[any]bool{}
	for _, port := range portsOf(held) {
		returned[port["nodePort"]] = true
	}
	for _, port := range portsOf(spec) {
		if returned[port["nodePort"]] {
			delete(port, "nodePort")
		}
	}
	return trial
}

// portsOf returns the ports of a Service's spec.
func portsOf(spec map[string]any) []map[string]any {
	list, _ := spec["ports"].([]any)
	var ports []map[string]any
	for _, p := range list {
		if port, ok := p.(map[string]any); ok {
			ports = append(ports, port)
		}
	}
	return ports
}

// recreated deletes the live object and applies, once it is gone. One that its finalizers
// keep is what the item waits for.
func (c *call) recreated(ctx context.Context, i *item) (*unstructured.Unstructured, bool, error) {
	if err := c.lookUp(ctx, i); err != nil && !cluster.IsGone(err) {
		return nil, false, fmt.Errorf("read before recreation: %w", err)
	}
	if !i.before.Terminating {
		c.writes.Add(1)
		if err := c.req.Client.Delete(ctx, i.ref, i.before.UID); err != nil && !cluster.IsGone(err) {
			return nil, false, fmt.Errorf("delete before recreation: %w", err)
		}
	}
	live, err := c.req.Client.Get(ctx, i.ref)
	switch {
	case cluster.IsGone(err):
		i.exists, i.before = false, livestate.Slim{}
		return c.send(ctx, i)
	case err != nil:
		return nil, false, fmt.Errorf("look for what is deleted before recreation: %w", err)
	case live.GetUID() != i.before.UID:
		return nil, false, ErrConflict
	}
	c.leave(i.ref)
	left := health.Leaving(live)
	i.waits = &left
	return nil, false, errWaits
}
