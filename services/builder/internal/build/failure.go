package build

import (
	"errors"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/internal/serve"
	"github.com/sluice-gitops/sluice/services/builder/internal/decrypt"
	"github.com/sluice-gitops/sluice/services/builder/internal/kustomize"
)

// The reasons that a build gives the Ready condition.
const (
	ReasonArtifact = fluxmeta.ArtifactFailedReason
	ReasonBuild    = fluxmeta.BuildFailedReason
	// reasonReconcile is what Flux reports when it finds a Secret it cannot read.
	reasonReconcile = fluxmeta.ReconciliationFailedReason
)

// InputError is a build that failed for what is in the spec or the artifact: its
// author can help, trying again cannot.
type InputError struct {
	// Reason of the object's Ready condition.
	Reason string `json:"reason"`
	// Message names file or field and what is wrong.
	Message string `json:"message"`
	// Stalled says that only another spec, artifact or key can help.
	Stalled bool `json:"stalled,omitempty"`
}

// Error implements error.
func (f *InputError) Error() string { return f.Message }

// maxTold is how many bytes of a failure leave the child, no more than is told of it: templates fail with as much as they like,
// and who reads it is not confined.
const maxTold = 14 << 10

// short is a failure with as much of its message as is told.
func (f *InputError) short() *InputError {
	if f == nil {
		return nil
	}
	out := *f
	out.Message = serve.Brief(f.Message, maxTold)
	return &out
}

// failed gives an error the reason that Flux gives it.
func failed(err error) *InputError {
	var f *InputError
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, kustomize.ErrPath):
		return &InputError{Reason: ReasonArtifact, Message: err.Error()}
	case errors.Is(err, decrypt.ErrNotServed):
		return &InputError{Reason: ReasonBuild, Message: err.Error(), Stalled: true}
	}
	return &InputError{Reason: ReasonBuild, Message: err.Error()}
}
