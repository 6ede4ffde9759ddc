package helmstore

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// history is a release's entries, each of so many MiB when unpacked.
func history(t *testing.T, mib int, statuses ...release.Status) []*entry {
	t.Helper()
	var out []*entry
	for i, status := range statuses {
		body := fmt.Sprintf(`{"name": "app", "version": %d, "info": {"status": %q}}`, i+1, status) + strings.Repeat(" ", mib<<20)
		out = append(out, &entry{version: i + 1, status: status, whole: true, secret: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("v", i+1), UID: "uid"}, Data: map[string][]byte{dataKey: packed(t, body)},
		}})
	}
	return out
}

// TestLargeHistory makes outlines of the revisions that there is no room for beside those that are needed, and refuses a
// history of which these are too much.
func TestLargeHistory(t *testing.T) {
	const old, good, bad, pending = release.StatusSuperseded, release.StatusDeployed, release.StatusFailed, release.StatusPendingUpgrade
	for _, tt := range []struct {
		why      string
		mib      int
		statuses []release.Status
		whole    []int
		err      error
	}{
		{"all have room", 1, []release.Status{old, old, good, bad}, []int{1, 2, 3, 4}, nil},
		{"the newest of the others", 14, []release.Status{old, good, bad, bad, bad}, []int{2, 4, 5}, nil},
		{"only what is needed", 22, []release.Status{old, good, bad, bad, pending}, []int{2, 5}, nil},
		{"the newest is deployed, the one before it good", 22, []release.Status{old, old, bad, good}, []int{2, 4}, nil},
		{"what is needed has no room", 25, []release.Status{good, bad}, nil, ErrTooMuch},
	} {
		found := history(t, tt.mib, tt.statuses...)
		if err := winnow(found); err != nil {
			t.Fatal(err)
		}
		all, err := decodeAll(t.Context(), "app", found)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: error %v, want %v", tt.why, err, tt.err)
		}
		var whole []int
		for i, r := range all {
			if r.Version != i+1 || r.secret.Name != fmt.Sprint("v", i+1) || r.secret.UID != "uid" || r.Info.Status != tt.statuses[i] {
				t.Errorf("%s: at place %d is revision %d of Secret %s", tt.why, i, r.Version, r.secret.Name)
			}
			if !r.Outline {
				whole = append(whole, r.Version)
			}
		}
		if diff := cmp.Diff(tt.whole, whole); diff != "" {
			t.Errorf("%s: read as a whole (-want +got):\n%s", tt.why, diff)
		}
	}
}

// TestEndlessHistory has room for the outlines of all revisions that a release may have.
func TestEndlessHistory(t *testing.T) {
	var found []*entry
	for version := range maxRevisions {
		found = append(found, &entry{version: version + 1, status: release.StatusSuperseded, secret: &corev1.Secret{}, whole: true})
	}
	if err := winnow(found); err != nil {
		t.Error(err)
	}
	if err := winnow(append(found, &entry{secret: &corev1.Secret{}})); !errors.Is(err, ErrTooMuch) {
		t.Errorf("one more: error %v, want ErrTooMuch", err)
	}
}

// TestUnpackingAtOnce unpacks large revisions one after the other, however many ask for it.
func TestUnpackingAtOnce(t *testing.T) {
	const count, limit = 4, 400 << 20
	found := history(t, maxUnpacked>>20-1, release.StatusDeployed)
	var group errgroup.Group
	done, peak := make(chan bool), uint64(0)
	go func() {
		defer close(done)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
			select {
			case done <- true:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	for range count {
		group.Go(func() error {
			left := maxUnpacked
			_, err := unpackIn(t.Context(), found[0].secret.Data[dataKey], &left)
			return err
		})
	}
	err := group.Wait()
	for range done {
	}
	if err != nil || peak > limit {
		t.Errorf("error %v, a heap of %d MiB, want at most %d", err, peak>>20, limit>>20)
	}
	t.Logf("a heap of %d MiB", peak>>20)
}
