package serve_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/internal/serve"
)

func TestLogLine(t *testing.T) {
	var out bytes.Buffer
	log, err := serve.NewLogger(&out, "info")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("dropped")
	log.With("kind", "Kustomization").Error("apply failed", "name", "web", "namespace", "apps", "err", errors.New("boom"), "took", 2)
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	if _, err := time.Parse(time.RFC3339, got["ts"].(string)); err != nil {
		t.Errorf("ts: %v", err)
	}
	delete(got, "ts")
	want := map[string]any{
		"level": "error", "msg": "apply failed", "controllerKind": "Kustomization",
		"name": "web", "namespace": "apps", "error": "boom", "took": 2.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestLevels(t *testing.T) {
	for level, want := range map[string]int{"trace": 4, "debug": 3, "info": 2, "": 2, "error": 1} {
		var out bytes.Buffer
		log, err := serve.NewLogger(&out, level)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []slog.Level{slog.LevelError, slog.LevelInfo, slog.LevelDebug, slog.LevelDebug - 4} {
			log.Log(t.Context(), l, "x")
		}
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("level %q: %d lines, want %d", level, got, want)
		}
	}
	if _, err := serve.NewLogger(&bytes.Buffer{}, "loud"); err == nil {
		t.Error("an unknown level was accepted")
	}
}

type secretive struct{ URL, Note string }

// TestNothingLeaks logs one secret by every way a value can take.
func TestNothingLeaks(t *testing.T) {
	const secret = "hunter2x"
	raw := "https://u:" + secret + "@host/p"
	parsed, err := url.Parse("https://host/p?token=" + secret)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log, err := serve.NewLogger(&out, "info")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("message "+raw, //nolint:sloglint // what must be redacted is in the message too
		"string", raw, "error", fmt.Errorf("wrap: %w", errors.New(raw)), "stringer", parsed,
		"bytes", []byte(raw), "struct", secretive{URL: raw, Note: "kept"}, "map", map[string]string{"password": secret},
		"password", secret, "nats-token", "Authorization: Bearer "+secret, slog.Group("g", "deep", raw, "secretKey", secret))
	log.With("with", raw).WithGroup("g").Info("x", "y", raw)
	if strings.Contains(out.String(), secret) {
		t.Errorf("the secret is in the log: %s", out.String())
	}
	for line := range strings.Lines(out.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if !strings.Contains(out.String(), "kept") {
		t.Errorf("more than the secret is gone: %s", out.String())
	}
}

type long string

func (l long) String() string { return string(l) }

// An error may quote what the API server of a tenant says, and that may be anything.
func TestLongAttributesAreCut(t *testing.T) {
	const secret = "the-secret-of-a-tenant"
	for reason, value := range map[string]any{
		"text":            strings.Repeat("no ", 1<<20) + secret,
		"an error":        errors.New(strings.Repeat("no ", 1<<20)),
		"a stringer":      long(strings.Repeat("no ", 1<<20)),
		"bytes":           []byte(strings.Repeat("no ", 1<<20)),
		"a list":          strings.Fields(strings.Repeat("no ", 1<<20)),
		"a credential":    strings.Repeat("n", 16<<10-len("password=")-5) + " password=" + secret + strings.Repeat(" no", 1<<20),
		"one in its URL":  strings.Repeat("n", 16<<10-20) + " https://me:" + secret + "@example.com/" + strings.Repeat(" no", 1<<20),
		"one in quotes":   strings.Repeat("n", 16<<10-20) + ` {"password":"` + secret + strings.Repeat("x", 1<<10) + `"}` + strings.Repeat(" no", 1<<20),
		"one at the edge": strings.Repeat("n", 80<<10-10) + `{"password":"` + secret + `"}` + strings.Repeat(" no", 1<<20),
		"one that is cut": strings.Repeat("n", 80<<10-30) + ` https://me:` + secret + `@example.com/` + strings.Repeat(" no", 1<<20),
		"characters":      strings.Repeat("ß", 1<<20),
	} {
		var out bytes.Buffer
		log, err := serve.NewLogger(&out, "info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("it failed", "error", value)
		if n := out.Len(); n < 10<<10 || n > 24<<10 {
			t.Errorf("%s: a line of %d bytes", reason, n)
		}
		if text := out.String(); strings.Contains(text, secret[:5]) || !strings.Contains(text, "cut; ") || !utf8.ValidString(text) {
			t.Errorf("%s: …%s", reason, text[max(len(text)-200, 0):])
		}
	}
	if got := serve.Brief("short, password=x", 20); got != "short, password=***" {
		t.Errorf("got %q", got)
	}
}
