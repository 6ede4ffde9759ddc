// Package blob keeps immutable objects in one bucket of any S3 service.
//
// Every object carries the SHA-256 of its bytes in its metadata, and every
// read is checked against it, so a damaged object is noticed where it is used
// and never passed on. Put does not overwrite other content. Replace does, for
// the few callers that know better.
//
// Errors are of three kinds: ErrNotFound, ErrCorrupt and ErrExists can be told
// apart with errors.Is; anything else is a fault of the store or the network
// and worth trying again.
//
// Names are slash-separated paths. No name may be a folder of another
// ("a" and "a/b"), because a store may keep objects as files.
package blob
