package depend

import (
	"context"
	"errors"
	"fmt"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tenant is a cache of Kustomizations.
type tenant struct {
	client.Reader
	all   map[string]*kustomizev1.Kustomization
	asked func()
}

func (t tenant) Get(_ context.Context, n client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	t.asked()
	ks := t.all[n.Name]
	if ks == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "kustomizations"}, n.Name)
	}
	*into.(*kustomizev1.Kustomization) = *ks
	return nil
}

// add makes a Kustomization that depends on others, by their names.
func (t tenant) add(name string, on ...string) {
	ks := &kustomizev1.Kustomization{}
	ks.Namespace, ks.Name = "tenant", name
	for _, o := range on {
		ks.Spec.DependsOn = append(ks.Spec.DependsOn, kustomizev1.DependencyReference{Name: o})
	}
	t.all[name] = ks
}

// dense is so many Kustomizations, each of which depends on all later ones.
func dense(count int, asked func()) tenant {
	t := tenant{all: map[string]*kustomizev1.Kustomization{}, asked: asked}
	for i := range count {
		var later []string
		for j := i + 1; j < count; j++ {
			later = append(later, fmt.Sprint(j))
		}
		t.add(fmt.Sprint(i), later...)
	}
	return t
}

func TestCycleIsNamed(t *testing.T) {
	cache := tenant{all: map[string]*kustomizev1.Kustomization{}, asked: func() {}}
	cache.add("a", "gone", "b", "c")
	cache.add("b", "d")
	cache.add("c", "b", "d", "e")
	cache.add("d")
	cache.add("e", "e", "a")
	for start, want := range map[string]string{
		"a": "tenant/a → tenant/c → tenant/e → tenant/a",
		"b": "", // it waits for nobody who waits for it
		"e": "tenant/e → tenant/e",
	} {
		if got, err := (Checker{Cache: cache}).cycle(t.Context(), cache.all[start]); got != want || err != nil {
			t.Errorf("from %s: %q, %v; want %q", start, got, err, want)
		}
	}
}

// Dependencies are a tenant's to choose. Each object is read once, and an edge to one that was read costs nothing.
func TestDenseDependenciesAreCheap(t *testing.T) {
	const count = 200
	reads := 0
	cache := dense(count, func() { reads++ })
	allocations := testing.AllocsPerRun(1, func() {
		reads = 0
		if path, err := (Checker{Cache: cache}).cycle(t.Context(), cache.all["0"]); path != "" || err != nil {
			t.Errorf("got %q, %v", path, err)
		}
	})
	if reads != count-1 || allocations > 20*count {
		t.Errorf("%d objects were read in %v steps, for %d edges", reads, allocations, count*(count-1)/2)
	}
}

func TestSearchForACycleEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reads, stop := 0, errors.New("the pass is over")
	cache := dense(20, func() {
		if reads++; reads == 5 {
			cancel(stop)
		}
	})
	if _, err := (Checker{Cache: cache}).cycle(ctx, cache.all["0"]); !errors.Is(err, stop) || reads != 5 {
		t.Errorf("%d objects were read, %v", reads, err)
	}
}
