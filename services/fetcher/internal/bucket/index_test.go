package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// endless is a bucket that lists objects for ever.
type endless struct{ key, etag string }

func (e endless) list(ctx context.Context, _ string, found func(object)) error {
	for n := 0; ctx.Err() == nil; n++ {
		if n > 1<<20 {
			return errors.New("the listing is not ended")
		}
		found(object{key: fmt.Sprint(n, e.key), etag: e.etag})
	}
	return ctx.Err()
}

func (endless) open(context.Context, object) (io.ReadCloser, error) { return nil, errNoObject }

// Listings are bounded by how many objects they have, and by the bytes of what is known of these.
func TestListingsAreBounded(t *testing.T) {
	text := strings.Repeat("x", 1<<20)
	for why, from := range map[string]store{"many objects": endless{}, "long keys": endless{key: text}, "long etags": endless{etag: text}} {
		got, err := list(t.Context(), &sourcev1.Bucket{}, from, pack.Limits{Entries: 1000, Bytes: 1})
		if !errors.Is(err, pack.ErrLimit) || len(got.objects) > 0 {
			t.Errorf("%s: %d objects, error %v", why, len(got.objects), err)
		}
	}
}

// few is a bucket that says it has these objects.
type few []object

func (f few) list(_ context.Context, _ string, found func(object)) error {
	for _, o := range f {
		found(o)
	}
	return nil
}

func (few) open(context.Context, object) (io.ReadCloser, error) { return nil, errNoObject }

// What a server says of sizes makes no room for more than an artifact may have.
func TestSizesAreBounded(t *testing.T) {
	k := New(nil, Config{Limits: pack.Limits{Entries: 10, Bytes: 100}})
	for why, from := range map[string]few{
		"less than nothing, then much": {{key: "a", size: -1 << 40}, {key: "b", size: 1 << 40}},
		"less than nothing":            {{key: "a", size: -1}},
		"much":                         {{key: "a", size: 60}, {key: "b", size: 60}},
		"more than can be counted":     {{key: "a", size: 60}, {key: "b", size: math.MaxInt64}},
	} {
		o := &sourcev1.Bucket{Spec: sourcev1.BucketSpec{BucketName: "b", Prefix: why}}
		if _, err := k.index(t.Context(), o, &connection{store: from}); err == nil {
			t.Errorf("%s: taken", why)
		}
	}
}

// ends is a bucket that lists one object, and whose reader has no more time then.
type ends struct {
	few

	end context.CancelCauseFunc
}

func (e ends) list(ctx context.Context, prefix string, found func(object)) error {
	err := e.few.list(ctx, prefix, found)
	e.end(errEnded)
	return err
}

var errEnded = errors.New("the time is up")

// What compares many objects with many rules ends with the pass.
func TestRulesEndWithThePass(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	k := New(nil, Config{Limits: pack.Limits{Entries: 10, Bytes: 100}})
	rules := "x"
	o := &sourcev1.Bucket{Spec: sourcev1.BucketSpec{BucketName: "b", Ignore: &rules}}
	if _, err := k.index(ctx, o, &connection{store: ends{few{{key: "a"}}, end}}); !errors.Is(err, errEnded) {
		t.Errorf("got %v", err)
	}
}

// A login in an endpoint, where it is of no use, is told to nobody.
func TestEndpointsWithLogins(t *testing.T) {
	for _, at := range []string{"user:s3cret@host.example", "http://user:s3cret@host.example", "user:s3c/ret@host.example"} {
		_, err := login{}.open(sourcev1.BucketSpec{Endpoint: at, BucketName: "b", Provider: "generic"}, http.DefaultTransport)
		if err == nil || strings.Contains(err.Error(), "s3c") {
			t.Errorf("%s: %v", at, err)
		}
	}
}
