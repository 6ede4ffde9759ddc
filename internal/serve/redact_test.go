package serve_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/serve"
)

func TestRedact(t *testing.T) {
	const s = "S3cr3tV4lue"
	cases := []struct{ why, in, want string }{
		{"URL with password", "clone https://bob:" + s + "@git.example.com/a.git: denied", "clone https://***@git.example.com/a.git: denied"},
		{"URL with a token as the user", "https://" + s + "@github.com/a/b", "https://***@github.com/a/b"},
		{"password with an @", "nats://u:p@" + s + "@h:4222", "nats://***@h:4222"},
		{"password with a slash", "https://u:pa/" + s + "@h/x", "https://***@h/x"},
		{"two URLs", "https://a:" + s + "@h, http://b:" + s + "@i", "https://***@h, http://***@i"},
		{"signed query", "https://h/o?X-Amz-Signature=" + s + "&x=1", "https://h/o?X-Amz-Signature=***&x=1"},
		{"query token", "GET /p?a=1&access_token=" + s, "GET /p?a=1&access_token=***"},
		{"bearer header", "Authorization: Bearer " + s, "Authorization: ***"},
		{"basic header", "authorization: Basic dXNlcjpwYXNz", "authorization: ***"},
		{"header map", "map[Authorization:[Bearer " + s + "] Accept:[*/*]]", "map[Authorization:[***] Accept:[*/*]]"},
		{"header JSON", `{"Authorization":["Bearer ` + s + `"],"a":1}`, `{"Authorization":["***"],"a":1}`},
		{"token header", "X-Gitlab-Token: " + s + " seen", "X-Gitlab-Token: *** seen"},
		{"signature header", "X-Hub-Signature-256: sha256=" + s, "X-Hub-Signature-256: ***"},
		{"bearer in a sentence", "sent bearer abc123def456 to host", "sent bearer *** to host"},
		{"key=value", "open: password=" + s + " host=db", "open: password=*** host=db"},
		{"quoted key=value", `client_secret="a b ` + s + `" x`, `client_secret=*** x`},
		{"JSON", `{"password":"a \" ` + s + `","user":"u"}`, `{"password":"***","user":"u"}`},
		{"escaped JSON", `{\"token\":\"` + s + `\",\"x\":1}`, `{\"token\":\"***\",\"x\":1}`},
		{"GitHub token", "bad ghp_0123456789abcdefABCDEF", "bad ***"},
		{"AWS key id", "key AKIAABCDEFGHIJKLMNOP denied", "key *** denied"},
		{"JWT", "jwt eyJhbGciOiJIUzI1.eyJzdWIiOiIx.abc_-1 end", "jwt *** end"},
		{"age key", "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQ", "***"},
		{"private key", "x -----BEGIN RSA PRIVATE KEY-----\nMIIE" + s + "\n-----END RSA PRIVATE KEY----- y", "x *** y"},
		{"half a private key", "-----BEGIN PRIVATE KEY-----\nMIIE" + s, "***"},
		{"Slack hook", "post https://hooks.slack.com/services/T0/B0/" + s, "post https://hooks.slack.com/services/***"},

		{"name", "apps-web.v1", "apps-web.v1"},
		{"digest", "oci://ghcr.io/org/app@sha256:0a1b", "oci://ghcr.io/org/app@sha256:0a1b"},
		{"port and version", "https://h:8080/mod@v1.2", "https://h:8080/mod@v1.2"},
		{"scp-like Git URL", "git@github.com:org/repo.git", "git@github.com:org/repo.git"},
		{"IPv6", "https://[::1]:80/a@b", "https://[::1]:80/a@b"},
		{"revision", "main@sha1:6dcb09b5", "main@sha1:6dcb09b5"},
		{"sentence", "basic authentication failed: invalid token: EOF", "basic authentication failed: invalid token: EOF"},
		{"bearer sentence", "no bearer authentication. Try again", "no bearer authentication. Try again"},
		{"secret reference", `secret "git-auth" not found in namespace apps`, `secret "git-auth" not found in namespace apps`},
		{"subject", "sluice.check.fetch.3.gitrepository.ns.name", "sluice.check.fetch.3.gitrepository.ns.name"},
		{"empty", "", ""},
	}
	for _, tc := range cases {
		got := serve.Redact(tc.in)
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.why, got, tc.want)
		}
		if again := serve.Redact(got); again != got {
			t.Errorf("%s: redacting again changes %q to %q", tc.why, got, again)
		}
		if strings.Contains(got, s) {
			t.Errorf("%s: the secret is still there: %q", tc.why, got)
		}
	}
}

func TestRedactError(t *testing.T) {
	if serve.RedactError(nil) != nil {
		t.Error("nil became an error")
	}
	if err := errors.New("clean"); !errors.Is(serve.RedactError(err), err) {
		t.Error("a clean error was wrapped")
	}
	dirty := &fs.PathError{Op: "open", Path: "https://u:p4ss@h/x", Err: fs.ErrNotExist}
	got := serve.RedactError(dirty)
	if strings.Contains(got.Error(), "p4ss") {
		t.Errorf("error still says %q", got)
	}
	if !errors.Is(got, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
}

func BenchmarkRedact(b *testing.B) {
	for b.Loop() {
		serve.Redact("clone https://bob:secret@git.example.com/a.git: main@sha1:6dcb09b5 not found")
	}
}
