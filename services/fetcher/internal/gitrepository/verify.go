package gitrepository

import (
	"context"
	"errors"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/signature"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

const (
	reasonInvalidMode   = "InvalidVerificationMode"
	reasonInvalidCommit = "InvalidCommitSignature"
	reasonInvalidTag    = "InvalidTagSignature"
	reasonInvalidObject = "InvalidGitObject"
)

// verify checks the signatures that the object asks for, before anything of the
// commit is read. It does so in every pass, from the mirror, so that a key that is
// taken out of the Secret stops counting at the next interval.
func (k *Kind) verify(ctx context.Context, o *sourcev1.GitRepository, listing *git.Listing, target git.Target) error {
	conditions := kube.Conditions{List: &o.Status.Conditions, Generation: o.Generation}
	spec := o.Spec.Verification
	if spec == nil {
		conditions.Remove(sourcev1.SourceVerifiedCondition)
		return nil
	}
	keys, err := k.keys(ctx, o.Namespace, spec.SecretRef.Name)
	if err != nil {
		return err
	}
	commit, err := listing.Fetch(ctx, target)
	if err != nil {
		return failed(ctx, err)
	}
	defer commit.Close()
	said := "verified signature of"
	if spec.VerifyTag() {
		key, err := verifyTag(keys, commit.Tag)
		if err != nil {
			return discard(commit, err)
		}
		said += fmt.Sprintf("\n\t- tag '%s' with key '%s'", commit.Tag, key)
	}
	if spec.VerifyHEAD() {
		key, err := verifyCommit(keys, commit)
		if err != nil {
			return discard(commit, err)
		}
		said += fmt.Sprintf("\n\t- commit '%s' with key '%s'", commit.Hash, key)
	}
	conditions.Set(sourcev1.SourceVerifiedCondition, metav1.ConditionTrue, kube.ReasonSucceeded, said)
	return nil
}

func (k *Kind) keys(ctx context.Context, namespace, name string) (signature.Keys, error) {
	var secret corev1.Secret
	if err := k.live.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &secret); err != nil {
		return signature.Keys{}, source.Unverified(sourcev1.VerificationError, fmt.Errorf("PGP public keys secret error: %w", err))
	}
	keys, err := signature.Parse(secret.Data)
	if err != nil {
		return signature.Keys{}, source.Unverified(sourcev1.VerificationError, fmt.Errorf("read secret '%s/%s': %w", namespace, name, err))
	}
	return keys, nil
}

func verifyTag(keys signature.Keys, tag *git.Tag) (string, error) {
	if tag == nil {
		failure := source.Unverified(reasonInvalidMode, errors.New("cannot verify tag object's signature if a tag reference is not specified"))
		failure.Stalled = true
		return "", failure
	}
	signed, err := tag.Signed()
	if err == nil && len(signed.Signature) == 0 {
		return "", source.Unverified(reasonInvalidObject, fmt.Errorf("cannot verify signature of tag '%s' since it is not signed", tag))
	}
	var key string
	if err == nil {
		key, err = keys.Verify(signed.Payload, signed.Signature)
	}
	if err != nil {
		return "", source.Unverified(reasonInvalidTag, fmt.Errorf("signature verification of tag '%s' failed: %w", tag, err))
	}
	return key, nil
}

func verifyCommit(keys signature.Keys, commit *git.Commit) (string, error) {
	signed, err := commit.Signed()
	if err == nil && len(signed.Signature) == 0 {
		err = errors.New("unable to verify payload as the provided signature is empty")
	}
	var key string
	if err == nil {
		key, err = keys.Verify(signed.Payload, signed.Signature)
	}
	if err != nil {
		return "", source.Unverified(reasonInvalidCommit, fmt.Errorf("signature verification of commit '%s' failed: %w", commit.Hash, err))
	}
	return key, nil
}
