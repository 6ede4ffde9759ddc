package applier_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// step does one random thing.
func (e *edits) step() {
	e.t.Helper()
	s := e.all[e.rand.IntN(len(e.all))]
	e.count++
	name := fmt.Sprintf("f%d", e.count)
	switch n := e.rand.IntN(100); {
	case n < 30:
		patch := pick(e, slices.Concat(s.owned, metadata.owned))
		if strings.Contains(patch, "toolkit.fluxcd.io/name") {
			if s.value == "" {
				return // without the labels it is not pruned any more
			}
			s.unsure = true // and not before it is labelled again
		}
		e.write(s, pick(e, []string{"somebody", "kubectl-edit", name}), strings.ReplaceAll(patch, "VALUE", name))
	case n < 55:
		e.add(s, name)
	case n < 63:
		unseen := s.unseen()
		e.tell(s, "delete", e.delete(s))
		e.request(s, unseen)
	case n < 68:
		e.recreate(s, name)
	case n < 73:
		// What nobody manages is taken over by us at the next apply, and so is what
		// others write until then: the API server tells no manager of it.
		s.kept, s.taken, s.unsure = nil, nil, true
		e.patch(s, "somebody", types.MergePatchType, `{"metadata":{"managedFields":[{}]}}`)
	case n < 77:
		e.restart(s, name)
	case n < 81:
		e.optOut(s)
	case n < 85:
		e.optIn(s)
	case n < 94:
		e.push(s.app)
	case n < 96:
		e.push(s.app)
		e.lose()
	case n < 97:
		e.lose()
	case n < 98:
		e.mislead()
	case n < 99 && e.rand.IntN(3) == 0:
		e.log = append(e.log, "restart of the applier")
		e.stop()
		e.world.stop = e.start(applier.Settings{})
	default:
		e.log = append(e.log, "pause")
		<-time.After(time.Duration(e.rand.IntN(400)) * time.Millisecond)
	}
}

func pick[T any](e *edits, of []T) T { return of[e.rand.IntN(len(of))] }

// tell logs a step with its outcome. Edits may come too late or too early: objects
// come and go.
func (e *edits) tell(s *specimen, what string, err error) bool {
	e.t.Helper()
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
		e.t.Fatalf("%s: %s: %v", s, what, err)
	}
	e.log = append(e.log, fmt.Sprintf("%s %s: %s: %v", time.Now().Format("05.000"), s, what, err))
	return err == nil
}

func (s *specimen) object() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(s.apiVersion)
	u.SetKind(s.kind)
	u.SetNamespace(s.app.namespace)
	u.SetName(s.name)
	return u
}

// write changes fields as a manager in one of the ways there are.
func (e *edits) write(s *specimen, manager, patch string) bool {
	e.t.Helper()
	ways := []string{"patch", "update"}
	if !strings.Contains(patch, "null") {
		ways = append(ways, "apply")
	}
	switch pick(e, ways) {
	case "update":
		u := s.object()
		err := e.Get(e.t.Context(), client.ObjectKeyFromObject(u), u)
		if err == nil {
			overlay(u.Object, fields(e.t, patch))
			err = e.Update(e.t.Context(), u, client.FieldOwner(manager))
		}
		return e.wrote(s, u, "update as "+manager+" "+patch, err)
	case "apply":
		u, live := s.object(), s.object()
		if err := e.Get(e.t.Context(), client.ObjectKeyFromObject(live), live); err != nil {
			return e.tell(s, "apply", err) // it would make the object
		}
		body := s.object().Object
		overlay(body, fields(e.t, patch))
		overlay(body, map[string]any{"metadata": map[string]any{"uid": string(live.GetUID())}})
		data, err := json.Marshal(body)
		if err != nil {
			e.t.Fatal(err)
		}
		// Who applies again without a field gives it up, so each applies once.
		manager = fmt.Sprintf("%s-%d", manager, e.count)
		err = e.Patch(e.t.Context(), u, client.RawPatch(types.ApplyPatchType, data), client.FieldOwner(manager), client.ForceOwnership)
		return e.wrote(s, u, "apply as "+manager+" "+patch, err)
	}
	return e.patch(s, manager, s.patchType(), patch)
}

func (e *edits) patch(s *specimen, manager string, kind types.PatchType, patch string) bool {
	e.t.Helper()
	u := s.object()
	err := e.Patch(e.t.Context(), u, client.RawPatch(kind, []byte(patch)), client.FieldOwner(manager))
	return e.wrote(s, u, fmt.Sprintf("%s as %s %s", kind, manager, patch), err)
}

// wrote keeps what an opted-out object looks like now.
func (e *edits) wrote(s *specimen, u *unstructured.Unstructured, what string, err error) bool {
	e.t.Helper()
	ok := e.tell(s, what, err)
	if ok && s.out != nil {
		s.out = content(u)
	}
	return ok
}

// content is what an object says, without what the API server adds.
func content(u *unstructured.Unstructured) map[string]any {
	c := u.DeepCopy()
	c.SetManagedFields(nil)
	c.SetResourceVersion("")
	c.SetGeneration(0)
	unstructured.RemoveNestedField(c.Object, "status")
	unstructured.RemoveNestedField(c.Object, "metadata", "annotations", "deployment.kubernetes.io/revision")
	return c.Object
}

// add adds a field that nobody declared.
func (e *edits) add(s *specimen, name string) {
	e.t.Helper()
	patch := strings.ReplaceAll(pick(e, slices.Concat(s.foreign, metadata.foreign)), "NAME", name)
	manager := pick(e, []string{"somebody", "another", "kubectl-edit", "kubectl"})
	if !e.write(s, manager, patch) || s.value == "" || s.unsure {
		return
	}
	if strings.HasPrefix(manager, "kubectl") {
		s.taken = append(s.taken, fields(e.t, patch))
		return
	}
	s.kept = append(s.kept, fields(e.t, patch))
}

