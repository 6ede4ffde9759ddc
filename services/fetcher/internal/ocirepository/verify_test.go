package ocirepository

import (
	"context"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/verify"
)

// noSecrets lets every verification that is made fail.
type noSecrets struct{ client.Reader }

func (noSecrets) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(corev1.Resource("secrets"), key.Name)
}

// What was verified for another spec, or of another revision, is verified again.
func TestWhatWasVerified(t *testing.T) {
	k := &Kind{verifier: &verify.Verifier{Live: noSecrets{}}}
	const generation, revision = 2, "v1@sha256:1"
	for _, c := range []struct {
		why      string
		verified int64
		message  string
		again    bool
	}{
		{"it was this revision for this spec", generation, "verified signature of revision " + revision, false},
		{"it was for another key, and the pass over this one stalled", 1, "verified signature of revision " + revision, true},
		{"it was one that was not stored then", generation, "verified signature of revision v1@sha256:2", true},
	} {
		o := &sourcev1.OCIRepository{
			ObjectMeta: metav1.ObjectMeta{Generation: generation},
			Spec:       sourcev1.OCIRepositorySpec{Verify: &sourcev1.OCIRepositoryVerification{Provider: "cosign", SecretRef: &meta.LocalObjectReference{Name: "key"}}},
			Status: sourcev1.OCIRepositoryStatus{
				ObservedGeneration: generation, Artifact: &meta.Artifact{Revision: revision},
				Conditions: []metav1.Condition{{
					Type: sourcev1.SourceVerifiedCondition, Status: metav1.ConditionTrue, ObservedGeneration: c.verified, Message: c.message,
				}},
			},
		}
		if err := k.verify(t.Context(), o, nil, revision, "sha256:1"); (err != nil) != c.again {
			t.Errorf("%s: verified again is %v, want %v: %v", c.why, err != nil, c.again, err)
		}
	}
}
