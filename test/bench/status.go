package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// writeStatuses returns how long the bare client needs to write the status of as
// many Kustomizations as the benchmark has. Those are suspended, in a namespace of
// their own, and have a status like Sluice's: what is measured is a second write,
// which changes a revision.
func (w *world) writeStatuses(ctx context.Context) (time.Duration, error) {
	var suspended []*unstructured.Unstructured
	for i := range w.n {
		suspended = append(suspended, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": kustomization.GroupVersion().String(), "kind": kustomization.Kind,
			"metadata": map[string]any{"name": appName(i), "namespace": bareNamespace},
			"spec": map[string]any{
				"suspend": true, "interval": "30m", "prune": true, "path": "./apps/" + appName(i),
				"sourceRef": map[string]any{"kind": "GitRepository", "name": "bench"},
			},
		}})
	}
	if _, err := w.bare.apply(ctx, suspended); err != nil {
		return 0, err
	}
	if err := w.patchStatuses(ctx, "1"); err != nil {
		return 0, err
	}
	if _, err := w.settled(ctx, time.Now()); err != nil {
		return 0, err
	}
	start := time.Now()
	err := w.patchStatuses(ctx, "2")
	return time.Since(start), err
}

func (w *world) patchStatuses(ctx context.Context, revision string) error {
	r, err := w.bare.cluster.Resource(kustomization, bareNamespace)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(bareConnections)
	for i := range w.n {
		patch, err := json.Marshal(map[string]any{"status": bareStatus(appName(i), revision)})
		if err != nil {
			return err
		}
		group.Go(func() error {
			_, err := r.Patch(ctx, appName(i), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "bare"}, "status")
			if err != nil {
				return fmt.Errorf("write status of %s: %w", appName(i), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// bareStatus is the status of an application that was applied at a revision.
func bareStatus(name, revision string) map[string]any {
	revision = fmt.Sprintf("main@sha1:%040s", revision)
	var entries []any
	for _, kind := range []string{"_ConfigMap", "_Service", "_ServiceAccount", "apps_Deployment", "networking.k8s.io_Ingress"} {
		entries = append(entries, map[string]any{"id": bareNamespace + "_" + name + "_" + kind, "v": "v1"})
	}
	now := time.Now().UTC().Format(time.RFC3339)
	return map[string]any{
		"observedGeneration": 1, "lastAppliedRevision": revision, "lastAttemptedRevision": revision,
		"conditions": []any{map[string]any{
			"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "Applied revision: " + revision,
			"lastTransitionTime": now, "observedGeneration": 1,
		}},
		"inventory": map[string]any{"entries": entries},
		"history": []any{map[string]any{
			"digest": "sha256:" + revision, "firstReconciled": now, "lastReconciled": now, "lastReconciledDuration": "100ms",
			"lastReconciledStatus": "ReconciliationSucceeded", "totalReconciliations": 1, "metadata": map[string]any{"revision": revision},
		}},
	}
}
