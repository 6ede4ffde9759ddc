package source_test

import (
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

func TestHostOf(t *testing.T) {
	for location, want := range map[string]string{
		"https://Git.Example/a":      "git.example",
		"https://git.example:443/a":  "git.example",
		"https://git.example:8443/a": "git.example:8443",
		"http://git.example:80/a":    "git.example",
		"http://git.example:443/a":   "git.example:443",
		"http://git.example:/a":      "git.example",
		"oci://git.example:443/a":    "git.example",
		"ssh://git@git.example:22/a": "git.example",
		"https://[::1]:443/a":        "[::1]",
		"https://[::1]:80/a":         "[::1]:80",
		"https://user:p@git.example": "git.example",
		"file:///a":                  "",
		"://":                        "",
	} {
		if got := source.HostOf(location); got != want {
			t.Errorf("%s: host is %q, want %q", location, got, want)
		}
	}
}
