package oci_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// The first contact with a registry hangs: that holds up nobody but who made it. Later ones
// are made once.
func TestAFirstContactThatHangs(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	var contacts atomic.Int64
	hangs, released := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v2/" && contacts.Add(1) == 1:
			close(hangs)
			<-released
		case r.URL.Path == "/v2/":
		case strings.HasSuffix(r.URL.Path, "/none"):
			http.NotFound(w, r)
		default:
			w.Header().Set("Docker-Content-Digest", digest)
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Content-Length", "2")
		}
	}))
	defer server.Close()
	client := oci.New(t.TempDir(), &transport.Quiet{})
	ask := func(ctx context.Context, tag string) (string, error) {
		repository, err := client.Open(ctx, strings.Replace(server.URL, "http", "oci", 1)+"/app", oci.Access{Insecure: true})
		if err != nil {
			return "", err
		}
		return repository.Digest(ctx, tag)
	}
	first := make(chan error, 1)
	go func() {
		_, err := ask(t.Context(), "v1")
		first <- err
	}()
	<-hangs
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	context.AfterFunc(ctx, release)
	if _, err := ask(ctx, "none"); err == nil || ctx.Err() != nil {
		t.Errorf("a tag that is not there: got %v", err)
	}
	for _, tag := range []string{"v2", "v3"} {
		if got, err := ask(ctx, tag); got != digest || err != nil {
			t.Errorf("tag %s is %q, %v", tag, got, err)
		}
	}
	if n := contacts.Load(); n != 3 {
		t.Errorf("there were %d contacts, want the one that hangs, that of who found nothing and another one", n)
	}
	release()
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// A registry that let everybody in begins to ask for a token, which anybody gets.
func TestARegistryThatBeginsToAskForTokens(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	var asks atomic.Bool
	var contacts atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			contacts.Add(1)
		}
		switch {
		case r.URL.Path == "/token":
			_, _ = w.Write([]byte(`{"token":"t"}`))
		case asks.Load() && r.Header.Get("Authorization") != "Bearer t":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path != "/v2/":
			w.Header().Set("Docker-Content-Digest", digest)
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Content-Length", "2")
		}
	}))
	defer server.Close()
	client := oci.New(t.TempDir(), &transport.Quiet{})
	for _, tokens := range []bool{false, true, true} {
		asks.Store(tokens)
		repository, err := client.Open(t.Context(), strings.Replace(server.URL, "http", "oci", 1)+"/app", oci.Access{Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := repository.Digest(t.Context(), "v1"); got != digest || err != nil {
			t.Errorf("registry asks for tokens %v: digest is %q, %v", tokens, got, err)
		}
	}
	if n := contacts.Load(); n != 2 {
		t.Errorf("there were %d contacts, want one before and one after", n)
	}
}
