package health

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/refusal"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// parallel is how many objects are read at once.
const parallel = 8

// State is an object and its status.
type State struct {
	Object cluster.Ref
	// Status is Current, InProgress, Failed, Terminating, NotFound or Unknown.
	Status string
	// Message says what the object waits for or why it failed, in 512 bytes at most: it may be anybody's words.
	Message string
	// Error says why the status is Unknown, as briefly.
	Error string
	// At is the resourceVersion of the object that was evaluated; empty when there was none.
	At string
}

// maxMessage bounds, in bytes, what is told of one object.
const maxMessage = 512

// String returns <Kind/namespace/name status: 'Status'> without the brackets.
func (s State) String() string {
	out := fmt.Sprintf("%s status: '%s'", s.Object, s.Status)
	if s.Error != "" {
		out += ": " + s.Error
	}
	return out
}

// Report is the health of a list of objects at one moment.
type Report struct {
	// Ready objects need no more waiting.
	Ready []State
	// Failed objects will not become ready without a change.
	Failed []State
	// InProgress objects may become ready; absent ones are among them.
	InProgress []State
}

// Healthy reports whether nothing is left to wait for.
func (r Report) Healthy() bool { return len(r.Failed) == 0 && len(r.InProgress) == 0 }

// Waiting names the objects that are not ready, failed ones first.
func (r Report) Waiting() []cluster.Ref {
	var refs []cluster.Ref
	for _, s := range slices.Concat(r.Failed, r.InProgress) {
		refs = append(refs, s.Object)
	}
	return refs
}

// Awaited are the objects that are not ready as they were looked at, failed ones first.
func (r Report) Awaited() []cluster.Seen {
	var out []cluster.Seen
	for _, s := range slices.Concat(r.Failed, r.InProgress) {
		out = append(out, cluster.Seen{Ref: s.Object, At: s.At})
	}
	return out
}

// List formats states as Flux does: [Kind/ns/name status: 'InProgress', …].
func List(states []State) string {
	parts := make([]string, 0, len(states))
	for _, s := range states {
		parts = append(parts, s.String())
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// Reasons says what objects wait for or why they failed, as far as they tell; it
// begins with a colon, or is empty.
func Reasons(states []State) string {
	var parts []string
	for _, s := range states {
		if s.Message != "" {
			parts = append(parts, fmt.Sprintf("%s: %s", s.Object, s.Message))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, "; ")
}

var job = schema.GroupKind{Group: "batch", Kind: "Job"}

// Check reads objects and evaluates them once. The order inside a report is that
// of refs. An error is one of the API server's that says nothing about health.
func Check(ctx context.Context, client *cluster.Client, refs []cluster.Ref, rules Rules) (Report, error) {
	states := make([]State, len(refs))
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, r := range refs {
		group.Go(func() error {
			s, err := look(ctx, client, r, rules)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			states[i] = s
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Report{}, err
	}
	var report Report
	for _, s := range states {
		switch status.Status(s.Status) {
		case status.CurrentStatus:
			report.Ready = append(report.Ready, s)
		case status.FailedStatus:
			report.Failed = append(report.Failed, s)
		default:
			report.InProgress = append(report.InProgress, s)
		}
	}
	return report, nil
}

func look(ctx context.Context, client *cluster.Client, r cluster.Ref, rules Rules) (State, error) {
	o, err := client.Get(ctx, r)
	switch {
	case cluster.IsGone(err):
		return absent(r), nil
	case err != nil:
		return State{}, fmt.Errorf("read %s: %w", r, err)
	}
	s, err := rules.Evaluate(ctx, o)
	s.At = o.GetResourceVersion()
	return s, err
}

// absent is the state of an object that is not there. A Job's time to live removes
// it once it is finished, so an absent Job counts as ready.
func absent(r cluster.Ref) State {
	if r.GroupKind() == job {
		return State{Object: r, Status: string(status.CurrentStatus), Message: "Job was removed after it finished"}
	}
	return State{Object: r, Status: string(status.NotFoundStatus), Message: "Resource not found"}
}

// evaluate goes by the kstatus rules. A Job is ready when it is complete or
// suspended.
func evaluate(o *unstructured.Unstructured) (State, error) {
	r := cluster.RefOf(o)
	if r.GroupKind() == job && o.GetDeletionTimestamp() == nil {
		if s, ok := unfinishedJob(o); ok {
			return s, nil
		}
	}
	result, err := status.Compute(o)
	if err != nil {
		return State{}, fmt.Errorf("evaluate %s: %w", r, err)
	}
	if o.GetDeletionTimestamp() != nil {
		result.Message = leaving(o)
	}
	return State{Object: r, Status: string(result.Status), Message: refusal.Cut(result.Message, maxMessage)}, nil
}

// Leaving is the state of an object that is deleted and still there.
func Leaving(o *unstructured.Unstructured) State {
	return State{Object: cluster.RefOf(o), Status: string(status.TerminatingStatus), Message: leaving(o), At: o.GetResourceVersion()}
}

// Unserved is the state of an object whose kind is not served yet.
func Unserved(r cluster.Ref) State {
	return State{Object: r, Status: string(status.NotFoundStatus), Message: "its definition is ready, but the API server does not serve the kind yet"}
}

// Leaves reports whether the object is deleted and still there.
func (s State) Leaves() bool { return s.Status == string(status.TerminatingStatus) }

// leaving says what keeps a deleted object: its finalizers, and for a namespace what
// its conditions tell of what is in it.
func leaving(o *unstructured.Unstructured) string {
	held := o.GetFinalizers()
	inSpec, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "finalizers") // a namespace's
	message := "it is being deleted"
	if held = append(held, inSpec...); len(held) > 0 {
		message += ", held by finalizer " + strings.Join(held, ", ")
	}
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		condition, ok := c.(map[string]any)
		kind, _ := condition["type"].(string)
		if ok && condition["status"] == "True" && strings.HasSuffix(kind, "Remaining") {
			message += fmt.Sprintf(": %v", condition["message"])
		}
	}
	const remedy = "; let the deletion end, then it is made anew"
	return refusal.Cut(message, maxMessage-len(remedy)) + remedy
}

// unfinishedJob covers what kstatus sees otherwise: it calls a Job current as soon
// as it runs.
func unfinishedJob(o *unstructured.Unstructured) (State, bool) {
	r := cluster.RefOf(o)
	if suspended, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend"); suspended {
		return State{Object: r, Status: string(status.CurrentStatus), Message: "Job is suspended"}, true
	}
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		condition, ok := c.(map[string]any)
		if !ok || condition["status"] != "True" {
			continue
		}
		if condition["type"] == "Complete" || condition["type"] == "Failed" {
			return State{}, false
		}
	}
	return State{Object: r, Status: string(status.InProgressStatus), Message: "Job is not complete"}, true
}
