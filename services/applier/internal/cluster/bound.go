package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// How much is taken of an API server's answers: whoever names a cluster may run its API server.
const (
	// maxAnswer bounds an answer, and an event of a watch. The API server itself takes no request of more than 3 MiB.
	maxAnswer = 32 << 20
	// maxProbe bounds the answer to a probe.
	maxProbe = 64 << 10
	// maxList bounds a list of metadata, and perObject is what each object of it counts beside its bytes.
	maxList   = 128 << 20
	perObject = 512
	// perBrace and perComma are what these bytes of an answer count beside themselves, for the maps and fields they become.
	perBrace, perComma = 64, 16
)

// TooLargeError says that an API server's answer was not read to its end. A list comes with its kind in place of a request.
type TooLargeError struct {
	Request string
	// Limit is what is taken of such an answer, in bytes; values count more than theirs.
	Limit int64
}

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the answer to %s is too large: more than %d bytes, with what its values take in memory", e.Request, e.Limit)
}

// bare returns the error of an answer that is too large without what the HTTP client says about it, such as to try again.
func bare(err error) error {
	if large := (*TooLargeError)(nil); errors.As(err, &large) {
		return large
	}
	return err
}

// allowance is how much of an answer may be read.
type allowance struct {
	limit int64
	// used is what counts of what was read so far, and read its bytes.
	used, read atomic.Int64
}

type allowanceKey struct{}

// allow gives a request with the context that it returns an allowance of its own.
func allow(ctx context.Context, limit int64) (context.Context, *allowance) {
	a := &allowance{limit: limit}
	return context.WithValue(ctx, allowanceKey{}, a), a
}

// bounded takes no more of an answer than the request's allowance, and only text: what few bytes of protobuf
// become in memory cannot be told from them.
type bounded struct{ next http.RoundTripper }

const protobuf = "application/vnd.kubernetes.protobuf"

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	a, ok := req.Context().Value(allowanceKey{}).(*allowance)
	if !ok {
		a = &allowance{limit: maxAnswer}
	}
	if accepted := req.Header.Get("Accept"); strings.Contains(accepted, protobuf) {
		req = req.Clone(req.Context())
		req.Header.Set("Accept", strings.Join(slices.DeleteFunc(strings.Split(accepted, ","), func(kind string) bool {
			return strings.Contains(kind, protobuf)
		}), ","))
	}
	resp, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	request := req.Method + " " + req.URL.Path
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); strings.HasPrefix(kind, protobuf) {
		_ = resp.Body.Close() // nothing of it was read
		return nil, fmt.Errorf("the answer to %s is %s, which was not asked for", request, kind)
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, allowance: a, request: request}
	return resp, nil
}

type boundedBody struct {
	io.ReadCloser
	*allowance
	request string
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	counts := n + perBrace*bytes.Count(p[:n], []byte("{")) + perComma*bytes.Count(p[:n], []byte(","))
	if b.used.Add(int64(counts)) > b.limit {
		return 0, &TooLargeError{Request: b.request, Limit: b.limit}
	}
	return n, err
}
