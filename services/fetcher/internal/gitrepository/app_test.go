package gitrepository

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// A server that asks one App to wait is asked by the others, and by it no more.
func TestAppsWaitForThemselves(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if strings.Contains(r.URL.Path, "/installations/1/") {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = io.WriteString(w, `{"token":"token-of-another","expires_at":"2099-01-01T00:00:00Z"}`)
	}))
	defer server.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	client, err := git.New(git.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	k := New(client, nil, Config{})
	for _, c := range []struct {
		reason, installation string
		busy                 bool
		asked                int
	}{
		{"the first is told to wait", "1", true, 1},
		{"it does not ask again", "1", true, 1},
		{"another one asks", "2", false, 2},
	} {
		remote := git.Remote{URL: server.URL + "/repository"}
		err := k.asApp(t.Context(), &remote, map[string][]byte{
			"githubAppID": []byte("7"), "githubAppInstallationID": []byte(c.installation), "githubAppPrivateKey": private, "githubAppBaseURL": []byte(server.URL),
		})
		var busy *transport.BusyError
		if errors.As(err, &busy) != c.busy || !c.busy && err != nil || asked != c.asked {
			t.Errorf("%s: got %v after %d requests, want %d", c.reason, err, asked, c.asked)
		}
	}
}
