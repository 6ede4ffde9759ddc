package kube_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// Where there is no kubeconfig, the error says how to give one.
func TestNoKubeconfig(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("KUBECONFIG", none)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for given, want := range map[string]string{"": "--kubeconfig", none: none} {
		_, err := kube.Config(given, "test")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "KUBERNETES_MASTER") {
			t.Errorf("kubeconfig %q: %v", given, err)
		}
	}
}
