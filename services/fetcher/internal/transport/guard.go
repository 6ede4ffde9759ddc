package transport

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// maxAnswer bounds an answer that a library reads into memory as a whole: a page of a list, an
// error, a login.
const maxAnswer = 16 << 20

type streamed struct{}

// Streamed returns a context for requests whose answers go to disk, and are bounded by who reads
// them. What refuses them is none of these: it is read into memory.
func Streamed(ctx context.Context) context.Context { return context.WithValue(ctx, streamed{}, true) }

// Guard returns a transport that reads no endless answer into memory, and that tells no server
// where it was sent from: the query of a URL may be a login.
func Guard(via http.RoundTripper) http.RoundTripper { return guard{via} }

type guard struct{ via http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Referer") != "" {
		r = r.Clone(r.Context())
		r.Header.Del("Referer")
	}
	res, err := g.via.RoundTrip(r)
	if err == nil && (r.Context().Value(streamed{}) == nil || res.StatusCode >= http.StatusMultipleChoices) {
		res.Body = &bounded{ReadCloser: res.Body, left: maxAnswer}
	}
	return res, err
}

// bounded is a body of which no more is read than there may be.
type bounded struct {
	io.ReadCloser

	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the server's answer has more than the %d bytes that are read", maxAnswer)
	}
	return n, err
}
