package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/kubeconfig"
)

// place is a cluster that remembers whom it forgot.
type place struct {
	Target
	server  string
	forgot  chan cluster.Owner
	stopped chan struct{}
}

func newPlace(server string) *place {
	return &place{server: server, forgot: make(chan cluster.Owner, 100), stopped: make(chan struct{})}
}

func (p *place) Forget(owner cluster.Owner) { p.forgot <- owner }

func (p *place) Unload(owner cluster.Owner) { p.forgot <- owner }

// world is a fleet whose clusters are HTTP servers.
type world struct {
	*Fleet
	t      *testing.T
	server map[string]string // what an object's Secret leads to
	opened []*place
	told   chan cluster.Owner
	// transport of the cluster that was opened last.
	transport http.RoundTripper
	clock     atomic.Int64
}

func newWorld(t *testing.T, busy, all int) *world {
	w := &world{t: t, server: map[string]string{}, told: make(chan cluster.Owner, 100)}
	w.Fleet = New(Options{
		Home: Opened{Target: newPlace("home")}, Connections: w, Busy: busy, AllBusy: all,
		Check: func(u User) { w.told <- u.Owner },
		Open: func(config *rest.Config, _ string) (Opened, error) {
			p := newPlace(config.Host)
			w.opened = append(w.opened, p)
			transport := config.WrapTransport(&http.Transport{DialContext: config.Dial})
			w.transport = transport
			return Opened{
				Target: p,
				Ping: func(ctx context.Context) error {
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host, nil)
					if err != nil {
						return err
					}
					resp, err := transport.RoundTrip(req)
					if err != nil {
						return err
					}
					return resp.Body.Close()
				},
				Run: func(ctx context.Context) error {
					<-ctx.Done()
					close(p.stopped)
					return nil
				},
			}, nil
		},
	})
	w.now = func() time.Time { return time.Unix(0, w.clock.Load()) }
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("fleet ended with %v", err)
		}
	})
	w.until(func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.start != nil
	})
	return w
}

func (w *world) until(ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			w.t.Fatal("waited in vain")
		}
	}
}

// Connect leads to the server of the object's Secret.
func (w *world) Connect(_ context.Context, _ string, ref *fluxmeta.KubeConfigReference) (kubeconfig.Connection, error) {
	c := kubeconfig.Connection{Config: &rest.Config{Host: w.server[ref.SecretRef.Name]}}
	copy(c.Key[:], c.Config.Host)
	return c, nil
}

func object(name, secret string) *kustomizev1.Kustomization {
	ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	ks.Spec.Interval.Duration = time.Hour
	if secret != "" {
		ks.Spec.KubeConfig = &fluxmeta.KubeConfigReference{SecretRef: &fluxmeta.SecretKeyReference{Name: secret}}
	}
	return ks
}

// enter begins a pass that must be let in.
func (w *world) enter(ks *kustomizev1.Kustomization) (*place, func()) {
	w.t.Helper()
	target, leave, err := w.For(w.t.Context(), ks)
	if err != nil {
		w.t.Fatalf("%s: %v", ks.Name, err)
	}
	return target.(*place), leave
}

