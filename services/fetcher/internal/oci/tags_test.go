package oci_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// Of a registry that sends what looks like tags for ever, no more is kept than has a bound, and told.
func TestTagsAreBounded(t *testing.T) {
	const page = 15 << 20
	for _, c := range []struct{ why, tags string }{
		{"few long tags", `{"name":"repo","tags":["` + strings.Repeat("x", page) + `"]}`},
		{"many short tags", `{"name":"repo","tags":["x"` + strings.Repeat(`,"x"`, page/4-100) + `]}`},
	} {
		t.Run(c.why, func(t *testing.T) {
			pages := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/tags/list") {
					return
				}
				if pages++; pages < 10 {
					w.Header().Set("Link", fmt.Sprintf("</v2/repo/tags/list?last=%d>; rel=\"next\"", pages))
				}
				fmt.Fprint(w, c.tags)
			}))
			defer server.Close()
			repository, err := oci.New(t.TempDir(), &transport.Quiet{}).Open(t.Context(), strings.Replace(server.URL, "http", "oci", 1)+"/repo", oci.Access{Insecure: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := repository.Tags(t.Context()); err == nil || len(err.Error()) > 1000 || pages > 5 {
				t.Errorf("%d pages are read, with error %.1000v", pages, err)
			}
		})
	}
}

// What compares many tags with a filter ends with the pass, and does not look at what can be no tag.
func TestFiltersEndWithThePass(t *testing.T) {
	tags := []string{"1.0.0-" + strings.Repeat("x", 123), "1.0.0-" + strings.Repeat("x", 122)}
	if got, err := oci.Highest(t.Context(), tags, ">=1.0.0-0", "x", false); got != tags[1] {
		t.Errorf("got %q, %v", got, err)
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	if _, err := oci.Highest(ctx, tags, "*", "x", false); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
