package helmchart

import (
	"context"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// cluster has one HelmRepository, under every name.
type cluster struct {
	client.Reader
	repository sourcev1.HelmRepository
}

func (c *cluster) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	c.repository.DeepCopyInto(into.(*sourcev1.HelmRepository))
	return nil
}

// The artifact of another spec is none of this one, though it has the version.
func TestArtifactOfAnotherSpec(t *testing.T) {
	live := &cluster{repository: sourcev1.HelmRepository{Spec: sourcev1.HelmRepositorySpec{URL: "oci://127.0.0.1:1/charts", Type: sourcev1.HelmRepositoryTypeOCI}}}
	k := New(nil, oci.New(t.TempDir(), &transport.Quiet{}), live, nil, Config{})
	const generation = 2
	for _, c := range []struct {
		why             string
		observed, built int64
		changed         string
	}{
		{"it was built for this spec", generation, generation, ""},
		{"the spec is new", 1, 1, "the HelmChart changed"},
		{"the pass over this spec stalled, which observes it too", generation, 1, "the HelmChart changed"},
	} {
		chart := &sourcev1.HelmChart{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "app", Generation: generation},
			Spec:       sourcev1.HelmChartSpec{Chart: "app", Version: "1.0.0", SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: sourcev1.HelmRepositoryKind, Name: "r"}},
			Status: sourcev1.HelmChartStatus{
				ObservedGeneration: c.observed, ObservedChartName: "app", Artifact: &meta.Artifact{Revision: "1.0.0"},
				Conditions: []metav1.Condition{{Type: sourcev1.ArtifactInStorageCondition, Status: metav1.ConditionTrue, ObservedGeneration: c.built}},
			},
		}
		upstream, err := k.Open(t.Context(), events.Key{}, chart)
		if err != nil {
			t.Fatal(err)
		}
		if upstream.Changed != c.changed {
			t.Errorf("%s: reason to build is %q, want %q", c.why, upstream.Changed, c.changed)
		}
	}
}
