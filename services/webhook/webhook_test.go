package webhook_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/webhook"
	"github.com/sluice-gitops/sluice/services/webhook/internal/receive"
)

func TestWebhook(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]func(*testing.T, *world, string){
		"status": status, "refused": refused, "missing-token": missingToken, "suspend": suspend, "deleted": deleted,
		"deliver": deliver, "together": together, "reject": reject, "resources": resources, "bodies": bodies, "blocked": blocked, "quiet": quiet,
	} {
		t.Run(name, func(t *testing.T) {
			namespace := "team-" + name
			w.namespace(t, namespace)
			test(t, w, namespace)
		})
	}
	t.Run("bus-down", func(t *testing.T) { busDown(t, w) })
}

func status(t *testing.T, w *world, ns string) {
	w.secret(t, ns, map[string]string{"token": token})
	r := w.receiver(t, ns, "push", nil)
	w.await(t, r, ready)
	path := r.GetWebhookPath(token)
	if r.Status.WebhookPath != path || r.Status.ObservedGeneration != r.Generation {
		t.Errorf("status is %+v, want path %s at generation %d", r.Status, path, r.Generation)
	}
	want := metav1.Condition{Reason: "Succeeded", Message: "Receiver initialized for path: " + path}
	if c := condition(r, "Ready"); c.Reason != want.Reason || c.Message != want.Message {
		t.Errorf("Ready is %+v, want %+v", c, want)
	}
	if diff := cmp.Diff([]string{"finalizers.fluxcd.io"}, r.Finalizers); diff != "" {
		t.Errorf("finalizers (-want +got):\n%s", diff)
	}
	base := r.DeepCopy()
	r.Annotations = map[string]string{"reconcile.fluxcd.io/requestedAt": "now"}
	if err := w.Patch(t.Context(), r, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	w.await(t, r, func(r *notificationv1.Receiver) bool { return r.Status.LastHandledReconcileAt == "now" })
}

func refused(t *testing.T, w *world, ns string) {
	w.secret(t, ns, map[string]string{"token": token})
	for _, c := range []struct {
		reason, name, says string
		edit               func(*notificationv1.ReceiverSpec)
	}{
		{"a type that is not served", "type", `"gitlab" is not served`, func(s *notificationv1.ReceiverSpec) { s.Type = "gitlab" }},
		{"a type whose only secret is its address", "generic", `"generic" is not served`, func(s *notificationv1.ReceiverSpec) { s.Type = "generic" }},
		{"a filter that would be ignored", "filter", "spec.resourceFilter", func(s *notificationv1.ReceiverSpec) { s.ResourceFilter = "true" }},
		{"a filter of one resource", "inner", "spec.resources[0].filter", func(s *notificationv1.ReceiverSpec) { s.Resources[0].Filter = "true" }},
	} {
		t.Run(c.reason, func(t *testing.T) {
			r := w.receiver(t, ns, c.name, c.edit)
			w.await(t, r, func(r *notificationv1.Receiver) bool { return condition(r, "Stalled").Status == metav1.ConditionTrue })
			if m := condition(r, "Ready").Message; !strings.Contains(m, c.says) || condition(r, "Ready").Status != metav1.ConditionFalse {
				t.Errorf("Ready is %+v, want False with %q", condition(r, "Ready"), c.says)
			}
			if got := w.post(t, w.url+r.GetWebhookPath(token), delivery{}); got == http.StatusOK {
				t.Error("a receiver that is refused takes deliveries")
			}
		})
	}
}

func missingToken(t *testing.T, w *world, ns string) {
	absent := w.receiver(t, ns, "absent", nil)
	notFound := func(r *notificationv1.Receiver) bool {
		c := condition(r, "Ready")
		return c.Status == metav1.ConditionFalse && c.Reason == "TokenNotFound"
	}
	w.await(t, absent, notFound)
	w.secret(t, ns, map[string]string{"other": "x"})
	keyless := w.receiver(t, ns, "keyless", nil)
	w.await(t, keyless, notFound)
	if keyless.Status.WebhookPath != "" {
		t.Errorf("a receiver without a token has path %s", keyless.Status.WebhookPath)
	}
	if m := condition(keyless, "Ready").Message; !strings.Contains(m, "no key token") {
		t.Errorf("message is %q, want it to name the key", m)
	}
	if got := w.post(t, w.url+keyless.GetWebhookPath(""), delivery{}); got != http.StatusNotFound {
		t.Errorf("the path of an empty token is answered with %d, want 404", got)
	}
}

func suspend(t *testing.T, w *world, ns string) {
	w.secret(t, ns, map[string]string{"token": token})
	w.repository(t, ns, "apps", nil)
	r := w.receiver(t, ns, "push", nil)
	w.await(t, r, ready)
	w.expect(t, http.StatusOK, w.url+r.Status.WebhookPath, delivery{})
	before := r.Status.DeepCopy()
	for _, suspended := range []bool{true, false} {
		base := r.DeepCopy()
		r.Spec.Suspend = suspended
		if err := w.Patch(t.Context(), r, client.MergeFrom(base)); err != nil {
			t.Fatal(err)
		}
		if suspended {
			w.expect(t, http.StatusServiceUnavailable, w.url+r.Status.WebhookPath, delivery{})
			w.await(t, r, func(*notificationv1.Receiver) bool { return true })
			if diff := cmp.Diff(before.Conditions, r.Status.Conditions); diff != "" {
				t.Errorf("suspending touched the conditions (-before +after):\n%s", diff)
			}
		}
	}
	w.expect(t, http.StatusOK, w.url+r.Status.WebhookPath, delivery{})
}

func deleted(t *testing.T, w *world, ns string) {
	w.secret(t, ns, map[string]string{"token": token})
	w.repository(t, ns, "apps", nil)
	r := w.receiver(t, ns, "push", nil)
	w.await(t, r, ready)
	path := r.Status.WebhookPath
	w.expect(t, http.StatusOK, w.url+path, delivery{})
	if err := w.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.gone(t, r)
	w.expect(t, http.StatusNotFound, w.url+path, delivery{})
}

func deliver(t *testing.T, w *world, ns string) {
	w.secret(t, ns, map[string]string{"token": token})
	w.repository(t, ns, "apps", nil)
	r := w.receiver(t, ns, "push", nil)
	w.await(t, r, ready)
	w.expect(t, http.StatusOK, w.url+r.Status.WebhookPath, delivery{id: "one", body: `{"ref":"refs/heads/main"}`})
	hooks := w.hooks(t, ns, "push")
	if len(hooks) != 1 {
		t.Fatalf("the bus has %d events right after the answer, want 1", len(hooks))
	}
	want := events.HookReceived{
		Receiver: events.NewKey("receiver", ns, "push"), UID: string(r.UID), Provider: "github", Event: "push", Delivery: "one",
		Resources: []events.Key{events.NewKey("gitrepository", ns, "apps")}, ReceivedAt: hooks[0].ReceivedAt,
	}
	if diff := cmp.Diff(want, hooks[0]); diff != "" || hooks[0].ReceivedAt == "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	// a replay is authentic; it only wakes the same check again
	if got := w.post(t, w.url+r.Status.WebhookPath, delivery{id: "one", body: `{"ref":"refs/heads/main"}`}); got != http.StatusOK {
		t.Errorf("a delivery sent again is answered with %d, want 200", got)
	}
	if hooks := w.hooks(t, ns, "push"); len(hooks) != 2 || !cmp.Equal(hooks[0].Resources, hooks[1].Resources) {
		t.Errorf("after the second delivery the bus has %+v, want the same resources twice", hooks)
	}
	hmacReceiver := w.receiver(t, ns, "hmac", func(s *notificationv1.ReceiverSpec) { s.Type = "generic-hmac" })
	w.await(t, hmacReceiver, ready)
	w.expect(t, http.StatusBadRequest, w.url+hmacReceiver.Status.WebhookPath, delivery{})
}

// together sends many deliveries to one Receiver at once, to two replicas: a provider does
// not send again what was not taken.
func together(t *testing.T, w *world, ns string) {
	const deliveries = 60
	w.secret(t, ns, map[string]string{"token": token})
	w.repository(t, ns, "apps", nil)
	r := w.receiver(t, ns, "push", nil)
	w.await(t, r, ready)
	urls := []string{w.url + r.Status.WebhookPath, w.start(t, webhook.Config{}) + r.Status.WebhookPath}
	for _, url := range urls {
		w.expect(t, http.StatusOK, url, delivery{id: "first"})
	}
	answers := make([]int, deliveries)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = w.post(t, urls[i%len(urls)], delivery{id: fmt.Sprint(i)}) })
	}
	all.Wait()
	for i, answer := range answers {
		if answer != http.StatusOK {
			t.Errorf("delivery %d of %d at once is answered with %d", i, deliveries, answer)
		}
	}
}

