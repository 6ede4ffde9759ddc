package source

import (
	"context"
	"errors"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// ReasonUnsupported stalls an object that asks for what is not served.
const ReasonUnsupported = "UnsupportedField"

// FetchFailed is a failure to read the upstream. A server that asks to be left alone
// for a while is.
func FetchFailed(reason string, err error) *Error {
	failure := &Error{Condition: sourcev1.FetchFailedCondition, Reason: reason, Err: err}
	var busy *transport.BusyError
	if errors.As(err, &busy) {
		failure.Wait = busy.Wait
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

// StorageFailed is a failure of object storage or of what goes there.
func StorageFailed(reason string, err error) *Error {
	return &Error{Condition: sourcev1.StorageOperationFailedCondition, Reason: reason, Err: err}
}

// Unverified is a failure to verify who made what the upstream has.
func Unverified(reason string, err error) *Error {
	return &Error{Condition: sourcev1.SourceVerifiedCondition, Reason: reason, Err: err}
}

// Unsupported stalls an object because of a field. A field is never ignored: what it
// asks for may be what makes the source safe to use.
func Unsupported(reason, field, kind string) *Error {
	return Stalled(reason, fmt.Errorf("%s is not supported: remove it from the %s", field, kind))
}

// Cause adds to an error why its context ended, when it does not say so itself.
func Cause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", err, cause)
	}
	return err
}
