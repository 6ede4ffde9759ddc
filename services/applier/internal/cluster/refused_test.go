package cluster

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// A tenant's API server must not have the applier ask others for it, such as the machine's metadata, whose answer an
// error would show.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, `{"AccessKeyId":"somebody"}`)
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		client := plainClient(t, nil, func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, other.URL+"/latest/meta-data/iam/security-credentials/role", status)
		})
		_, err := client.Get(t.Context(), Ref{Version: "v1", Kind: "ConfigMap", Namespace: "default", Name: "one"})
		if err == nil || !strings.Contains(err.Error(), "leads elsewhere, and is not followed") || strings.Contains(err.Error(), "meta-data") {
			t.Errorf("status %d: got %v", status, err)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("another server was asked %d times", n)
	}
}

// What a remote API server refuses with is told to people and logged: it may be any amount of anything.
func TestRefusalsAreBounded(t *testing.T) {
	const token, password = "the-token-of-a-tenant", "the-password"
	status := func(message string) string {
		return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":422,"reason":"Invalid","message":%q}`, message)
	}
	for _, tt := range []struct {
		why, kind, body string
		config          rest.Config
		status          int
		says            string
	}{
		{"what is short is told", "application/json", status("no"), rest.Config{}, 422, "no"},
		{"what is long is not, and stays what it is", "application/json", status(strings.Repeat("no ", 1<<20)), rest.Config{}, 422, "422"},
		{"nor what is much when it is read", "application/json", `{"kind":"Status","details":{"causes":[` + strings.Repeat("{},", 10_000) + `{}]}}`, rest.Config{}, 409, "409"},
		{"nor what is long and no JSON", "text/html", strings.Repeat("<p>", 1<<20), rest.Config{}, 503, "unable to handle the request"},
		{"a token is not repeated", "application/json", status("who is " + token + "?"), rest.Config{BearerToken: token}, 422, "who is ***?"},
		{"nor a password", "text/plain", password, rest.Config{Username: "me", Password: password}, 400, "the server rejected our request"},
	} {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if q.URL.Path != theConfigMap {
				_, _ = io.WriteString(w, kindsServed[q.URL.Path])
				return
			}
			w.Header().Set("Content-Type", tt.kind)
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		}))
		tt.config.Host = front.URL
		c, err := New(&tt.config, Options{})
		if err != nil {
			t.Fatal(err)
		}
		client, err := c.Client()
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Get(t.Context(), Ref{Version: "v1", Kind: "ConfigMap", Namespace: "default", Name: "one"})
		front.Close()
		text := fmt.Sprintf("%v %#v", err, err)
		var refusal apierrors.APIStatus
		if refusal, _ = err.(apierrors.APIStatus); refusal == nil || int(refusal.Status().Code) != tt.status {
			t.Errorf("%s: got %.300v", tt.why, err)
			continue
		}
		if text += fmt.Sprint(refusal.Status().Details); len(text) > 128<<10 || !strings.Contains(text, tt.says) {
			t.Errorf("%s: got %d bytes: %.300s", tt.why, len(text), text)
		}
		if strings.Contains(text, token) || strings.Contains(text, password) {
			t.Errorf("%s: a credential is told: %.300s", tt.why, text)
		}
	}
}

// The API server itself may say more than there is memory for: one fault for each of any number of keys, of several objects at once.
func TestRefusalsOfTheOwnClusterAreBounded(t *testing.T) {
	var length int
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if q.URL.Path != theConfigMap {
			_, _ = io.WriteString(w, kindsServed[q.URL.Path])
			return
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":422,"reason":"Invalid","message":%q}`, strings.Repeat("no ", length))
	}))
	defer front.Close()
	c, err := New(&rest.Config{Host: front.URL}, Options{Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	for want := range map[int]bool{100 << 10: true, 4 << 20: false} {
		length = want
		_, err = client.Get(t.Context(), Ref{Version: "v1", Kind: "ConfigMap", Namespace: "default", Name: "one"})
		if err == nil || strings.Contains(err.Error(), "no no") != (want == 100<<10) || len(err.Error()) > 1<<20 {
			t.Errorf("of %d words: %.100v", want, err)
		}
		if refusal, ok := err.(apierrors.APIStatus); !ok || refusal.Status().Code != http.StatusUnprocessableEntity {
			t.Errorf("of %d words: it is %T", want, err)
		}
	}
}
