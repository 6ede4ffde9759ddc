package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/kubeconfig"
)

// cloud locates the clusters of its world: those whose Secret has no server are asked for
// until answer lets go of them.
type cloud struct {
	*world
	asked  atomic.Int32
	answer chan error
}

func (c *cloud) Connect(ctx context.Context, _ string, ref *fluxmeta.KubeConfigReference) (kubeconfig.Connection, error) {
	unlocated := kubeconfig.Connection{Unlocated: func(err error) error { return err }}
	unlocated.Locate = func(ctx context.Context) (kubeconfig.Connection, error) {
		c.asked.Add(1)
		if server := c.server[ref.SecretRef.Name]; server != "" {
			found := kubeconfig.Connection{Config: &rest.Config{Host: server}}
			copy(found.Key[:], server)
			return found, nil
		}
		select {
		case err := <-c.answer:
			return kubeconfig.Connection{}, err
		case <-ctx.Done():
			return kubeconfig.Connection{}, ctx.Err()
		}
	}
	copy(unlocated.Key[:], "unlocated "+ref.SecretRef.Name)
	return unlocated, ctx.Err()
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{world: newWorld(t, 2, 2), answer: make(chan error)}
	c.opts.Connections = c
	return c
}

func TestAClusterIsLocatedOnceForMany(t *testing.T) {
	c := newCloud(t)
	c.server["far"] = answering(t)
	for n := range 3 {
		p, leave := c.enter(object(fmt.Sprint(n), "far"))
		leave()
		if p != c.opened[0] || len(c.opened) != 1 {
			t.Fatal("the same cluster, found again, is another member")
		}
	}
	if len(c.searches) != 0 {
		t.Error("a search that is over is kept")
	}
}

func TestACloudThatDoesNotAnswerHoldsNobody(t *testing.T) {
	c := newCloud(t)
	c.server["other"] = answering(t)
	began := time.Now()
	if _, _, err := c.For(t.Context(), object("first", "far")); !errors.Is(err, cluster.ErrBusy) {
		t.Fatalf("the first pass got %v", err)
	}
	if took := time.Since(began); took > 3*firstMeeting {
		t.Errorf("the first pass was held for %s", took)
	}
	began = time.Now()
	for n := range 10 {
		if _, _, err := c.For(t.Context(), object(fmt.Sprint(n), "far")); !errors.Is(err, cluster.ErrBusy) {
			t.Fatalf("another pass got %v", err)
		}
		_, leave := c.enter(object("other", "other"))
		leave()
	}
	if took := time.Since(began); took > firstMeeting {
		t.Errorf("other passes were held for %s", took)
	}
	if got := c.asked.Load(); got != 11 { // once for far, and each time for the other
		t.Errorf("clouds were asked %d times", got)
	}

	c.answer <- errors.New("no")
	failure := func() bool {
		_, _, err := c.For(t.Context(), object("second", "far"))
		return err != nil && err.Error() == "no"
	}
	c.until(failure)
	if !failure() || c.asked.Load() != 11 {
		t.Error("a failure does not count for those who come back")
	}
	c.clock.Add(int64(failureCounts + time.Second))
	c.sweep()
	if len(c.searches) != 0 {
		t.Error("an old failure is kept")
	}
	c.server["far"] = answering(t)
	_, leave := c.enter(object("third", "far"))
	leave()
}

// configMaps is an API server that has ConfigMaps, all with the same text.
type configMaps struct {
	client.Client
	data map[string]string
}

func (c configMaps) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	cm, ok := o.(*corev1.ConfigMap)
	if !ok {
		return fmt.Errorf("there is no %T", o)
	}
	cm.Data = c.data
	return nil
}

func TestASharedFailureNamesEachOnesConfigMap(t *testing.T) {
	w := newWorld(t, 2, 2)
	server := configMaps{data: map[string]string{"provider": "aws", "cluster": "unknown"}} // nobody needs to be asked to refuse it
	w.opts.Connections = kubeconfig.NewReader(server, identity.New(server, identity.Config{Service: "applier"}), kubeconfig.Options{})
	for _, namespace := range []string{"one", "two"} {
		ks := object("app", "")
		ks.Namespace = namespace
		ks.Spec.KubeConfig = &fluxmeta.KubeConfigReference{ConfigMapRef: &fluxmeta.LocalObjectReference{Name: "of-" + namespace}}
		_, _, err := w.For(t.Context(), ks)
		target := (*cluster.NoTargetError)(nil)
		if !errors.As(err, &target) || !strings.Contains(err.Error(), `ConfigMap "of-`+namespace+`": provider aws: invalid EKS cluster ARN`) {
			t.Errorf("namespace %s is told %v", namespace, err)
		}
	}
	if len(w.searches) != 1 {
		t.Errorf("there were %d searches, want one for both", len(w.searches))
	}
}
