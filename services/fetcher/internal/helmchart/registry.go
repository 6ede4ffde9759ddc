package helmchart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartfile"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/helmrepository"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/verify"
)

// packageType is the media type of a chart's package in a registry.
const packageType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

// registry is a chart in a HelmRepository of type oci: each chart has a repository of
// its own below the URL, and a tag for each version.
type registry struct {
	kind       *Kind
	object     *sourcev1.HelmChart
	of         *sourcev1.HelmRepository
	repository *oci.Repository
	// tag is what find chose, and digest what it then was; "" while nobody asked.
	tag, digest string
}

func (k *Kind) fromRegistry(ctx context.Context, o *sourcev1.HelmChart, of *sourcev1.HelmRepository) (from, error) {
	access, err := helmrepository.RegistryAccess(ctx, k.live, k.config.Identities, of)
	if err != nil {
		return nil, err
	}
	repository, err := k.open(ctx, of.Spec.URL, o.Spec.Chart, access)
	if err != nil {
		return nil, err
	}
	return &registry{kind: k, object: o, of: of, repository: repository}, nil
}

// open opens the repository of a chart.
func (k *Kind) open(ctx context.Context, location, chart string, access oci.Access) (*oci.Repository, error) {
	repository, err := k.registries.Open(ctx, strings.TrimRight(location, "/")+"/"+chart, access)
	var invalid *oci.InvalidURLError
	switch {
	case errors.As(err, &invalid):
		return nil, badReference.of(err)
	case err != nil:
		return nil, source.AuthenticationFailed(fmt.Errorf("failed to configure authentication options: %w", err))
	}
	return repository, nil
}

func (r *registry) close() error { return nil }

// find implements from.
func (r *registry) find(ctx context.Context) (found, error) {
	ctx, cancel := source.Within(ctx, r.of.GetTimeout())
	defer cancel()
	version, err := newest(ctx, r.repository, r.object.Spec.Version)
	if err != nil {
		return found{}, pullFailed.of(fmt.Errorf("failed to get chart version for remote reference: %w", source.Cause(ctx, err)))
	}
	r.tag = tagOf(version)
	if version, err = chartfile.WithMetadata(version, metadata(r.object, "")); err != nil {
		return found{}, badVersion.of(err)
	}
	f := found{name: path.Base(r.object.Spec.Chart), version: version}
	return f, r.verify(ctx, f)
}

// resolve asks what the tag is, once.
func (r *registry) resolve(ctx context.Context) (err error) {
	if r.digest != "" {
		return nil
	}
	if r.digest, err = r.repository.Digest(ctx, r.tag); err != nil {
		return pullFailed.of(fmt.Errorf("failed to download chart for remote reference: %w", source.Cause(ctx, err)))
	}
	return nil
}

// newest returns the highest version in a range. Tags are listed for a range only.
func newest(ctx context.Context, repository *oci.Repository, within string) (string, error) {
	if _, err := semver.StrictNewVersion(within); err == nil {
		return within, nil
	}
	if within == "" {
		within = "*"
	}
	tags, err := repository.Tags(ctx)
	if err != nil {
		return "", err
	}
	tag, err := oci.Highest(ctx, tags, within, "", true)
	return strings.ReplaceAll(tag, "_", "+"), err
}

// tagOf is the tag of a version: one cannot have a +, so Helm writes _ for it.
func tagOf(version string) string { return strings.ReplaceAll(version, "+", "_") }

// make implements from. The package is the one that find verified, if the object asks for that.
func (r *registry) make(ctx context.Context, f found) (made, error) {
	ctx, cancel := source.Within(ctx, r.of.GetTimeout())
	defer cancel()
	if err := r.resolve(ctx); err != nil {
		return made{}, err
	}
	archive, err := pull(ctx, r.repository, r.digest, r.kind.config.MaxChart)
	if err != nil {
		return made{}, pullFailed.of(fmt.Errorf("failed to download chart for remote reference: %w", source.Cause(ctx, err)))
	}
	return repackage(r.object, f, archive)
}

func pull(ctx context.Context, repository *oci.Repository, digest string, limit int64) ([]byte, error) {
	pulled, err := repository.Pull(ctx, digest, packageType, oci.Limits{Bytes: limit})
	if err != nil {
		return nil, err
	}
	defer pulled.Close()
	body, err := pulled.Value.Open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// verify checks the signature that the object asks for, in every pass, so that a key that is
// taken out of the Secret stops counting.
func (r *registry) verify(ctx context.Context, f found) error {
	spec := r.object.Spec.Verify
	if spec == nil {
		return nil
	}
	if err := r.resolve(ctx); err != nil {
		return err
	}
	conditions := kube.Conditions{List: &r.object.Status.Conditions, Generation: r.object.Generation}
	skipped, err := r.kind.verifier.Verify(ctx, verify.Spec{
		Provider: spec.Provider, SecretRef: spec.SecretRef, Identities: spec.MatchOIDCIdentity,
	}, r.object.Namespace, r.repository, r.digest)
	if skipped {
		conditions.Remove(sourcev1.SourceVerifiedCondition)
		return nil
	}
	if err == nil {
		conditions.Set(sourcev1.SourceVerifiedCondition, metav1.ConditionTrue, kube.ReasonSucceeded, "verified signature of version "+f.version)
		return nil
	}
	failure := source.FetchFailed(unverified.reason, fmt.Errorf("%s: %w", unverified.words, err))
	conditions.Set(sourcev1.SourceVerifiedCondition, metav1.ConditionFalse, sourcev1.VerificationError, failure.Error())
	failure.Condition = unverified.condition
	return failure
}
