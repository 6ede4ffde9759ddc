package seal

import (
	"errors"
	"fmt"
)

// The ways in which sealing and opening fail. Every error of this package
// wraps one of them.
var (
	// ErrKeyring says that the data of the keyring is missing or malformed.
	ErrKeyring = errors.New("invalid keyring")
	// ErrUnknownKey says that a key id is not in the keyring: load the newest
	// keyring and try again before giving up.
	ErrUnknownKey = errors.New("unknown sealing key")
	// ErrIdentity says that an identity lacks a field.
	ErrIdentity = errors.New("incomplete identity")
	// ErrForged says that a render or a head was changed, was made with
	// another key, or belongs to another object.
	ErrForged = errors.New("authentication failed")
	// ErrFormat says that the input is no sealed render or head at all.
	ErrFormat = errors.New("malformed input")
	// ErrTooLarge says that a render exceeds MaxPlain, or the limit that it is opened within.
	ErrTooLarge = errors.New("render is too large")
)

// UnknownKeyError names a key id that the keyring does not hold. It matches
// ErrUnknownKey.
type UnknownKeyError struct {
	// ID is the key id asked for.
	ID string
}

// Error names the key id.
func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("sealing key %q is not in the keyring", e.ID)
}

// Is makes the error match ErrUnknownKey.
func (e *UnknownKeyError) Is(target error) bool { return target == ErrUnknownKey }