// restart is what kubectl rollout restart does.
func (e *edits) restart(s *specimen, name string) {
	e.t.Helper()
	if s.kind != "Deployment" {
		return
	}
	patch := `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"` + name + `"}}}}}`
	if e.patch(s, "kubectl-rollout", s.patchType(), patch) && s.value != "" && !s.unsure {
		s.kept = append(slices.DeleteFunc(s.kept, func(kept map[string]any) bool {
			return strings.Contains(fmt.Sprint(kept), "restartedAt")
		}), fields(e.t, patch))
	}
}

func (e *edits) delete(s *specimen) error {
	err := e.Delete(e.t.Context(), s.object())
	s.kept, s.taken, s.out = nil, nil, nil
	return err
}

// recreate deletes an object and makes it again, unless Sluice is faster.
func (e *edits) recreate(s *specimen, name string) {
	e.t.Helper()
	if s.value == "" {
		return
	}
	unseen := s.unseen()
	e.tell(s, "delete", e.delete(s))
	u := &unstructured.Unstructured{Object: wanted(e.t, s.manifest(s.name, name), s.app.namespace)}
	field := fields(e.t, strings.ReplaceAll(metadata.foreign[0], "NAME", name))
	overlay(u.Object, field)
	manager := pick(e, []string{"somebody", "kubectl-create"})
	made := e.tell(s, "create as "+manager, e.Create(e.t.Context(), u, client.FieldOwner(manager)))
	if made && !s.unsure {
		if manager == "somebody" {
			s.kept = append(s.kept, field)
		} else {
			s.taken = append(s.taken, field)
		}
	}
	s.unsure = true // until it is labelled it is not pruned
	e.request(s, unseen)
}

// unseen says that no watch shows the object: it has no labels, and is not given
// them back while it is opted out.
func (s *specimen) unseen() bool {
	u := unstructured.Unstructured{Object: s.out}
	return s.out != nil && u.GetLabels()[cluster.OwnerNameLabel] == ""
}

// request has the app looked at in place of its interval.
func (e *edits) request(s *specimen, unseen bool) {
	e.t.Helper()
	if unseen {
		s.app.annotate(kube.RequestedAt, fmt.Sprint(e.count))
	}
}

const optedOut = "kustomize.toolkit.fluxcd.io/reconcile"

// optOut waits until nothing is on its way to the object, before and after.
func (e *edits) optOut(s *specimen) {
	e.t.Helper()
	if s.out != nil || s.value == "" {
		return
	}
	manager := pick(e, []string{"somebody", "kubectl-annotate"})
	if !e.patch(s, manager, types.MergePatchType, `{"metadata":{"annotations":{"`+optedOut+`":"disabled"}}}`) {
		return
	}
	e.quiet()
	u := s.object()
	if err := e.Get(e.t.Context(), client.ObjectKeyFromObject(u), u); err != nil {
		e.tell(s, "read", err)
		return
	}
	if u.GetAnnotations()[optedOut] == "disabled" { // else it was taken away first, with what was made anew
		s.out = content(u)
	}
}

func (e *edits) optIn(s *specimen) {
	e.t.Helper()
	out, unseen := s.out, s.unseen()
	s.out = nil
	if out == nil {
		return
	}
	if !e.patch(s, "somebody", types.MergePatchType, `{"metadata":{"annotations":{"`+optedOut+`":null}}}`) {
		s.out = out
		return
	}
	e.request(s, unseen)
}

// lose drops all checks that wait: the interval has to make up for them.
func (e *edits) lose() {
	e.t.Helper()
	e.lost = true
	stream, err := e.queue.Stream(e.t.Context(), events.CheckStream(events.StageApply))
	if err == nil {
		err = stream.Purge(e.t.Context(), jetstream.WithPurgeSubject("sluice.check.>"))
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.log = append(e.log, time.Now().Format("05.000")+" the checks that wait are lost")
}

// mislead sends what a doubled or a late event leads to: checks that nothing asks
// for, of a revision that is long past or of none.
func (e *edits) mislead() {
	e.t.Helper()
	var targets []bus.Target
	for range 5 {
		targets = append(targets, bus.Target{
			Stage: events.StageApply, Key: events.NewKey("Kustomization", pick(e, e.apps).namespace, "app"),
			Note: bus.Note{
				Reason:   pick(e, []string{"build", "drift", "dependency", "resync"}),
				Revision: fmt.Sprintf("main@sha1:%d", e.rand.IntN(e.count+1)),
			},
		})
	}
	if err := e.bus.Check(e.t.Context(), targets...); err != nil {
		e.t.Fatal(err)
	}
	e.log = append(e.log, time.Now().Format("05.000")+" misleading checks")
}

// push changes, removes and adds objects of an app in one render.
func (e *edits) push(a *app) {
	e.t.Helper()
	var told []string
	for _, s := range e.all {
		if s.app != a || e.rand.IntN(3) > 0 {
			continue
		}
		switch {
		case s.value == "":
			s.value, s.unsure, s.orphan = fmt.Sprint(e.count), true, false
		case e.rand.IntN(4) == 0 && !s.unsure:
			s.value, s.unsure, s.orphan = "", true, s.out != nil
			s.kept, s.taken = nil, nil
		default:
			s.value = fmt.Sprint(e.count)
		}
		told = append(told, fmt.Sprintf("%s/%s=%q", s.kind, s.name, s.value))
	}
	e.log = append(e.log, fmt.Sprintf("%s push to %s: %v", time.Now().Format("05.000"), a.namespace, told))
	e.render(a)
}
