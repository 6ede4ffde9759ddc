package helmrelease

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
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
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(tt.code)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no list today","reason":%q,"code":%d}`, tt.reason, tt.code)
		}))
		defer server.Close()
		ring, err := seal.ParseKeyring(seal.NewKeyringData())
		if err != nil {
			t.Fatal(err)
		}
		hr := &helmv2.HelmRelease{}
		hr.Namespace, hr.Name, hr.UID = "ns", "app", "uid"
		w := &Worker{
			Log: slog.New(slog.DiscardHandler), Live: only{hr: hr}, Places: here{placeOf(t, server.URL)}, Keys: keys.Fixed(ring),
			Options: Options{Cluster: "local"},
		}
		question, err := json.Marshal(render.Question{Nonce: "a", Object: events.NewKey("HelmRelease", "ns", "app"), UID: "uid", Previous: true})
		if err != nil {
			t.Fatal(err)
		}
		id := seal.Identity{Cluster: "local", Kind: "HelmRelease", Namespace: "ns", Name: "app", UID: "uid"}
		plain, err := ring.Open(id, ring.ContentID(question), w.Answer(t.Context(), question))
		var answer render.Answer
		if err == nil {
			err = json.Unmarshal(plain, &answer)
		}
		said := answer.Unavailable
		if tt.refused {
			said = answer.Refused
		}
		if err != nil || !strings.Contains(said, "no list today") {
			t.Errorf("%s: the answer is %+v, error %v", tt.why, answer, err)
		}
	}
}
