package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// ReasonBusy is that of a failure because a server asks to be left alone for a while, which
// it is.
const ReasonBusy = "ServerBusy"

// FetchFailed is a failure to read the upstream.
func FetchFailed(reason string, err error) *Error {
	return courteous(&Error{Condition: sourcev1.FetchFailedCondition, Reason: reason, Err: err})
}

// courteous lets a failure wait as long as a server asks for.
func courteous(failure *Error) *Error {
	var busy *transport.BusyError
	if errors.As(failure.Err, &busy) {
		failure.Reason, failure.Wait = ReasonBusy, max(time.Second, time.Until(busy.Until))
	}
	return failure
}

// Stalled is a failure that only a change of the object can end.
func Stalled(reason string, err error) *Error {
	return &Error{Condition: sourcev1.FetchFailedCondition, Reason: reason, Err: err, Stalled: true}
}

// AuthenticationFailed is a failure of credentials.
func AuthenticationFailed(err error) *Error {
	return FetchFailed(sourcev1.AuthenticationFailedReason, err)
}

// Unidentified is a failure to get the credentials of an identity from a cloud provider.
func Unidentified(provider string, err error) *Error {
	switch {
	case errors.Is(err, identity.ErrDisabled):
		return Stalled(meta.FeatureGateDisabledReason, err)
	case errors.Is(err, identity.ErrRefused):
		return Stalled(sourcev1.InvalidProviderConfigurationReason, err)
	}
	return AuthenticationFailed(fmt.Errorf("failed to get credential from %s: %w", provider, err))
}

// StorageFailed is a failure of object storage or of what goes there.
func StorageFailed(reason string, err error) *Error {
	return &Error{Condition: sourcev1.StorageOperationFailedCondition, Reason: reason, Err: err}
}

// Unverified is a failure to verify who made what the upstream has.
func Unverified(reason string, err error) *Error {
	return courteous(&Error{Condition: sourcev1.SourceVerifiedCondition, Reason: reason, Err: err})
}

// Within returns a context that ends after a while, with a cause that says so.
func Within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("timed out after %s: %w", limit, context.DeadlineExceeded))
}

// Cause adds to an error why its context ended, when it does not say so itself.
func Cause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", err, cause)
	}
	return err
}
