package kube_test

import (
	"strings"
	"testing"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// TestReleaseName cuts names as Flux does, so that a release is found again that Flux made.
func TestReleaseName(t *testing.T) {
	for _, tt := range []struct{ why, name, target, release, want string }{
		{"the object's name", "app", "", "", "app"},
		{"with the target namespace", "app", "prod", "", "prod-app"},
		{"a name of its own", "app", "prod", "mine", "mine"},
		{"53 characters stay", strings.Repeat("a", 53), "", "", strings.Repeat("a", 53)},
		{
			"a longer one is cut", "a-very-lengthy-name", "a-very-lengthy-target-namespace-with-a-name", "",
			"a-very-lengthy-target-namespace-with-a-n-",
		},
	} {
		hr := &helmv2.HelmRelease{ObjectMeta: metav1.ObjectMeta{Name: tt.name}, Spec: helmv2.HelmReleaseSpec{TargetNamespace: tt.target, ReleaseName: tt.release}}
		got := kube.ReleaseName(hr)
		if cut := strings.HasSuffix(tt.want, "-"); got != tt.want && (!cut || len(got) != 53 || !strings.HasPrefix(got, tt.want)) {
			t.Errorf("%s: %q, want %q", tt.why, got, tt.want)
		}
	}
}

// TestReleaseDigest moves with what is rendered, and with nothing else.
func TestReleaseDigest(t *testing.T) {
	digest := func(change func(*helmv2.HelmRelease)) string {
		hr := &helmv2.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "app"}, Spec: helmv2.HelmReleaseSpec{Chart: &helmv2.HelmChartTemplate{}}}
		change(hr)
		d, err := kube.ReleaseDigest(hr)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	plain := digest(func(*helmv2.HelmRelease) {})
	for why, tt := range map[string]struct {
		change func(*helmv2.HelmRelease)
		moves  bool
	}{
		"interval":  {func(hr *helmv2.HelmRelease) { hr.Spec.Interval.Duration = time.Hour }, false},
		"timeout":   {func(hr *helmv2.HelmRelease) { hr.Spec.Timeout = &metav1.Duration{Duration: time.Hour} }, false},
		"name":      {func(hr *helmv2.HelmRelease) { hr.Spec.ReleaseName = "other" }, true},
		"namespace": {func(hr *helmv2.HelmRelease) { hr.Spec.TargetNamespace = "other" }, true},
		"chart": {func(hr *helmv2.HelmRelease) {
			hr.Spec.ChartRef = &helmv2.CrossNamespaceSourceReference{Kind: "OCIRepository", Name: "a"}
		}, true},
		"metadata": {func(hr *helmv2.HelmRelease) {
			hr.Spec.CommonMetadata = &helmv2.CommonMetadata{Labels: map[string]string{"a": "b"}}
		}, true},
		"ConfigMap of values": {func(hr *helmv2.HelmRelease) {
			hr.Spec.ValuesFrom = []helmv2.ValuesReference{{Kind: "ConfigMap", Name: "a"}}
		}, true},
		"post-renderers":  {func(hr *helmv2.HelmRelease) { hr.Spec.PostRenderers = []helmv2.PostRenderer{{}} }, true},
		"CRDs of install": {func(hr *helmv2.HelmRelease) { hr.Spec.Install = &helmv2.Install{CRDs: helmv2.CreateReplace} }, true},
		"skipCRDs":        {func(hr *helmv2.HelmRelease) { hr.Spec.Install = &helmv2.Install{SkipCRDs: true} }, true},
	} {
		if moved := digest(tt.change) != plain; moved != tt.moves {
			t.Errorf("another %s: moved is %t, want %t", why, moved, tt.moves)
		}
	}
}