func reject(t *testing.T, w *world, ns string) {
	w.secret(t, ns, map[string]string{"token": token})
	w.repository(t, ns, "apps", nil)
	r := w.receiver(t, ns, "push", nil)
	w.await(t, r, ready)
	w.expect(t, http.StatusOK, w.url+r.Status.WebhookPath, delivery{})
	for _, c := range []struct {
		reason, suffix string
		delivery       delivery
		want           int
	}{
		{"a signature by another token", "", delivery{key: "guess"}, http.StatusBadRequest},
		{"no signature", "", delivery{unsigned: true}, http.StatusBadRequest},
		{"an event that is not listed", "", delivery{event: "issues"}, http.StatusBadRequest},
		{"a path nobody has", "0", delivery{}, http.StatusNotFound},
		{"the path with a query, as the lookup is exact", "?x=1", delivery{}, http.StatusNotFound},
		{"a method that delivers nothing", "", delivery{method: http.MethodGet}, http.StatusMethodNotAllowed},
	} {
		t.Run(c.reason, func(t *testing.T) {
			if got := w.post(t, w.url+r.Status.WebhookPath+c.suffix, c.delivery); got != c.want {
				t.Errorf("answered %d, want %d", got, c.want)
			}
		})
	}
	if hooks := w.hooks(t, ns, "push"); len(hooks) != 1 {
		t.Errorf("rejected deliveries reached the bus: %+v", hooks)
	}
}

