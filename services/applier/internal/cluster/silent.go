package cluster

import (
	"errors"
	"net"
	"slices"
)

// Unanswered says whether an error came up on the way to an API server, and is none of its answers.
func Unanswered(err error) bool {
	var way net.Error
	return errors.As(err, &way)
}

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
