package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

// A hook that is forged, too large or addressed to nobody wakes nothing: no event,
// no fetch. The sender and the log are told.
func TestBadHook(t *testing.T) {
	n := newTenant(t, "bad-hook", map[string]string{"witness/settings.yaml": configMap("witness", "first")})
	n.app("witness", nil)
	n.live("witness")
	path := harness.HookPath(world.Token, harness.SourceName, n.Namespace)
	small := []byte(`{"ref":"refs/heads/main"}`)
	for _, c := range []struct {
		name, why, path, token, event string
		body                          []byte
		status                        int
		answer                        string
		logged                        bool
	}{
		{"forged", "the signature is made with another token", path, "another", "push", small, http.StatusBadRequest, "signature", true},
		{"unsigned", "there is no signature", path, "", "push", small, http.StatusBadRequest, "X-Hub-Signature", true},
		{"oversized", "the body is larger than 3 MiB", path, world.Token, "push", bytes.Repeat([]byte("x"), 3<<20+1), http.StatusRequestEntityTooLarge, "larger than", true},
		{"stranger", "no Receiver has this path", path[:len(path)-1] + "x", world.Token, "push", small, http.StatusNotFound, "no receiver", false},
		{"event", "the Receiver takes pushes only", path, world.Token, "issues", small, http.StatusBadRequest, "issues", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, visits := n.hooks(t), n.Store.Counts(n.Repo.Name).Visits
			status, answer := send(t, world.Sluice.Webhook+c.path, c.token, c.event, c.body)
			if status != c.status || !strings.Contains(answer, c.answer) {
				t.Errorf("%s: answered %d %q, want %d and %q", c.why, status, answer, c.status, c.answer)
			}
			if c.logged {
				seeLog(t, n.Namespace, harness.SourceName, fmt.Sprintf(`"status":%d`, c.status))
				seeKubernetesEvent(t, n.Namespace, "Receiver", harness.SourceName, "Warning", "DeliveryRefused", c.answer)
			}
			if after := n.hooks(t); after != before {
				t.Errorf("%s: it is on the bus as one of %d hooks", c.why, after)
			}
			if got := n.Store.Counts(n.Repo.Name).Visits; got != visits {
				t.Errorf("%s: it led to %d visits of the repository", c.why, got-visits)
			}
		})
	}
	n.witness()
}

// hooks counts the hooks of the namespace that reached the bus.
func (n tenant) hooks(t *testing.T) int {
	t.Helper()
	count := 0
	for _, e := range history(t, n.Namespace) {
		if e.Event.Type() == events.TypeHookReceived {
			count++
		}
	}
	return count
}

func send(t *testing.T, url, token, event string, body []byte) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t, limit), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-GitHub-Event", event)
	if token != "" {
		mac := hmac.New(sha256.New, []byte(token))
		mac.Write(body)
		request.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}
