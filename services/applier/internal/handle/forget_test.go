package handle

import (
	"context"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/claim"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
)

// none is a cache that has nothing, live an API server that still had the object when it was asked.
type (
	none struct{ client.Reader }
	live struct {
		client.Reader
		asked int
	}
)

func (none) Get(_ context.Context, name client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, name.Name)
}

func (l *live) Get(_ context.Context, name client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	l.asked++
	into.(*kustomizev1.Kustomization).ObjectMeta = metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, ResourceVersion: "1"}
	return nil
}

// clusters and ending note what they are told to forget.
type (
	clusters struct {
		Targets
		forgot []cluster.Owner
	}
	ending struct {
		finalizer
		forgot []types.NamespacedName
	}
)

func (c *clusters) Forget(owner cluster.Owner) { c.forgot = append(c.forgot, owner) }

func (e *ending) Forget(name types.NamespacedName) { e.forgot = append(e.forgot, name) }

// shared is what all processes have: the bus, and the snapshots.
type shared struct {
	Bus
	forgot  []events.Key
	dropped []string
}

func (s *shared) Forget(_ context.Context, _ events.Stage, key events.Key) error {
	s.forgot = append(s.forgot, key)
	return nil
}

func (s *shared) Drop(id seal.Identity) { s.dropped = append(s.dropped, id.Namespace+"/"+id.Name) }

// TestForgetLeavesNothing: every replica forgets an object that is gone, and nothing but what it
// remembers itself. Who gets the check ends the rest.
func TestForgetLeavesNothing(t *testing.T) {
	name := types.NamespacedName{Namespace: "apps", Name: "shop"}
	server, far, end, all := &live{}, &clusters{}, &ending{}, &shared{}
	w := &Worker{Reader: claim.NewReader(none{}, server), Targets: far, Finalizer: end, Bus: all, Snapshots: all}
	if _, err := w.Reader.Live(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	key, now := events.NewKey(kustomizev1.KustomizationKind, name.Namespace, name.Name), time.Now()
	w.patience.waited(key, "build", now)
	other := events.NewKey(kustomizev1.KustomizationKind, name.Namespace, "other")
	for _, k := range []events.Key{key, other} { // deleted while health is waited for
		w.changed.put(k, "render", []events.Change{{Action: "created"}})
	}
	w.compared.note(key, now)
	w.lingering.add(key, []inventory.Entry{{ID: "apps_one__ConfigMap", Version: "v1"}})
	w.fights.reverted(key, []cluster.Ref{{Version: "v1", Kind: "ConfigMap", Namespace: "apps", Name: "one"}}, now)
	w.said.News(key, "it failed")

	w.Forget(name)

	if len(w.changed.take(other, "render")) != 1 {
		t.Error("another object was forgotten")
	}
	if n := len(w.patience.since) + len(w.changed.all) + len(w.compared.at) + len(w.lingering.all) + len(w.fights.all); n > 0 {
		t.Errorf("%d things are remembered of an object that is gone", n)
	}
	if !w.said.News(key, "it failed") {
		t.Error("the failure of an object that is gone is remembered")
	}
	if diff := cmp.Diff([]cluster.Owner{{Namespace: "apps", Name: "shop"}}, far.forgot); diff != "" {
		t.Errorf("clusters were told to forget (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]types.NamespacedName{name}, end.forgot); diff != "" {
		t.Errorf("the finalizer was told to forget (-want +got):\n%s", diff)
	}
	if ks, err := w.Reader.Get(t.Context(), name); ks != nil || err != nil || server.asked != 1 {
		t.Errorf("after %d requests the object is %v, %v; want none, without another request", server.asked, ks, err)
	}
	if len(all.forgot)+len(all.dropped) > 0 {
		t.Errorf("a replica that did not get the check ended %v and %v, which all share", all.forgot, all.dropped)
	}
	if _, err := w.gone(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if len(all.forgot) != 1 || len(all.dropped) != 1 || all.dropped[0] != "apps/shop" {
		t.Errorf("the check of the deletion ended %v and %v", all.forgot, all.dropped)
	}
}