func bodies(t *testing.T, w *world, ns string) {
	w.secret(t, ns, map[string]string{"token": token})
	w.repository(t, ns, "apps", nil)
	r := w.receiver(t, ns, "push", nil)
	w.await(t, r, ready)
	limit := strings.Repeat("x", receive.MaxBody)
	w.expect(t, http.StatusOK, w.url+r.Status.WebhookPath, delivery{body: limit})
	for _, c := range []struct {
		reason, path string
		delivery     delivery
	}{
		{"one byte more than the limit", r.Status.WebhookPath, delivery{body: limit + "x"}},
		{"the same without a length", r.Status.WebhookPath, delivery{body: limit + "x", chunked: true}},
		{"the size comes before the signature", r.Status.WebhookPath, delivery{body: limit + "x", key: "guess"}},
		{"and before the path", "/hook/unknown", delivery{body: limit + "x"}},
		{"also without a length", "/hook/unknown", delivery{body: limit + "x", chunked: true}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			if got := w.post(t, w.url+c.path, c.delivery); got != http.StatusRequestEntityTooLarge {
				t.Errorf("answered %d, want 413", got)
			}
		})
	}
}

func resources(t *testing.T, w *world, ns string) {
	w.secret(t, ns, map[string]string{"token": token})
	w.repository(t, ns, "apps", map[string]string{"team": "a"})
	w.repository(t, ns, "infra", map[string]string{"team": "a"})
	w.repository(t, ns, "other", map[string]string{"team": "b"})
	labelled := func(kind, name string, labels map[string]string) notificationv1.ReceiverResource {
		r := resource(kind, name)
		r.MatchLabels = labels
		return r
	}
	key := func(name string) events.Key { return events.NewKey("gitrepository", ns, name) }
	elsewhere := resource("GitRepository", "shared")
	elsewhere.Namespace = ns + "-shared"
	w.namespace(t, elsewhere.Namespace)
	w.repository(t, elsewhere.Namespace, "shared", nil)
	for _, c := range []struct {
		reason, name string
		resources    []notificationv1.ReceiverResource
		want         int
		keys         []events.Key
	}{
		{"all with a label", "label", []notificationv1.ReceiverResource{labelled("GitRepository", "*", map[string]string{"team": "a"})}, 200, []events.Key{key("apps"), key("infra")}},
		{"a label that nothing has", "nothing", []notificationv1.ReceiverResource{labelled("GitRepository", "*", map[string]string{"team": "c"})}, 200, nil},
		{"all without a label", "star", []notificationv1.ReceiverResource{resource("GitRepository", "*")}, 500, nil},
		{"a name goes before labels", "named", []notificationv1.ReceiverResource{labelled("GitRepository", "other", map[string]string{"team": "a"})}, 200, []events.Key{key("other")}},
		{"one that does not exist, and one that does", "missing", []notificationv1.ReceiverResource{resource("GitRepository", "gone"), resource("GitRepository", "apps")}, 500, []events.Key{key("apps")}},
		{"a kind that needs its apiVersion", "version", []notificationv1.ReceiverResource{resource("Kustomization", "apps")}, 500, nil},
		{"a kind the cluster does not have", "kind", []notificationv1.ReceiverResource{resource("ImageRepository", "apps"), resource("GitRepository", "apps")}, 500, []events.Key{key("apps")}},
		{"another namespace, which is allowed by default", "cross", []notificationv1.ReceiverResource{elsewhere}, 200, []events.Key{events.NewKey("gitrepository", elsewhere.Namespace, "shared")}},
		{"named twice, asked for once", "twice", []notificationv1.ReceiverResource{resource("GitRepository", "apps"), resource("GitRepository", "apps")}, 200, []events.Key{key("apps")}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			r := w.receiver(t, ns, c.name, func(s *notificationv1.ReceiverSpec) { s.Resources = c.resources })
			w.await(t, r, ready)
			w.expect(t, c.want, w.url+r.Status.WebhookPath, delivery{})
			var got []events.Key
			if hooks := w.hooks(t, ns, c.name); len(hooks) > 0 {
				got = hooks[len(hooks)-1].Resources
			}
			if len(got) == 0 {
				got = nil
			}
			sortKeys(got)
			if diff := cmp.Diff(c.keys, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

func blocked(t *testing.T, w *world, ns string) {
	w.secret(t, ns, map[string]string{"token": token})
	w.namespace(t, ns+"-other")
	w.repository(t, ns+"-other", "apps", nil)
	strict := w.start(t, webhook.Config{NoCrossNamespaceRefs: true})
	r := w.receiver(t, ns, "push", func(s *notificationv1.ReceiverSpec) { s.Resources[0].Namespace = ns + "-other" })
	w.await(t, r, ready)
	w.expect(t, http.StatusInternalServerError, strict+r.Status.WebhookPath, delivery{})
	if hooks := w.hooks(t, ns, "push"); len(hooks) != 0 {
		t.Errorf("a blocked reference reached the bus: %+v", hooks)
	}
}

// quiet shows that a delivery costs no request to the API server.
func quiet(t *testing.T, w *world, ns string) {
	w.secret(t, ns, map[string]string{"token": token})
	w.repository(t, ns, "apps", nil)
	r := w.receiver(t, ns, "push", nil)
	w.await(t, r, ready)
	w.expect(t, http.StatusOK, w.url+r.Status.WebhookPath, delivery{})
	before := w.requests(t, ns)
	for range 20 {
		if got := w.post(t, w.url+r.Status.WebhookPath, delivery{}); got != http.StatusOK {
			t.Fatalf("answered %d", got)
		}
	}
	if after := w.requests(t, ns); after != before {
		t.Errorf("20 deliveries cost %d requests to the API server, want none", after-before)
	}
}

func busDown(t *testing.T, w *world) {
	w.namespace(t, "team-down")
	w.secret(t, "team-down", map[string]string{"token": token})
	w.repository(t, "team-down", "apps", nil)
	r := w.receiver(t, "team-down", "push", func(s *notificationv1.ReceiverSpec) {
		s.SecretRef = &fluxmeta.LocalObjectReference{Name: "hook"}
	})
	w.await(t, r, ready)
	w.expect(t, http.StatusOK, w.url+r.Status.WebhookPath, delivery{})
	w.nats.Stop()
	if got := w.post(t, w.url+r.Status.WebhookPath, delivery{}); got != http.StatusServiceUnavailable {
		t.Errorf("without a bus a delivery is answered with %d, want 503", got)
	}
}
