package bucket

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// cluster is an API server that has Buckets with these UIDs.
type cluster struct {
	client.Reader

	uids []types.UID
}

// List implements client.Reader.
func (c cluster) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	for _, uid := range c.uids {
		all := list.(*sourcev1.BucketList)
		all.Items = append(all.Items, sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{UID: uid}})
	}
	return nil
}

// What was downloaded of a Bucket stays while somebody looks at it, also when nothing of it
// changes for long, or its server fails. It goes with the Bucket.
func TestFoldersOfBuckets(t *testing.T) {
	k := New(nil, Config{Dir: filepath.Join(t.TempDir(), "buckets")})
	now := time.Now()
	here := cluster{uids: []types.UID{"looked-at", "forgotten", "quiet"}}
	if err := k.Trim(t.Context(), here, now); err != nil {
		t.Errorf("nothing was downloaded yet: %v", err)
	}
	for name, age := range map[string]time.Duration{"looked-at": 2 * unused, "forgotten": 2 * unused, "quiet": unused / 2, "deleted": unused / 2, "not-listed-yet": late / 2} {
		dir := filepath.Join(k.config.Dir, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	for _, uid := range []types.UID{"looked-at", "new"} {
		o := &sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{UID: uid}, Spec: sourcev1.BucketSpec{Endpoint: "no host"}}
		if _, err := k.Open(t.Context(), events.Key{}, o); err == nil {
			t.Errorf("%s: a server without a name answers", uid)
		}
	}
	if err := k.Trim(t.Context(), here, now); err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{"looked-at": true, "forgotten": false, "quiet": true, "deleted": false, "not-listed-yet": true} {
		if _, err := os.Stat(filepath.Join(k.config.Dir, name)); (err == nil) != stays || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it stays is to be %t: %v", name, stays, err)
		}
	}
}

// An object that was stored compressed, and says so, is taken as it is: that is how many bytes the listing says.
func TestCompressedObjects(t *testing.T) {
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	_, err := zip.Write([]byte("a: 1\n"))
	if err = errors.Join(err, zip.Close()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"e"`)
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(body.Bytes()) // who reads says what came
	}))
	defer server.Close()
	k := New(nil, Config{Quiet: &transport.Quiet{}})
	from, err := k.connect(t.Context(), &sourcev1.Bucket{Spec: sourcev1.BucketSpec{
		BucketName: "bucket", Endpoint: strings.TrimPrefix(server.URL, "http://"), Insecure: true, Region: "us-east-1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "a.yaml")
	if err := get(t.Context(), from, object{key: "a.yaml", etag: `"e"`, size: int64(body.Len())}, target); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(target); err != nil || !bytes.Equal(got, body.Bytes()) {
		t.Errorf("got %q, %v", got, err)
	}
}
