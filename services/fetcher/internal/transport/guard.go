package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// What bounds an answer that a library reads into memory as a whole: a page of a list, an error, a login. It makes of a
// few bytes a structure of hundreds, so there are bounds too for the objects of JSON and the tags of XML, of which a page
// of a thousand objects has 30,000, and for the commas of JSON: a list of all tags of a repository has one for each.
const (
	maxAnswer     = 16 << 20
	maxStructures = 128 << 10
	maxCommas     = 1 << 20
)

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
		res.Body = &bounded{ReadCloser: res.Body}
	}
	return res, err
}

// bounded is a body of which no more is read than there may be.
type bounded struct {
	io.ReadCloser

	bytes, structures, commas int
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes += n
	b.structures += bytes.Count(p[:n], []byte("{")) + bytes.Count(p[:n], []byte("<"))
	b.commas += bytes.Count(p[:n], []byte(","))
	for _, is := range []struct {
		have, most int
		what       string
	}{{b.bytes, maxAnswer, "bytes"}, {b.structures, maxStructures, "objects or elements"}, {b.commas, maxCommas, "values"}} {
		if is.have > is.most {
			_ = b.Close() // who reads may not, and the server would wait
			return 0, fmt.Errorf("the server's answer has more than the %d %s that are read", is.most, is.what)
		}
	}
	return n, err
}