func answering(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestMembersAreSharedAndDropped(t *testing.T) {
	w := newWorld(t, 10, 10)
	w.server["a"], w.server["b"] = answering(t), answering(t)
	w.server["same"] = w.server["a"]
	a, leave := w.enter(object("one", "a"))
	leave()
	same, leave := w.enter(object("two", "same"))
	leave()
	if a != same || len(w.opened) != 1 {
		t.Fatal("equal connections do not share a member")
	}
	b, leave := w.enter(object("one", "b"))
	leave()
	if b == a || (<-a.forgot).Name != "one" {
		t.Fatal("an object that moved is still known where it was")
	}
	select {
	case <-a.stopped:
		t.Fatal("a member ended that an object uses")
	default:
	}
	w.Forget(cluster.Owner{Namespace: "ns", Name: "two"})
	<-a.stopped // nobody uses it any more

	w.clock.Store(int64(3 * time.Hour))
	w.sweep()
	if _, leave = w.enter(object("one", "b")); len(w.opened) != 2 {
		t.Fatal("a member ended though its object may come back within three intervals")
	}
	leave()
	w.clock.Store(int64(7 * time.Hour))
	w.sweep()
	<-b.stopped
}

func TestSlotsBoundAMember(t *testing.T) {
	w := newWorld(t, 2, 10)
	w.server["a"] = answering(t)
	_, first := w.enter(object("one", "a"))
	_, second := w.enter(object("two", "a"))
	if _, _, err := w.For(t.Context(), object("three", "a")); !errors.Is(err, cluster.ErrBusy) {
		t.Fatalf("a third pass: %v", err)
	}
	if home, leave := w.enter(object("near", "")); home.server != "home" {
		t.Fatal("the own cluster is held up")
	} else {
		leave()
	}
	first()
	_, third := w.enter(object("three", "a"))
	second()
	third()
}

// TestSlotsBoundAllMembers shows that clusters that answer probes and nothing else
// leave workers for the own cluster, however many there are.
func TestSlotsBoundAllMembers(t *testing.T) {
	w := newWorld(t, 2, 3)
	w.server["a"], w.server["b"], w.server["c"] = answering(t), answering(t), answering(t)
	_, first := w.enter(object("one", "a"))
	_, second := w.enter(object("two", "a"))
	_, third := w.enter(of("others", object("three", "b")))
	for _, secret := range []string{"b", "c"} {
		if _, _, err := w.For(t.Context(), object("four", secret)); !errors.Is(err, cluster.ErrBusy) {
			t.Fatalf("a fourth pass, in cluster %s: %v", secret, err)
		}
	}
	_, near := w.enter(object("near", ""))
	near()
	first()
	_, fourth := w.enter(object("four", "b")) // a refusal gave back the place in its cluster
	for _, leave := range []func(){second, third, fourth} {
		leave()
	}
	if w.slots.Held() != 0 {
		t.Fatal("places are lost")
	}
}

// TestSlotsAreShared shows that the clusters of one tenant, which may hold every pass for as long as a request takes, leave
// some to those of others, and that who is turned away is told when its own namespace has room.
func TestSlotsAreShared(t *testing.T) {
	w := newWorld(t, 3, 6)
	w.server["a"], w.server["b"], w.server["c"] = answering(t), answering(t), answering(t)
	var leaves []func()
	for n, secret := range []string{"a", "a", "b", "b"} {
		_, leave := w.enter(object(fmt.Sprint(n), secret))
		leaves = append(leaves, leave)
	}
	if _, _, err := w.For(t.Context(), object("more", "b")); !errors.Is(err, cluster.ErrBusy) {
		t.Fatalf("a fifth pass of six for one namespace: %v", err)
	}
	_, other := w.enter(of("others", object("one", "c")))
	for len(w.told) > 0 { // of the first answers of the clusters
		<-w.told
	}
	other()
	if len(w.told) > 0 {
		t.Errorf("%s was told of a place that its namespace may not have", (<-w.told).Name)
	}
	for _, leave := range leaves {
		leave()
	}
	if told := <-w.told; told.Name != "more" {
		t.Errorf("told was %s", told.Name)
	}
}

// of puts an object into a namespace.
func of(namespace string, ks *kustomizev1.Kustomization) *kustomizev1.Kustomization {
	ks.Namespace = namespace
	return ks
}

// TestWhoIsTurnedAwayIsTold: each pass that leaves lets one in, in the order of their coming.
func TestWhoIsTurnedAwayIsTold(t *testing.T) {
	w := newWorld(t, 1, 10)
	w.server["a"] = answering(t)
	_, leave := w.enter(object("first", "a"))
	for len(w.told) > 0 { // of the first answer of the cluster
		<-w.told
	}
	names := []string{"second", "third", "fourth"}
	for _, name := range append(names, "second") { // the last is a check that came for another reason
		if _, _, err := w.For(t.Context(), object(name, "a")); !errors.Is(err, cluster.ErrBusy) {
			t.Fatalf("%s got %v", name, err)
		}
	}
	for _, name := range names {
		if len(w.told) > 0 {
			t.Fatalf("%s was told though the cluster is full", (<-w.told).Name)
		}
		leave()
		if told := <-w.told; told.Name != name {
			t.Errorf("told was %s, not %s", told.Name, name)
		}
		_, leave = w.enter(object(name, "a"))
	}
	leave()
	if len(w.told) > 0 || len(w.away.at) > 0 || w.away.order.Len() > 0 {
		t.Error("somebody still waits")
	}
}

func TestDeadMembersFailAtOnceAndComeBack(t *testing.T) {
	w := newWorld(t, 10, 10)
	dead := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	address := "http://" + dead.Listener.Addr().String()
	if err := dead.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	w.server["a"] = address
	none := (*cluster.NoTargetError)(nil)
	if _, _, err := w.For(t.Context(), object("one", "a")); !errors.As(err, &none) || none.Disabled {
		t.Fatalf("error is %v", err)
	}
	<-w.told
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", dead.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	dead.Listener = listener
	dead.Start()
	t.Cleanup(dead.Close)
	<-w.told // without a pass that asks
	_, leave := w.enter(object("one", "a"))
	leave()
}

func TestAnEndedMemberEndsItsRequests(t *testing.T) {
	w := newWorld(t, 10, 10)
	asked := make(chan struct{}, 10)
	stuck := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			asked <- struct{}{}
			<-r.Context().Done()
		}
	}))
	t.Cleanup(stuck.Close)
	w.server["a"] = stuck.URL
	_, leave := w.enter(object("one", "a"))
	leave()
	failed := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, stuck.URL+"/stuck", nil)
		if err != nil {
			failed <- err
			return
		}
		resp, err := w.transport.RoundTrip(req)
		if err == nil {
			err = resp.Body.Close()
		}
		failed <- err
	}()
	<-asked
	w.Forget(cluster.Owner{Namespace: "ns", Name: "one"})
	if err := <-failed; err == nil {
		t.Fatal("a request went on")
	}
	if len(asked) > 0 {
		t.Fatal("the request was sent again")
	}
}
