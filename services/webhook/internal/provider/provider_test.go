package provider_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/services/webhook/internal/provider"
)

const token = "s3cr3t-of-team-a"

func sign(algorithm string, h func() hash.Hash, key, body string) string {
	mac := hmac.New(h, []byte(key))
	mac.Write([]byte(body))
	return algorithm + "=" + hex.EncodeToString(mac.Sum(nil))
}

func TestCheck(t *testing.T) {
	const body = `{"ref":"refs/heads/main"}`
	good := sign("sha256", sha256.New, token, body)
	for _, c := range []struct {
		reason   string
		kind     string
		accepted []string
		header   map[string]string
		token    string
		want     provider.Delivery
		refused  string
	}{
		{
			reason: "GitHub signs with SHA-256 and names event and delivery", kind: "github", accepted: []string{"ping", "push"},
			header: map[string]string{"X-Hub-Signature-256": good, "X-GitHub-Event": "push", "X-GitHub-Delivery": "72d3162e"},
			want:   provider.Delivery{Event: "push", ID: "72d3162e"},
		},
		{
			reason: "events are compared without regard to case", kind: "github", accepted: []string{"PUSH"},
			header: map[string]string{"X-Hub-Signature-256": good, "X-GitHub-Event": "push"},
			want:   provider.Delivery{Event: "push"},
		},
		{
			reason: "an older GitHub Enterprise signs with SHA-1 in the older header", kind: "github",
			header: map[string]string{"X-Hub-Signature": sign("sha1", sha1.New, token, body), "X-GitHub-Event": "push"},
			want:   provider.Delivery{Event: "push"},
		},
		{
			reason: "a wrong new signature is not saved by a right old one", kind: "github",
			header:  map[string]string{"X-Hub-Signature-256": sign("sha256", sha256.New, "other", body), "X-Hub-Signature": sign("sha1", sha1.New, token, body)},
			refused: "does not match",
		},
		{
			reason: "an event that is not listed is refused", kind: "github", accepted: []string{"push"},
			header: map[string]string{"X-Hub-Signature-256": good, "X-GitHub-Event": "issues"}, refused: `event "issues"`,
		},
		{
			reason: "a missing event is none of the listed", kind: "github", accepted: []string{"push"},
			header: map[string]string{"X-Hub-Signature-256": good}, refused: "event",
		},
		{reason: "no signature, no delivery", kind: "github", header: map[string]string{"X-GitHub-Event": "push"}, refused: "is missing"},
		{
			reason: "a signature by another token is forged", kind: "github",
			header: map[string]string{"X-Hub-Signature-256": sign("sha256", sha256.New, "guess", body)}, refused: "does not match",
		},
		{
			reason: "a signature of another body is forged", kind: "github",
			header: map[string]string{"X-Hub-Signature-256": sign("sha256", sha256.New, token, body+" ")}, refused: "does not match",
		},
		{
			reason: "a truncated signature does not match", kind: "github",
			header: map[string]string{"X-Hub-Signature-256": good[:len(good)-2]}, refused: "does not match",
		},
		{reason: "an empty signature does not match", kind: "github", header: map[string]string{"X-Hub-Signature-256": "sha256="}, refused: "does not match"},
		{reason: "a signature must be hex", kind: "github", header: map[string]string{"X-Hub-Signature-256": "sha256=xyz"}, refused: "no hex"},
		{
			reason: "an unknown algorithm is refused by name", kind: "github",
			header: map[string]string{"X-Hub-Signature-256": "md5=00"}, refused: "sha1|sha256",
		},
		{
			reason: "without a token nothing is authentic, not even an empty key's signature", kind: "github", token: "none",
			header: map[string]string{"X-Hub-Signature-256": sign("sha256", sha256.New, "", body)}, refused: "no token",
		},
		{reason: "generic-hmac takes SHA-1", kind: "generic-hmac", header: map[string]string{"X-Signature": sign("sha1", sha1.New, token, body)}},
		{reason: "generic-hmac takes SHA-256", kind: "generic-hmac", header: map[string]string{"X-Signature": good}},
		{reason: "generic-hmac takes SHA-512", kind: "generic-hmac", header: map[string]string{"X-Signature": sign("sha512", sha512.New, token, body)}},
		{
			reason: "generic-hmac has no events, so none is asked for", kind: "generic-hmac", accepted: []string{"push"},
			header: map[string]string{"X-Signature": good},
		},
		{
			reason: "the algorithm is part of what is compared", kind: "generic-hmac",
			header: map[string]string{"X-Signature": strings.Replace(good, "sha256", "sha512", 1)}, refused: "does not match",
		},
		{reason: "generic-hmac without a signature is refused", kind: "generic-hmac", refused: "is missing"},
		{reason: "a type that is not served is refused, never let through", kind: "generic", refused: "not served"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			header := http.Header{}
			for k, v := range c.header {
				header.Set(k, v)
			}
			key := token
			if c.token == "none" {
				key = ""
			}
			got, err := provider.Check(c.kind, key, c.accepted, header, []byte(body))
			if c.refused == "" && err != nil {
				t.Fatalf("refused: %v", err)
			}
			if c.refused != "" {
				if !errors.Is(err, provider.ErrRefused) || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("got error %v, want one with %q", err, c.refused)
				}
				if strings.Contains(err.Error(), token) {
					t.Fatalf("the token is in the error: %v", err)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("delivery (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckBoundsWhatItReports(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	header := http.Header{}
	header.Set("X-Hub-Signature-256", sign("sha256", sha256.New, token, ""))
	header.Set("X-GitHub-Event", long)
	header.Set("X-GitHub-Delivery", long)
	got, err := provider.Check("github", token, nil, header, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Event) > 128 || len(got.ID) > 128 {
		t.Errorf("event has %d bytes and id %d, want 128 at most", len(got.Event), len(got.ID))
	}
}
