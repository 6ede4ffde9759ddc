package release_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

// TestDeleteLost deletes a revision only as it was read.
func TestDeleteLost(t *testing.T) {
	const namespace = "delete-lost"
	makeNamespace(t, namespace)
	a := newApplier(t, namespace, 1<<40)
	read := revision(namespace, 1, "one")
	if err := a.store.Create(t.Context(), read); err != nil {
		t.Fatal(err)
	}
	all, err := a.store.List(t.Context(), appName)
	if err == nil {
		all[0].SetStatus("deployed", "by another")
		err = a.store.Update(t.Context(), all[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := a.store.Delete(t.Context(), read); !errors.Is(err, helmstore.ErrLost) {
		t.Errorf("error %v, want %v", err, helmstore.ErrLost)
	}
	if err := a.store.Delete(t.Context(), all[0]); err != nil {
		t.Error(err)
	}
	if err := a.store.Delete(t.Context(), all[0]); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
}

// TestNoRevision reads the revisions of a release beside a Secret with its labels that has no number, and tells of that once
// for each time it was written.
func TestNoRevision(t *testing.T) {
	const namespace = "no-revision"
	makeNamespace(t, namespace)
	a := newApplier(t, namespace, 1<<40)
	if err := a.store.Create(t.Context(), revision(namespace, 1, "one")); err != nil {
		t.Fatal(err)
	}
	junk, err := a.client.Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "junk", Labels: map[string]string{"owner": "helm", "name": appName, "version": "new"},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	var ignored helmstore.Ignored
	for written := 1; written <= 2; written++ {
		for range 3 { // passes
			store := helmstore.New(a.client.Secrets(namespace), namespace, ring(t, keyring), owner)
			store.Log, store.Ignored = slog.New(slog.NewTextHandler(&log, nil)), &ignored
			all, err := store.List(t.Context(), appName)
			if err != nil || len(all) != 1 || all[0].Version != 1 {
				t.Errorf("%d revisions, error %v; want the first alone", len(all), err)
			}
		}
		if told := strings.Count(log.String(), "secret=junk"); told != written {
			t.Errorf("written %d times, it was told of %d times", written, told)
		}
		junk.Labels["by"] = "hand"
		if junk, err = a.client.Secrets(namespace).Update(t.Context(), junk, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
