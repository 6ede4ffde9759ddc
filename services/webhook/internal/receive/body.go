package receive

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// MaxBody is the largest body that is taken, in bytes.
const MaxBody = 3 << 20

var errTooLarge = fmt.Errorf("the body is larger than %d bytes", MaxBody)

// readBody reads a body up to MaxBody. Of a request that has no Receiver it only
// counts the bytes, so that strangers cannot fill the memory.
func readBody(w http.ResponseWriter, r *http.Request, keep bool) ([]byte, error) {
	if r.ContentLength > MaxBody {
		return nil, errTooLarge
	}
	limited := http.MaxBytesReader(w, r.Body, MaxBody)
	var body []byte
	var err error
	if keep {
		body, err = io.ReadAll(limited)
	} else {
		_, err = io.Copy(io.Discard, limited)
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	return body, nil
}
