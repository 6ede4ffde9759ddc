package helmrelease

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/internal/share"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/keys"
)

// here is a place where all releases are made.
type here struct{ place *Place }

func (h here) For(context.Context, *helmv2.HelmRelease) (*Place, func(), error) {
	return h.place, func() {}, nil
}
func (here) Forget(cluster.Owner) {}

// only is an API server with one HelmRelease.
type only struct {
	client.Reader
	hr *helmv2.HelmRelease
}

func (o only) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	o.hr.DeepCopyInto(into.(*helmv2.HelmRelease))
	return nil
}

// previousOf asks a worker, whose only cluster answers as it is told, for the previous values of a release.
func previousOf(t *testing.T, histories *share.Room, api http.HandlerFunc) render.Answer {
	t.Helper()
	server := httptest.NewServer(api)
	defer server.Close()
	ring, err := seal.ParseKeyring(seal.NewKeyringData())
	if err != nil {
		t.Fatal(err)
	}
	hr := &helmv2.HelmRelease{}
	hr.Namespace, hr.Name, hr.UID = "ns", "app", "uid"
	w := &Worker{
		Log: slog.New(slog.DiscardHandler), Live: only{hr: hr}, Places: here{placeOf(t, server.URL)}, Keys: keys.Fixed(ring), Histories: histories,
		Options: Options{Cluster: "local"},
	}
	question, err := json.Marshal(render.Question{Nonce: "a", Object: events.NewKey("HelmRelease", "ns", "app"), UID: "uid", Previous: true})
	if err != nil {
		t.Fatal(err)
	}
	id := seal.Identity{Cluster: "local", Kind: "HelmRelease", Namespace: "ns", Name: "app", UID: "uid"}
	plain, err := ring.Open(id, ring.ContentID(question), w.Answer(t.Context(), question))
	if err != nil {
		t.Fatal(err)
	}
	var answer render.Answer
	if err := json.Unmarshal(plain, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestNoAnswerIsOne answers a question at once that cannot be answered: who asks holds a worker meanwhile.
func TestNoAnswerIsOne(t *testing.T) {
	for _, tt := range []struct {
		why     string
		code    int
		reason  string
		refused bool
	}{
		{"the account may not read the storage", http.StatusForbidden, "Forbidden", true},
		{"the API server is not itself for now", http.StatusServiceUnavailable, "ServiceUnavailable", false},
	} {
		answer := previousOf(t, nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(tt.code)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no list today","reason":%q,"code":%d}`, tt.reason, tt.code)
		})
		said := answer.Unavailable
		if tt.refused {
			said = answer.Refused
		}
		if !strings.Contains(said, "no list today") {
			t.Errorf("%s: the answer is %+v", tt.why, answer)
		}
	}
}

// TestBusyWithHistories says that it is busy while others' histories leave no room for a large one, and gives back what it took.
func TestBusyWithHistories(t *testing.T) {
	var packed bytes.Buffer
	text := base64.NewEncoder(base64.StdEncoding, &packed)
	small := gzip.NewWriter(text)
	fmt.Fprint(small, `{"name":"app","version":1,"info":{"status":"deployed"},"config":{"a":"b"}}`, strings.Repeat(" ", 20<<20))
	if err := errors.Join(small.Close(), text.Close()); err != nil {
		t.Fatal(err)
	}
	secret := corev1.Secret{Data: map[string][]byte{"release": packed.Bytes()}}
	secret.Name, secret.Labels = "sh.helm.release.v1.app.v1", map[string]string{"name": "app", "owner": "helm", "version": "1", "status": "deployed"}
	list := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(corev1.SecretList{TypeMeta: metav1.TypeMeta{Kind: "SecretList", APIVersion: "v1"}, Items: []corev1.Secret{secret}}); err != nil {
			t.Error(err)
		}
	}
	room := helmstore.NewRoom()
	const large = 72 << 20
	for _, other := range []string{"other", "another"} {
		if err := room.Enter(t.Context(), other, large); err != nil {
			t.Fatal(err)
		}
	}
	if answer := previousOf(t, room, list); !answer.Busy {
		t.Errorf("without room: %+v", answer)
	}
	room.Leave("other", large)
	if answer := previousOf(t, room, list); answer.Previous == nil || answer.Previous.Config["a"] != "b" {
		t.Errorf("with room: %+v", answer)
	}
	if err := room.Enter(t.Context(), "other", large); err != nil { // it is all there again
		t.Error(err)
	}
}
