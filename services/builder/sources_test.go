package builder_test

import (
	"fmt"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
)

// sourceKinds builds from a source of each kind in the namespace of another app;
// what made the artifact is not the builder's business.
func sourceKinds(t *testing.T, w *world) {
	elsewhere := w.newApp(t, nil).namespace
	meta := metav1.ObjectMeta{Namespace: elsewhere, Name: "src"}
	hour := metav1.Duration{Duration: time.Hour}
	tests := map[string]struct {
		object client.Object
		status func(client.Object, *fluxmeta.Artifact)
	}{
		"GitRepository": {
			&sourcev1.GitRepository{ObjectMeta: meta, Spec: sourcev1.GitRepositorySpec{URL: "https://example.com/r.git", Interval: hour}},
			func(o client.Object, a *fluxmeta.Artifact) { o.(*sourcev1.GitRepository).Status.Artifact = a },
		},
		"OCIRepository": {
			&sourcev1.OCIRepository{ObjectMeta: meta, Spec: sourcev1.OCIRepositorySpec{URL: "oci://example.com/r", Interval: hour}},
			func(o client.Object, a *fluxmeta.Artifact) { o.(*sourcev1.OCIRepository).Status.Artifact = a },
		},
		"Bucket": {
			&sourcev1.Bucket{ObjectMeta: meta, Spec: sourcev1.BucketSpec{BucketName: "b", Endpoint: "example.com", Interval: hour}},
			func(o client.Object, a *fluxmeta.Artifact) { o.(*sourcev1.Bucket).Status.Artifact = a },
		},
		"ExternalArtifact": {
			&sourcev1.ExternalArtifact{ObjectMeta: meta},
			func(o client.Object, a *fluxmeta.Artifact) { o.(*sourcev1.ExternalArtifact).Status.Artifact = a },
		},
	}
	for kind, tt := range tests {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
				ks.Spec.SourceRef = kustomizev1.CrossNamespaceSourceReference{Kind: kind, Name: "src", Namespace: elsewhere}
			})
			a.failed("there is no source yet", fmt.Sprintf("Source '%s/%s/src' not found", kind, elsewhere))
			a.must(a.Create(t.Context(), tt.object))
			// twice: a source that is new, and a revision of one that is watched
			for i := range 2 {
				body := pack(t, files(fmt.Sprintf("v%d", i)))
				a.revision, a.digest = fmt.Sprintf("latest@sha256:%d", i), blob.Digest(body)
				key := events.NewKey(kind, elsewhere, "src")
				a.must(a.blobs.Put(t.Context(), fmt.Sprintf("artifacts/%s/%s/src/%s.tar.gz", key.Kind, elsewhere, a.digest[len("sha256:"):]), body, a.digest))
				tt.status(tt.object, &fluxmeta.Artifact{
					Revision: a.revision, Digest: a.digest, Path: "p", URL: "http://example.com/p", LastUpdateTime: metav1.Now(),
					Metadata: map[string]string{"org.opencontainers.image.revision": "origin-" + a.revision},
				})
				a.must(a.Status().Update(t.Context(), tt.object))
				// open checks revision, digest and originRevision of the head
				if got := a.value(a.rendered("by watch alone"), "k"); got != fmt.Sprintf("v%d", i) {
					t.Errorf("got %v", got)
				}
			}
		})
	}
}
