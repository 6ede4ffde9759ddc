package release

import (
	"context"
	"fmt"
	"slices"
	"strings"

	helmrelease "helm.sh/helm/v3/pkg/release"
	helmtime "helm.sh/helm/v3/pkg/time"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// hooksFor returns the hooks of an event in the order in which they run: by weight, then name.
func (a *acting) hooksFor(event helmrelease.HookEvent) []*helmrelease.Hook {
	var out []*helmrelease.Hook
	for _, h := range a.record.Hooks {
		if !slices.Contains(h.Events, event) {
			continue
		}
		if event == helmrelease.HookTest && a.Options.TestFilters != nil && !a.Options.TestFilters(h.Name) {
			continue
		}
		out = append(out, h)
	}
	slices.SortStableFunc(out, func(x, y *helmrelease.Hook) int {
		if x.Weight != y.Weight {
			return x.Weight - y.Weight
		}
		return strings.Compare(x.Name, y.Name)
	})
	return out
}

// hooks runs the hooks of an event one after another. What is stored before a hook is made
// tells one that this action made from one that was there before: an applier that is killed in
// between has it made again, which changes nothing if it was.
func (a *acting) hooks(ctx context.Context, event helmrelease.HookEvent) (Progress, error) {
	if event == "" || a.run.Foreign || a.Options.DisableHooks && event != helmrelease.HookTest {
		return Progress{}, nil
	}
	list := a.hooksFor(event)
	for a.run.Hook < len(list) {
		p, err := a.hook(ctx, event, list)
		if err != nil || len(p.Waiting) > 0 {
			return p, err
		}
		a.reach(a.run.Phase, a.run.Hook+1)
	}
	if slices.ContainsFunc(list, func(h *helmrelease.Hook) bool { return slices.Contains(h.DeletePolicies, helmrelease.HookSucceeded) }) {
		if err := a.store(ctx); err != nil { // that they are done, which nobody can see once they are gone
			return Progress{}, err
		}
	}
	for _, h := range slices.Backward(list) {
		if _, err := a.discard(ctx, h, helmrelease.HookSucceeded); err != nil {
			return Progress{}, err
		}
	}
	return Progress{}, nil
}

// hook makes the hook that is next, or looks at the one that was made.
func (a *acting) hook(ctx context.Context, event helmrelease.HookEvent, list []*helmrelease.Hook) (Progress, error) {
	h := list[a.run.Hook]
	objects, err := a.objects(h.Manifest, a.record.Namespace)
	if err != nil {
		return Progress{}, fmt.Errorf("failed %s: hook %s: %w", event, h.Path, err)
	}
	if !a.run.Cleared {
		left, err := a.discard(ctx, h, helmrelease.HookBeforeHookCreation)
		if err != nil || len(left) > 0 {
			return waitFor(cluster.Unseen(left...), "deletion of "+names(left)), err
		}
		if err := a.vacant(ctx, event, h, objects); err != nil {
			return Progress{}, err
		}
		a.run.Cleared, a.run.Reached = true, a.now().UTC()
		h.LastRun = helmrelease.HookExecution{StartedAt: helmtime.Time{Time: a.now().UTC()}, Phase: helmrelease.HookPhaseRunning}
		if err := a.store(ctx); err != nil {
			return Progress{}, err
		}
	}
	if !a.run.Made {
		for _, o := range objects {
			if err := a.put(ctx, o); err != nil {
				if Transient(err) {
					return Progress{}, err
				}
				return Progress{}, a.hookFailed(ctx, event, list, err)
			}
		}
		a.run.Made = true
	}
	waiting, message, err := a.completed(ctx, objects)
	if err != nil {
		if Transient(err) {
			return Progress{}, err
		}
		return Progress{}, a.hookFailed(ctx, event, list, err)
	}
	if len(waiting) > 0 && a.left() <= 0 {
		return Progress{}, a.hookFailed(ctx, event, list, fmt.Errorf("timed out waiting for the condition: %s", message))
	}
	if len(waiting) > 0 {
		return waitFor(waiting, message), nil
	}
	h.LastRun.CompletedAt, h.LastRun.Phase = helmtime.Time{Time: a.now().UTC()}, helmrelease.HookPhaseSucceeded
	return Progress{}, nil
}

// hookFailed ends a phase with a hook that failed.
func (a *acting) hookFailed(ctx context.Context, event helmrelease.HookEvent, list []*helmrelease.Hook, why error) error {
	h := list[a.run.Hook]
	h.LastRun.CompletedAt, h.LastRun.Phase = helmtime.Time{Time: a.now().UTC()}, helmrelease.HookPhaseFailed
	_, err := a.discard(ctx, h, helmrelease.HookFailed)
	for _, done := range list[:a.run.Hook] {
		if err == nil {
			_, err = a.discard(ctx, done, helmrelease.HookSucceeded)
		}
	}
	if err != nil {
		why = fmt.Errorf("%w; and a hook could not be deleted: %w", why, err)
	}
	return failed(event, why)
}

// failed says which hooks failed, for good.
func failed(event helmrelease.HookEvent, why error) error {
	if event == helmrelease.HookTest {
		return permanent("%w", why)
	}
	return permanent("failed %s: %w", event, why)
}

// deleted says whether a hook's policies have its objects deleted then. Without a policy they are before the hook is made
// again. Definitions stay.
func deleted(h *helmrelease.Hook, policy helmrelease.HookDeletePolicy) bool {
	if h.Kind == definitionKind {
		return false
	}
	return slices.Contains(h.DeletePolicies, policy) || len(h.DeletePolicies) == 0 && policy == helmrelease.HookBeforeHookCreation
}

// vacant fails a hook whose objects are there before this action made them and may not be deleted, as Helm does: what is
// applied to a Job that is done does not run it. Definitions are as good as new.
func (a *acting) vacant(ctx context.Context, event helmrelease.HookEvent, h *helmrelease.Hook, objects []*unstructured.Unstructured) error {
	if h.Kind == definitionKind || deleted(h, helmrelease.HookBeforeHookCreation) {
		return nil
	}
	for _, r := range refs(objects) {
		_, err := a.Client.GetMetadata(ctx, r)
		switch {
		case err == nil:
			now := helmtime.Time{Time: a.now().UTC()}
			h.LastRun = helmrelease.HookExecution{StartedAt: now, CompletedAt: now, Phase: helmrelease.HookPhaseFailed}
			return failed(event, fmt.Errorf("hook %s: %s already exists: delete it, or add before-hook-creation to the hook's %s",
				h.Path, r, helmrelease.HookDeleteAnnotation))
		case !cluster.IsGone(err):
			return err
		}
	}
	return nil
}

// discard deletes a hook's objects if its policies say so, and returns those that are still
// there.
func (a *acting) discard(ctx context.Context, h *helmrelease.Hook, policy helmrelease.HookDeletePolicy) ([]cluster.Ref, error) {
	if !deleted(h, policy) {
		return nil, nil
	}
	objects, err := a.objects(h.Manifest, a.record.Namespace)
	if err != nil {
		return nil, fmt.Errorf("hook %s: %w", h.Path, err)
	}
	var left []cluster.Ref
	for _, r := range refs(objects) {
		live, err := a.Client.GetMetadata(ctx, r)
		if cluster.IsGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if live.DeletionTimestamp.IsZero() {
			if err := a.Client.Delete(ctx, r, live.UID); err != nil && !cluster.IsGone(err) && !apierrors.IsConflict(err) {
				return nil, err
			}
			if _, err = a.Client.GetMetadata(ctx, r); cluster.IsGone(err) {
				continue
			}
		}
		left = append(left, r)
	}
	return left, nil
}

// completed looks at the Jobs and Pods of a hook; the other kinds are done when they are made.
func (a *acting) completed(ctx context.Context, objects []*unstructured.Unstructured) (waiting []cluster.Seen, message string, err error) {
	for _, o := range objects {
		r := cluster.RefOf(o)
		job := r.Group == "batch" && r.Kind == "Job"
		if !job && (r.Group != "" || r.Kind != "Pod") {
			continue
		}
		live, err := a.Client.Get(ctx, r)
		if cluster.IsGone(err) && job && expires(o) {
			continue // it ran, and its time to live is over
		}
		if cluster.IsGone(err) {
			return nil, "", permanent("%s was deleted before it was done", r)
		}
		if err != nil {
			return nil, "", err
		}
		done, why := podDone(live)
		if job {
			done, why = jobDone(live)
		}
		if why != nil {
			return nil, "", why
		}
		if !done {
			waiting = append(waiting, cluster.Seen{Ref: r, At: live.GetResourceVersion()})
		}
	}
	return waiting, describe(waiting), nil
}

func expires(o *unstructured.Unstructured) bool {
	_, ok, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "ttlSecondsAfterFinished")
	return ok
}

// jobDone says whether a Job is complete, or why it failed.
func jobDone(live *unstructured.Unstructured) (bool, error) {
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		if condition["status"] != "True" {
			continue
		}
		switch condition["type"] {
		case "Complete":
			return true, nil
		case "Failed":
			return false, permanent("job %s failed: %v", live.GetName(), condition["reason"])
		}
	}
	return false, nil
}

func podDone(live *unstructured.Unstructured) (bool, error) {
	phase, _, _ := unstructured.NestedString(live.Object, "status", "phase")
	switch phase {
	case "Succeeded":
		return true, nil
	case "Failed":
		return false, permanent("pod %s failed", live.GetName())
	}
	return false, nil
}

func describe(list []cluster.Seen) string {
	refs := make([]cluster.Ref, len(list))
	for i, s := range list {
		refs[i] = s.Ref
	}
	return names(refs)
}

func names(list []cluster.Ref) string {
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = r.String()
	}
	return strings.Join(out, ", ")
}
