package blob

import (
	"errors"
	"fmt"
)

// The conditions a caller decides on. The errors returned wrap one of these
// and name the object.
var (
	// ErrNotFound says that the bucket holds no such object.
	ErrNotFound = errors.New("object not found")
	// ErrCorrupt says that an object's bytes are not those of its digest.
	ErrCorrupt = errors.New("object is corrupt")
	// ErrExists says that a name already holds other, intact content.
	ErrExists = errors.New("object exists with other content")
	// ErrTooLarge says that an object is larger than the caller's limit.
	ErrTooLarge = errors.New("object is larger than allowed")
)

// CorruptError reports an object whose bytes do not match the digest it should
// have. It matches ErrCorrupt.
type CorruptError struct {
	// Name is the object's name in the bucket.
	Name string
	// Want is the digest asked for, empty if the object carries none.
	Want string
	// Got is the digest of the bytes that were read.
	Got string
}

// Error names the object and both digests.
func (e *CorruptError) Error() string {
	want := e.Want
	if want == "" {
		want = "a digest in its metadata"
	}
	return fmt.Sprintf("object %q is corrupt: want %s, got %s", e.Name, want, e.Got)
}

// Is makes the error match ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// ExistsError reports a name that holds other content than the one to be
// stored. It matches ErrExists.
type ExistsError struct {
	// Name is the object's name in the bucket.
	Name string
	// Digest is the digest of the content that is there.
	Digest string
}

// Error names the object and the digest that it has.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("object %q exists with other content %s", e.Name, e.Digest)
}

// Is makes the error match ErrExists.
func (e *ExistsError) Is(target error) bool { return target == ErrExists }

func notFound(name string) error { return fmt.Errorf("object %q: %w", name, ErrNotFound) }
