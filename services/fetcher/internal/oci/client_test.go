package oci_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// A login in a URL, where it is of no use, is told to nobody.
func TestURLsWithLogins(t *testing.T) {
	for _, location := range []string{"oci://user:s3cret@host.example/repo", "oci://user:s3c/ret@host.example/repo", "oci://s3cret@host.example/repo:tag"} {
		_, err := oci.New(t.TempDir(), &transport.Quiet{}).Open(t.Context(), location, oci.Access{})
		var invalid *oci.InvalidURLError
		if !errors.As(err, &invalid) || strings.Contains(err.Error(), "s3c") || strings.Contains(err.Error(), "ret") && !strings.Contains(err.Error(), "secretRef") {
			t.Errorf("%s: %v", location, err)
		}
	}
	_, err := oci.New(t.TempDir(), &transport.Quiet{}).Open(t.Context(), "oci://host.example/repo@sha256:"+strings.Repeat("0", 64), oci.Access{})
	if err == nil || strings.Contains(err.Error(), "secretRef") {
		t.Errorf("a digest: %v", err)
	}
}
