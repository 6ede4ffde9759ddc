package bus

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrLeaseLost is the cause of a handler's ended context when another worker may
// have taken its key.
var ErrLeaseLost = errors.New("lease is lost")

// PermanentError marks an error that trying again cannot help.
type PermanentError struct{ Err error }

// Permanent marks err as one that trying again cannot help; nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &PermanentError{Err: err}
}

// Error implements error.
func (e *PermanentError) Error() string { return e.Err.Error() }

// Unwrap returns the marked error.
func (e *PermanentError) Unwrap() error { return e.Err }

// isPermanent reports whether err was marked by Permanent.
func isPermanent(err error) bool {
	var p *PermanentError
	return errors.As(err, &p)
}

// codeDuplicateInProcess says that a message of the same id is being stored.
const codeDuplicateInProcess jetstream.ErrorCode = 10158

// isConflict reports whether the server refused a publish because the subject has
// moved, or because the same message is on its way.
func isConflict(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant, codeDuplicateInProcess:
		return true
	default:
		return false
	}
}
