package cluster

import (
	"context"
	"errors"
	"net"
	"slices"
)

// Unanswered says whether an error came up on the way to an API server, and is none of its answers.
func Unanswered(err error) bool {
	var way net.Error
	return errors.As(err, &way)
}

// ErrSilent ends requests, and keeps others from being sent: the cluster let one wait for as long as one may, and would let each
// of them hold the worker as long.
var ErrSilent = errors.New("the cluster does not answer")

// Untried says whether an error is that of work which ErrSilent ended or kept from being tried: it tells nothing of its own.
func Untried(err error) bool { return errors.Is(err, ErrSilent) || errors.Is(err, context.Canceled) }

// TimedOut says whether an API server let a request wait for as long as one may, of several errors one. The next
// requests would wait as long.
func TimedOut(err error) bool {
	if way, ok := err.(net.Error); ok && way.Timeout() { //nolint:errorlint // what it wraps is looked at below, all of it
		return true
	}
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		return TimedOut(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), TimedOut)
	}
	return false
}
