package desired

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/seal"
)

// State says what the newest build event means for an object.
type State int

// The states of a build.
const (
	// Pending: the builder has not answered the newest spec and source yet.
	Pending State = iota
	// Failed: the newest spec and source could not be built.
	Failed
	// Rendered: there is a render of the newest spec and source.
	Rendered
	// Refused: the event is not what a builder with the key would write.
	Refused
)

// Build is the newest build of an object.
type Build struct {
	State State
	// Head of a rendered build, authenticated.
	Head seal.Head
	// Failure of a failed build.
	Failure events.BuildFailed
	// Why a build is pending or refused.
	Why string
}

// verifier authenticates heads.
type verifier interface {
	VerifyHead(ctx context.Context, token string, want seal.Identity) (seal.Head, error)
}

// Identity is whom a render of ks for cluster is sealed for.
func Identity(cluster string, ks *kustomizev1.Kustomization) seal.Identity {
	return seal.Identity{
		Cluster: cluster, Kind: kustomizev1.KustomizationKind,
		Namespace: ks.Namespace, Name: ks.Name, UID: string(ks.UID),
	}
}

// Judge reads a build event for ks and its source. It trusts nothing in the
// event but what the head's authentication covers, and the head only for the
// object, spec and artifact that the API server has now.
func Judge(ctx context.Context, keys verifier, cluster string, ks *kustomizev1.Kustomization, source Source, e event.Event) (Build, error) {
	spec, err := kube.SpecDigest(ks.Spec)
	if err != nil {
		return Build{}, err
	}
	return JudgeOf(ctx, keys, Identity(cluster, ks), spec, source, e)
}

// JudgeOf is Judge for an object of any kind, whose spec has the digest spec.
func JudgeOf(ctx context.Context, keys verifier, id seal.Identity, spec string, source Source, e event.Event) (Build, error) {
	switch e.Type() {
	case events.TypeBuildFailed:
		return judgeFailure(e, id, source, spec)
	case events.TypeBuildRendered:
		data, err := events.Decode[events.BuildRendered](e)
		if err != nil {
			return refused(err), nil
		}
		return judgeHead(ctx, keys, id, source, spec, data)
	case events.TypeBuildUnchanged:
		data, err := events.Decode[events.BuildUnchanged](e)
		if err != nil {
			return refused(err), nil
		}
		return judgeHead(ctx, keys, id, source, spec, data.BuildRendered)
	}
	return refused(fmt.Errorf("event type %s does not belong on a build subject", e.Type())), nil
}

func judgeFailure(e event.Event, id seal.Identity, source Source, spec string) (Build, error) {
	f, err := events.Decode[events.BuildFailed](e)
	if err != nil {
		return refused(err), nil
	}
	if f.UID != id.UID || f.SpecDigest != spec || f.SourceDigest != source.Digest || f.Revision != source.Revision {
		return Build{State: Pending, Why: "the failed build is of an older spec or revision"}, nil
	}
	return Build{State: Failed, Failure: f}, nil
}

func judgeHead(ctx context.Context, keys verifier, id seal.Identity, source Source, spec string, data events.BuildRendered) (Build, error) {
	if data.UID != id.UID {
		return Build{State: Pending, Why: "the build is of an earlier object of this name"}, nil
	}
	head, err := keys.VerifyHead(ctx, data.Head, id)
	switch {
	case errors.Is(err, seal.ErrForged), errors.Is(err, seal.ErrFormat), errors.Is(err, seal.ErrUnknownKey):
		return refused(err), nil
	case err != nil:
		return Build{}, err
	case head.SpecDigest != spec:
		return Build{State: Pending, Why: "the build is of another spec", Head: head}, nil
	case head.SourceDigest != source.Digest || head.Revision != source.Revision:
		return Build{State: Pending, Why: fmt.Sprintf("the build is of revision %s", head.Revision), Head: head}, nil
	}
	return Build{State: Rendered, Head: head}, nil
}

func refused(err error) Build { return Build{State: Refused, Why: err.Error()} }
