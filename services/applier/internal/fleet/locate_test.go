package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/kubeconfig"
)

// cloud locates the clusters of its world: those whose Secret has no server are asked for
// until answer lets go of them. It has no memory.
type cloud struct {
	*world
	asked  atomic.Int32
	answer chan error
}

func (c *cloud) Connect(ctx context.Context, _ string, ref *fluxmeta.KubeConfigReference) (kubeconfig.Connection, error) {
	unlocated := kubeconfig.Connection{
		Located:   func() (kubeconfig.Connection, bool) { return kubeconfig.Connection{}, false },
		Unlocated: func(err error) error { return err },
	}
	server := c.server[ref.SecretRef.Name]
	unlocated.Locate = func(ctx context.Context) (kubeconfig.Connection, error) {
		c.asked.Add(1)
		if server != "" {
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
	c.told = make(chan cluster.Owner, 1000)
	return c
}

// away sends an object away, which is to be told when it may come back.
func (c *cloud) away(ks *kustomizev1.Kustomization) {
	c.t.Helper()
	began := time.Now()
	if _, _, err := c.For(c.t.Context(), ks); !errors.Is(err, cluster.ErrUnknown) {
		c.t.Fatalf("%s got %v", ks.Name, err)
	}
	if took := time.Since(began); took > firstMeeting/2 {
		c.t.Errorf("%s was held for %s", ks.Name, took)
	}
}

// tells waits until so many objects were told to come back.
func (c *cloud) tells(n int) map[string]bool {
	told := map[string]bool{}
	for range n {
		told[(<-c.told).Name] = true
	}
	return told
}

func TestAClusterIsLocatedOnceForMany(t *testing.T) {
	c := newCloud(t)
	c.server["far"] = answering(t)
	c.away(object("first", "far"))
	c.tells(1)
	for n := range 3 {
		p, leave := c.enter(object(fmt.Sprint(n), "far"))
		leave()
		if p != c.opened[0] || len(c.opened) != 1 {
			t.Fatal("the same cluster, found again, is another member")
		}
	}
	if got := c.asked.Load(); got != 1 {
		t.Errorf("the cloud was asked %d times", got)
	}
	c.clock.Add(int64(answerCounts + time.Second))
	c.sweep()
	if len(c.searches) != 0 {
		t.Error("a search that is over is kept")
	}
}

func TestACloudThatDoesNotAnswerHoldsNobody(t *testing.T) {
	c := newCloud(t)
	const crowd = 100
	for n := range crowd {
		c.away(object(fmt.Sprint(n), "far"))
		c.away(object(fmt.Sprint(n), "far")) // a check that came for another reason
	}
	c.until(func() bool { return c.asked.Load() == 1 })
	c.answer <- errors.New("no")
	if told := c.tells(crowd); len(told) != crowd || len(c.told) > 0 {
		t.Errorf("%d of %d were told, and %d twice", len(told), crowd, len(c.told))
	}
	for n := range crowd {
		if _, _, err := c.For(t.Context(), object(fmt.Sprint(n), "far")); err == nil || err.Error() != "no" {
			t.Errorf("who came back got %v", err)
		}
	}
	if got := c.asked.Load(); got != 1 {
		t.Errorf("the cloud was asked %d times", got)
	}
	c.clock.Add(int64(answerCounts + time.Second))
	c.away(object("later", "far"))
	c.until(func() bool { return c.asked.Load() == 2 })
	c.answer <- errors.New("again")
	c.tells(1)
}

// TestLookupsAreBoundedAndFair: of many clusters that a cloud does not answer for, so many are
// asked for at once, and another namespace's at once all the same.
func TestLookupsAreBoundedAndFair(t *testing.T) {
	c := newCloud(t)
	for n := range 100 {
		c.away(object(fmt.Sprint(n), fmt.Sprint("far-", n)))
	}
	c.until(func() bool { return c.asked.Load() == lookupsEach })
	other := object("other", "near")
	other.Namespace, c.server["near"] = "others", answering(t)
	c.away(other)
	if told := c.tells(1); !told["other"] {
		t.Errorf("told were %v", told)
	}
	if got := c.asked.Load(); got != lookupsEach+1 {
		t.Errorf("clouds were asked %d times at once", got)
	}
	_, leave := c.enter(other)
	leave()
	for range 100 {
		c.answer <- errors.New("no")
	}
	if told := c.tells(100); len(told) != 100 {
		t.Errorf("%d were told", len(told))
	}
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
		if errors.Is(err, cluster.ErrUnknown) {
			<-w.told
			_, _, err = w.For(t.Context(), ks)
		}
		target := (*cluster.NoTargetError)(nil)
		if !errors.As(err, &target) || !strings.Contains(err.Error(), `ConfigMap "of-`+namespace+`": provider aws: invalid EKS cluster ARN`) {
			t.Errorf("namespace %s is told %v", namespace, err)
		}
	}
	if len(w.searches) != 1 {
		t.Errorf("there were %d searches, want one for both", len(w.searches))
	}
}
