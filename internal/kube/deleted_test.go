package kube

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	apiwait "k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	fakesource "k8s.io/client-go/tools/cache/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// replica is a process's cache of ConfigMaps over what all replicas watch.
type replica struct {
	cache.Cache
	informer toolscache.SharedIndexInformer
}

func (r replica) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return r.informer, nil
}

func (r replica) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	if _, ok, err := r.informer.GetStore().GetByKey(key.String()); ok || err != nil {
		return err
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, key.Name)
}

// slow is a replica that looks late at what became of an object.
type slow struct {
	replica
	busy chan struct{}
}

func (s slow) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	<-s.busy
	return s.replica.Get(ctx, key, into, opts...)
}

func TestEveryReplicaIsToldOfADeletion(t *testing.T) {
	source := fakesource.NewFakeControllerSource()
	named := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name, UID: types.UID(name)}}
	}
	for _, name := range []string{"stays", "goes", "comes-back"} {
		source.Add(named(name))
	}
	run := func() replica {
		r := replica{informer: toolscache.NewSharedIndexInformer(source, &corev1.ConfigMap{}, 0, nil)}
		go r.informer.Run(t.Context().Done())
		if !toolscache.WaitForCacheSync(t.Context().Done(), r.informer.HasSynced) {
			t.Fatal("the cache was not filled")
		}
		return r
	}
	told := func(c cache.Cache) chan types.NamespacedName {
		names := make(chan types.NamespacedName, 10)
		if err := OnDelete(t.Context(), c, &corev1.ConfigMap{}, func(n types.NamespacedName) { names <- n }); err != nil {
			t.Fatal(err)
		}
		return names
	}
	late := slow{run(), make(chan struct{})}
	quick, behind := told(run()), told(late)

	source.Delete(named("comes-back"))
	if got := wait(t, quick); got.Name != "comes-back" {
		t.Errorf("a replica was told of %s", got)
	}
	source.Add(named("comes-back"))
	source.Delete(named("goes"))
	if got := wait(t, quick); got != (types.NamespacedName{Namespace: "apps", Name: "goes"}) {
		t.Errorf("a replica was told of %s", got)
	}
	gone := func(context.Context) (bool, error) {
		_, there, err := late.informer.GetStore().GetByKey("apps/goes")
		return !there, err
	}
	if err := apiwait.PollUntilContextTimeout(t.Context(), time.Millisecond, 20*time.Second, true, gone); err != nil {
		t.Fatal(err)
	}
	close(late.busy)
	if got := wait(t, behind); got.Name != "goes" {
		t.Errorf("a replica that is late was told of %s, which is there again", got)
	}
}

func wait(t *testing.T, told chan types.NamespacedName) types.NamespacedName {
	t.Helper()
	select {
	case name := <-told:
		return name
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told")
		return types.NamespacedName{}
	}
}
