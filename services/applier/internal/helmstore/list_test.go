package helmstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/sluice-gitops/sluice/internal/seal"
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
		all, err := (&Store{}).read(t.Context(), "app", found)
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

// endless are the Secrets of a release in pages, as far as they are asked for.
type endless struct {
	typedcorev1.SecretInterface
	secret      func(n int) corev1.Secret
	count, read int
}

func (e *endless) List(context.Context, metav1.ListOptions) (*corev1.SecretList, error) {
	list := &corev1.SecretList{}
	for len(list.Items) < pageSize && e.read < e.count {
		e.read++
		list.Items = append(list.Items, e.secret(e.read))
	}
	if e.read < e.count {
		list.Continue = "more"
	}
	return list, nil
}

// TestEndlessHistory has room for all revisions that a release may have, and reads no further, be they revisions or not.
func TestEndlessHistory(t *testing.T) {
	body := packed(t, `{"name": "app", "version": 10000, "info": {"status": "deployed"}}`)
	first := packed(t, `{"name": "app", "version": 1, "info": {"status": "failed"}}`)
	for why, secret := range map[string]func(n int) corev1.Secret{
		"revisions": func(n int) corev1.Secret {
			if n < maxRevisions {
				return corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{labelVersion: "1", labelStatus: "failed"}}, Data: map[string][]byte{dataKey: first}}
			}
			return corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{labelVersion: "10000", labelStatus: "deployed"}}, Data: map[string][]byte{dataKey: body}}
		},
		"others": func(int) corev1.Secret { return corev1.Secret{} },
	} {
		for count, want := range map[int]error{maxRevisions: nil, maxRevisions + 1: ErrTooMuch, 3 * maxRevisions: ErrTooMuch} {
			of := &endless{secret: secret, count: count}
			_, err := New(of, "ns", nil, seal.Identity{}).List(t.Context(), "app")
			if !errors.Is(err, want) || of.read > maxRevisions+pageSize {
				t.Errorf("%d %s: %d read, error %v, want %v", count, why, of.read, err, want)
			}
		}
	}
}

// TestJunkTold tells once in a listing of Secrets that are no revisions, however many there are: more than are remembered
// are news each time.
func TestJunkTold(t *testing.T) {
	var log bytes.Buffer
	var ignored Ignored
	for range 2 {
		of := &endless{count: 2 * maxIgnored, secret: func(n int) corev1.Secret {
			return corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("junk-", n), UID: types.UID(fmt.Sprint(n)), ResourceVersion: "1"}}
		}}
		store := New(of, "ns", nil, seal.Identity{})
		store.Log, store.Ignored = slog.New(slog.NewTextHandler(&log, nil)), &ignored
		if _, err := store.List(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
	}
	if lines := strings.Count(log.String(), "\n"); lines != 2 || !strings.Contains(log.String(), fmt.Sprintf("secret=junk-1 count=%d", 2*maxIgnored)) {
		t.Errorf("%d lines were logged in two listings, the first %.300s", lines, log.String())
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
