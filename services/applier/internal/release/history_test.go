package release_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	helmrelease "helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// TestLongHistory upgrades a release that has many revisions, of which only those are read as a whole that an upgrade
// needs, and cuts its history short.
func TestLongHistory(t *testing.T) {
	const namespace, deployed = "long-history", 17
	makeNamespace(t, namespace)
	a := newApplier(t, namespace, 1<<40)
	for version := 1; version <= 30; version++ {
		r := revision(namespace, version, "one")
		r.Info.Status = helmrelease.StatusFailed
		if version < deployed {
			r.Info.Status = helmrelease.StatusSuperseded
		}
		if version == deployed {
			r.Info.Status = helmrelease.StatusDeployed
		}
		if err := a.store.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	all, err := a.store.List(t.Context(), appName)
	if err != nil {
		t.Fatal(err)
	}
	var whole []int
	for i, r := range all {
		if r.Version != i+1 {
			t.Fatalf("revision %d is at place %d", r.Version, i)
		}
		if !r.Outline {
			whole = append(whole, r.Version)
		}
	}
	if diff := cmp.Diff([]int{deployed, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30}, whole); diff != "" {
		t.Errorf("read as a whole (-want +got):\n%s", diff)
	}
	made := revision(namespace, 31, "two")
	runner := release.Runner{Client: a.client, Store: a.store, Options: release.Options{Timeout: time.Minute, MaxHistory: 3, DisableWait: true}}
	if err := runner.Begin(t.Context(), made, helmstore.Run{Action: release.Upgrade, UID: "uid"}); err != nil {
		t.Fatal(err)
	}
	if progress, err := runner.Step(t.Context(), made, append(all, made)); err != nil || !progress.Done {
		t.Fatalf("done %t, error %v", progress.Done, err)
	}
	want := []string{"failed: ", "failed: ", "deployed: Upgrade complete"}
	if diff := cmp.Diff(want, historyIn(t, a)); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// TestFarBack reads a revision that is older than those that are read as a whole: as it was listed, and if it has room.
func TestFarBack(t *testing.T) {
	const namespace = "far-back"
	makeNamespace(t, namespace)
	a := newApplier(t, namespace, 1<<40)
	for version := 1; version <= 13; version++ {
		r := revision(namespace, version, fmt.Sprint("of-", version))
		r.Info.Status = helmrelease.StatusSuperseded
		if version == 2 {
			r.Manifest = strings.Repeat("# nothing\n", 3<<20)
		}
		if err := a.store.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	all, err := a.store.List(t.Context(), appName)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all[:3] {
		if !r.Outline {
			t.Fatalf("revision %d is read as a whole", r.Version)
		}
	}
	if err := a.store.Complete(t.Context(), all[0]); err != nil || all[0].Outline || all[0].Namespace != namespace || !strings.Contains(all[0].Manifest, "of-1") {
		t.Errorf("error %v, revision %+v", err, all[0].Release)
	}
	if err := a.store.Complete(t.Context(), all[1]); !errors.Is(err, helmstore.ErrTooMuch) || !strings.Contains(err.Error(), "sh.helm.release.v1.app.v2") {
		t.Errorf("one that is too large: error %v", err)
	}
	if err := a.store.Delete(t.Context(), all[2]); err != nil {
		t.Fatal(err)
	}
	if err := a.store.Complete(t.Context(), all[2]); !errors.Is(err, helmstore.ErrLost) {
		t.Errorf("one that is gone: error %v", err)
	}
	edited, err := a.client.Secrets(namespace).Get(t.Context(), "sh.helm.release.v1.app.v1", metav1.GetOptions{})
	if err == nil {
		edited.Labels["by"] = "hand"
		_, err = a.client.Secrets(namespace).Update(t.Context(), edited, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := a.store.Complete(t.Context(), all[0]); !errors.Is(err, helmstore.ErrLost) {
		t.Errorf("one that somebody wrote: error %v", err)
	}
}

// TestFailedHistory cuts the history of a release short that fails again and again.
func TestFailedHistory(t *testing.T) {
	const namespace = "failed-history"
	makeNamespace(t, namespace)
	a := newApplier(t, namespace, 1<<40)
	finish(t, a, namespace, release.Install)
	for version := 2; version <= 6; version++ {
		all, err := a.store.List(t.Context(), appName)
		if err != nil {
			t.Fatal(err)
		}
		made := revision(namespace, version, "Not_A_Name")
		runner := release.Runner{Client: a.client, Store: a.store, Options: release.Options{Timeout: time.Minute, MaxHistory: 3, DisableHooks: true}}
		if err := runner.Begin(t.Context(), made, helmstore.Run{Action: release.Upgrade, UID: "uid"}); err != nil {
			t.Fatal(err)
		}
		var failed *release.FailedError
		if _, err := runner.Step(t.Context(), made, append(all, made)); !errors.As(err, &failed) {
			t.Fatalf("an upgrade to what the API server refuses: %v", err)
		}
	}
	all, err := a.store.List(t.Context(), appName)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, r := range all {
		have = append(have, fmt.Sprint(r.Version, " ", r.Info.Status))
	}
	if diff := cmp.Diff([]string{"1 deployed", "5 failed", "6 failed"}, have); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// TestHistoryBeyondMeasure refuses to read what somebody who may write Secrets calls the history of a release, names the
// release and says what helps.
func TestHistoryBeyondMeasure(t *testing.T) {
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	const small = `{"name": "app", "version": %d, "info": {"status": "failed"}}`
	for _, c := range []struct {
		name, says string
		count      int
		data       func(version int) []byte
		status     string
	}{
		{"large", "have more than 16777216 bytes; delete the Secrets", 17, func(int) []byte { return noise[:1_000_000] }, "deployed"},
		{"bombs", "unpacked, those of its revisions that are needed take more than", 1, func(v int) []byte {
			return zipped(t, fmt.Sprintf(small, v)+strings.Repeat(" ", 48<<20))
		}, "failed"},
		{"mislabelled", "it holds revision 8 of release app, which its labels do not say", 1, func(int) []byte {
			return []byte(base64.StdEncoding.EncodeToString(fmt.Appendf(nil, small, 8)))
		}, "failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			namespace := "history-" + c.name
			makeNamespace(t, namespace)
			a := newApplier(t, namespace, 1<<40)
			var group errgroup.Group
			group.SetLimit(16)
			for version := range c.count {
				group.Go(func() error {
					_, err := a.client.Secrets(namespace).Create(t.Context(), &corev1.Secret{
						ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("sh.helm.release.v1.app.v%d", version+1), Labels: map[string]string{
							"owner": "helm", "name": appName, "status": c.status, "version": strconv.Itoa(version + 1),
						}},
						Data: map[string][]byte{"release": c.data(version + 1)},
					}, metav1.CreateOptions{})
					return err
				})
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			_, err := a.store.List(t.Context(), appName)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "release "+appName) {
				t.Errorf("error %v, want one with %q", err, c.says)
			}
			if large := slices.Contains([]string{"large", "bombs"}, c.name); errors.Is(err, helmstore.ErrTooMuch) != large {
				t.Errorf("error %v is ErrTooMuch: %t", err, !large)
			}
		})
	}
}

// zipped is a packed release.
func zipped(t *testing.T, body string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return []byte(base64.StdEncoding.EncodeToString(out.Bytes()))
}
