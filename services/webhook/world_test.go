package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/natsserver"
	"github.com/sluice-gitops/sluice/services/webhook"
	"github.com/sluice-gitops/sluice/test/controlplane"
)

const (
	patience = 30 * time.Second
	token    = "s3cr3t-of-team-a"
)

// world is a real API server and bus with the webhook service on them.
type world struct {
	client.Client
	plane *controlplane.ControlPlane
	nats  *natsserver.Server
	bus   *bus.Bus
	url   string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	plane := controlplane.StartT(t, controlplane.Options{NoNodes: true, NoControllerManager: true, RequestLog: true})
	if err := plane.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	scheme, err := kube.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := client.New(plane.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Client: admin, plane: plane, nats: bustest.Server(t)}
	w.bus = bustest.Connect(t, w.nats, bus.Config{})
	w.namespace(t, "sluice-system")
	w.url = w.start(t, webhook.Config{})
	return w
}

// start runs a replica of the service on the world until the test ends and returns
// its address.
func (w *world) start(t *testing.T, config webhook.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := w.plane.RESTConfig()
	cfg.UserAgent = "sluice-webhook"
	ctx, stop := context.WithCancel(t.Context())
	config.REST, config.Bus, config.Listener, config.Logger = cfg, w.bus, l, bustest.Logger(t)
	done := make(chan error, 1)
	go func() {
		done <- webhook.Run(ctx, config)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run webhook: %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

func (w *world) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := w.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) namespace(t *testing.T, name string) {
	t.Helper()
	w.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

func (w *world) secret(t *testing.T, namespace string, data map[string]string) {
	t.Helper()
	w.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "hook"}, StringData: data})
}

func (w *world) repository(t *testing.T, namespace, name string, labels map[string]string) {
	t.Helper()
	w.create(t, &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       sourcev1.GitRepositorySpec{URL: "https://git.example.org/" + name, Interval: metav1.Duration{Duration: time.Hour}},
	})
}

// receiver creates a Receiver of type github for pushes, changed by edit.
func (w *world) receiver(t *testing.T, namespace, name string, edit func(*notificationv1.ReceiverSpec)) *notificationv1.Receiver {
	t.Helper()
	r := &notificationv1.Receiver{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: notificationv1.ReceiverSpec{
			Type: "github", Events: []string{"push"}, SecretRef: &fluxmeta.LocalObjectReference{Name: "hook"},
			Resources: []notificationv1.ReceiverResource{resource("GitRepository", "apps")},
		},
	}
	if edit != nil {
		edit(&r.Spec)
	}
	w.create(t, r)
	return r
}

func resource(kind, name string) notificationv1.ReceiverResource {
	return notificationv1.ReceiverResource{
		CrossNamespaceObjectReference: notificationv1.CrossNamespaceObjectReference{Kind: kind, Name: name},
	}
}

// await reads a Receiver until ok says yes.
func (w *world) await(t *testing.T, r *notificationv1.Receiver, ok func(*notificationv1.Receiver) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		if err := w.Get(ctx, client.ObjectKeyFromObject(r), r); err != nil {
			return false, err
		}
		return ok(r), nil
	})
	if err != nil {
		t.Fatalf("wait for receiver %s/%s: %v; status %+v", r.Namespace, r.Name, err, r.Status)
	}
}

func condition(r *notificationv1.Receiver, kind string) metav1.Condition {
	for _, c := range r.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return metav1.Condition{}
}

func ready(r *notificationv1.Receiver) bool {
	c := condition(r, "Ready")
	return c.Status == metav1.ConditionTrue && c.ObservedGeneration == r.Generation
}

func (w *world) gone(t *testing.T, r *notificationv1.Receiver) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		err := w.Get(ctx, client.ObjectKeyFromObject(r), r)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	if err != nil {
		t.Fatalf("receiver %s/%s does not go: %v", r.Namespace, r.Name, err)
	}
}

// delivery is one request; its zero value is a signed push.
type delivery struct {
	body, key, event, method string
	unsigned, chunked        bool
	id                       string
}

// post sends a delivery and returns the status it was answered with.
func (w *world) post(t *testing.T, url string, d delivery) int {
	t.Helper()
	if d.key == "" {
		d.key = token
	}
	if d.event == "" {
		d.event = "push"
	}
	if d.method == "" {
		d.method = http.MethodPost
	}
	var body io.Reader = bytes.NewReader([]byte(d.body))
	if d.chunked {
		body = io.MultiReader(body) // hides the length
	}
	request, err := http.NewRequestWithContext(t.Context(), d.method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(d.key))
	mac.Write([]byte(d.body))
	if !d.unsigned {
		request.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	request.Header.Set("X-GitHub-Event", d.event)
	request.Header.Set("X-GitHub-Delivery", d.id)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// expect sends deliveries until one is answered with want: the index follows the
// API server's watch, which may be a moment behind the status.
func (w *world) expect(t *testing.T, want int, url string, d delivery) {
	t.Helper()
	got := 0
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		got = w.post(t, url, d)
		return got == want, nil
	})
	if err != nil {
		t.Fatalf("answered %d, want %d", got, want)
	}
}

// hooks returns the hook events of a Receiver that the bus has.
func (w *world) hooks(t *testing.T, namespace, name string) []events.HookReceived {
	t.Helper()
	history, err := w.bus.History(t.Context(), events.HookSubject(namespace, name))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, history)
}

func decode(t *testing.T, history []event.Event) []events.HookReceived {
	t.Helper()
	var hooks []events.HookReceived
	for _, e := range history {
		hook, err := events.Decode[events.HookReceived](e)
		if err != nil {
			t.Fatal(errors.Join(err, e.Validate()))
		}
		hooks = append(hooks, hook)
	}
	return hooks
}

// requests counts what the service has asked the API server about a namespace.
func (w *world) requests(t *testing.T, namespace string) int {
	t.Helper()
	all, err := w.plane.Requests(time.Time{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, r := range all {
		if r.Namespace == namespace && strings.HasPrefix(r.UserAgent, "sluice-webhook") {
			count++
		}
	}
	return count
}

func sortKeys(keys []events.Key) {
	slices.SortFunc(keys, func(a, b events.Key) int { return strings.Compare(a.String(), b.String()) })
}
