package target

import (
	"context"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// kept is the last snapshot that was asked for.
type kept struct{ keep func() []livestate.Kept }

func (k *kept) Save(_ seal.Identity, _, _ string, keep func() []livestate.Kept) { k.keep = keep }

func (k *kept) Load(context.Context, seal.Identity, string, string) ([]livestate.Kept, error) {
	return k.keep(), nil
}

// A part that is applied while the whole is still to be verified is all that the table has of an owner.
func TestNothingIsKeptBeforeAllIsKnown(t *testing.T) {
	c, err := cluster.New(&rest.Config{Host: "http://127.0.0.1:1"}, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	ks := &kustomizev1.Kustomization{}
	ks.Namespace, ks.Name = "apps", "shop"
	owner := ownerOf(ks)
	for _, tt := range []struct {
		why     string
		prepare func(*Target)
		kept    bool
	}{
		{"of a stranger nothing is known", func(*Target) {}, false},
		{"a verification is owed", func(to *Target) { to.owe(owner, 100) }, false},
		{"it was done", func(to *Target) { to.owe(owner, 100); to.learn(owner, true) }, true},
		{"all was applied here", func(to *Target) { to.learn(owner, false) }, true},
		{"the owner is elsewhere by now", func(to *Target) { to.learn(owner, false); to.Unload(owner) }, false},
	} {
		snapshots := &kept{}
		to := New(c, nil, livestate.New(client, livestate.Options{}), Options{
			Snapshots: snapshots, Identity: func(*kustomizev1.Kustomization) seal.Identity { return seal.Identity{} },
		})
		tt.prepare(to)
		to.save(ks, "render")
		if got := snapshots.keep() != nil; got != tt.kept {
			t.Errorf("%s: a snapshot is written: %v", tt.why, got)
		}
	}
}
