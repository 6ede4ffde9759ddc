package ocirepository

import (
	"context"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/verify"
)

// verify checks the signature that the object asks for, before anything of the artifact
// is read: of a revision that was not verified yet, or for a spec that was not.
func (k *Kind) verify(ctx context.Context, o *sourcev1.OCIRepository, repository *oci.Repository, revision, digest string) error {
	conditions := kube.Conditions{List: &o.Status.Conditions, Generation: o.Generation}
	spec := o.Spec.Verify
	if spec == nil {
		conditions.Remove(sourcev1.SourceVerifiedCondition)
		return nil
	}
	// The observed generation does not say what was verified: passes that stalled observe it too.
	said := "verified signature of revision " + revision
	before := meta.FindStatusCondition(o.Status.Conditions, sourcev1.SourceVerifiedCondition)
	if a := o.Status.Artifact; a != nil && a.Revision == revision && before != nil && before.Status == metav1.ConditionTrue &&
		before.ObservedGeneration == o.Generation && before.Message == said {
		return nil
	}
	skipped, err := k.verifier.Verify(ctx, verify.Spec{
		Provider: spec.Provider, SecretRef: spec.SecretRef, Identities: spec.MatchOIDCIdentity, TrustedRoot: spec.TrustedRootSecretRef,
	}, o.Namespace, repository, digest)
	if skipped {
		conditions.Remove(sourcev1.SourceVerifiedCondition)
		return nil
	}
	if err != nil {
		return source.Unverified(sourcev1.VerificationError, err)
	}
	conditions.Set(sourcev1.SourceVerifiedCondition, metav1.ConditionTrue, kube.ReasonSucceeded, said)
	return nil
}
