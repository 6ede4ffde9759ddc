package bucket

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/events"
)

// What was downloaded of a bucket stays while somebody looks at it, also when nothing of it
// changes for long, or its server fails.
func TestFoldersInUseStay(t *testing.T) {
	k := New(nil, Config{Dir: t.TempDir()})
	now := time.Now()
	for _, name := range []string{"looked-at", "forgotten"} {
		dir := filepath.Join(k.config.Dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, now, now.Add(-2*unused)); err != nil {
			t.Fatal(err)
		}
	}
	for _, uid := range []types.UID{"looked-at", "new"} {
		o := &sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{UID: uid}, Spec: sourcev1.BucketSpec{Endpoint: "no host"}}
		if _, err := k.Open(t.Context(), events.Key{}, o); err == nil {
			t.Errorf("%s: a server without a name answers", uid)
		}
	}
	if err := k.trim(now); err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{"looked-at": true, "forgotten": false} {
		if _, err := os.Stat(filepath.Join(k.config.Dir, name)); (err == nil) != stays || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it stays is to be %t: %v", name, stays, err)
		}
	}
}
