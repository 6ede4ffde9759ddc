package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// How much is taken of an API server's answers: whoever names a cluster may run its API server.
const (
	// maxAnswer bounds a page of a list, and whatever else has no bound of its own.
	maxAnswer = 32 << 20
	// maxObject bounds an object. The API server itself takes no request of more than 3 MiB, and etcd no object of more
	// than 1.5 MiB; the rest is for what its values count.
	maxObject = 12 << 20
	// maxProbe bounds the answer to a probe.
	maxProbe = 64 << 10
	// maxRefusal bounds an answer that is an error, which statuses, events and logs quote, and maxOwnRefusal one of the applier's
	// own cluster: it names each fault of an object, of which a tenant may make any number.
	maxRefusal, maxOwnRefusal = 128 << 10, 1 << 20
	// maxList bounds a list of metadata, and perObject is what each object of it counts beside its bytes.
	maxList   = 128 << 20
	perObject = 1 << 10
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

// bounded takes no more of an answer than the request's allowance, and only text: what few bytes of another
// encoding become in memory cannot be told from them.
type bounded struct {
	next    http.RoundTripper
	cluster *Cluster
	// served is what the answers add up to that say what is served; nil for others.
	served *discovered
}

const protobuf = "application/vnd.kubernetes.protobuf"

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
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
	switch {
	case resp.StatusCode >= http.StatusBadRequest:
		return refused(req, resp, maxRefusal)
	case resp.StatusCode >= http.StatusMultipleChoices:
		_ = resp.Body.Close() // nothing of it was read
		return nil, fmt.Errorf("the answer to %s %s %w", req.Method, req.URL.Path, errElsewhere)
	}
	if err := textual(resp); err != nil {
		_ = resp.Body.Close() // nothing of it was read
		return nil, fmt.Errorf("the answer to %s %s %w", req.Method, req.URL.Path, err)
	}
	body := &boundedBody{ReadCloser: resp.Body, request: req, served: b.served}
	var ok bool
	if body.allowance, ok = req.Context().Value(allowanceKey{}).(*allowance); !ok {
		body.allowance, body.own = b.cluster.allowance(maxAnswer), true
	}
	resp.Body = body
	return resp, nil
}

// trusting bounds nothing but errors.
type trusting struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t trusting) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil || resp.StatusCode < http.StatusBadRequest {
		return resp, err
	}
	return refused(req, resp, maxOwnRefusal)
}

// errElsewhere refuses a redirect: whoever names a cluster must not choose what else the applier asks, and shows the answer of.
var errElsewhere = errors.New("leads elsewhere, and is not followed")

// refused returns an error of an API server, or of a proxy before it, with no more of its text than has a bound, and without
// the credentials of the request, which some repeat. One that is not JSON may be anything: it is shown, not decoded.
func refused(req *http.Request, resp *http.Response, limit int64) (*http.Response, error) {
	body := &boundedBody{ReadCloser: resp.Body, request: req, allowance: &allowance{limit: limit}, own: true}
	text, err := io.ReadAll(body)
	_ = body.Close() // what matters was read
	if large := (*TooLargeError)(nil); errors.As(err, &large) {
		text, err = []byte("what it says is too large to be told"), nil
		resp.Header.Set("Content-Type", "text/plain")
	}
	if err != nil {
		return nil, fmt.Errorf("read what is wrong with %s %s: %w", req.Method, req.URL.Path, err)
	}
	for _, secret := range credentialsOf(req) {
		text = bytes.ReplaceAll(text, []byte(secret), []byte("***"))
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "application/json" {
		resp.Header.Set("Content-Type", "text/plain")
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return resp, nil
}

// credentialsOf returns what a request authenticates with: as it is sent, and the password in it.
func credentialsOf(req *http.Request) []string {
	_, sent, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if sent == "" {
		return nil
	}
	if _, password, ok := req.BasicAuth(); ok && password != "" {
		return []string{sent, password}
	}
	return []string{sent}
}

// textual returns nil when an answer is text. The client would decode one without a type by that of its request. One that has
// nothing needs no type.
func textual(resp *http.Response) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case kind == "application/json", kind == "text/plain":
		return nil
	case resp.ContentLength == 0:
		resp.Header.Set("Content-Type", "text/plain")
		return nil
	}
	return fmt.Errorf("has the Content-Type %q, and only JSON was asked for", resp.Header.Get("Content-Type"))
}

type boundedBody struct {
	io.ReadCloser
	*allowance
	request *http.Request
	own     bool // the allowance ends with the body
	served  *discovered
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	counts := n + perBrace*bytes.Count(p[:n], []byte("{")) + perComma*bytes.Count(p[:n], []byte(","))
	used := b.used.Add(int64(counts))
	if used > b.limit {
		return 0, &TooLargeError{Request: b.request.Method + " " + b.request.URL.Path, Limit: b.limit}
	}
	if err := b.served.note(b.request.URL.Path, used); err != nil {
		return 0, err
	}
	if err := b.enter(b.request.Context()); err != nil {
		return 0, err
	}
	return n, err
}

// Close implements io.Closer.
func (b *boundedBody) Close() error {
	if b.own {
		b.end()
	}
	return b.ReadCloser.Close()
}
