package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// lastApplied is where kubectl keeps what it applied last.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// takeOverAttempts bounds the retries when the object changes under the takeover.
const takeOverAttempts = 4

// takeOver gives the fields of kubectl and its like to our entry, so that the next
// apply removes those that are not in the manifest. It replaces managedFields as a
// whole, hence the fresh read and the resource version in the patch.
func (c *call) takeOver(ctx context.Context, i *item) error {
	var err error
	for range takeOverAttempts {
		var meta *metav1.PartialObjectMetadata
		if meta, err = c.req.Client.GetMetadata(ctx, i.ref); err != nil {
			return fmt.Errorf("read metadata before takeover: %w", err)
		}
		var patch []byte
		if patch, err = takeOverPatch(meta, c.req.Client.Cluster().OverrideManagers()); err != nil || patch == nil {
			return err
		}
		c.writes.Add(1)
		if _, err = c.req.Client.Patch(ctx, i.ref, types.JSONPatchType, patch); err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) {
			break
		}
	}
	return fmt.Errorf("take over fields: %w", err)
}

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// takeOverPatch returns a JSON patch, or nil when there is nothing to take over.
func takeOverPatch(meta *metav1.PartialObjectMetadata, overrides []string) ([]byte, error) {
	entries, changed, err := mergeEntries(meta.ManagedFields, overrides)
	if err != nil {
		return nil, err
	}
	_, annotated := meta.Annotations[lastApplied]
	if !changed && !annotated {
		return nil, nil
	}
	patch := []operation{
		{Op: "test", Path: "/metadata/uid", Value: meta.UID},
		{Op: "replace", Path: "/metadata/resourceVersion", Value: meta.ResourceVersion},
		{Op: "replace", Path: "/metadata/managedFields", Value: entries},
	}
	if annotated {
		patch = append(patch, operation{Op: "remove", Path: "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"})
	}
	return json.Marshal(patch)
}

// mergeEntries moves the fields of every entry to absorb into our own Apply entry.
// What a rollout restart wrote stays with its manager.
func mergeEntries(entries []metav1.ManagedFieldsEntry, overrides []string) (merged []metav1.ManagedFieldsEntry, changed bool, err error) {
	ours := metav1.ManagedFieldsEntry{
		Manager: cluster.Manager, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1",
	}
	fields := fieldpath.NewSet()
	for _, e := range entries {
		own := e.Manager == cluster.Manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
		if !own && !livestate.Absorbs(e, overrides) {
			merged = append(merged, e)
			continue
		}
		set, err := livestate.FieldSet(e)
		if err != nil {
			return nil, false, fmt.Errorf("read fields of manager %s: %w", e.Manager, err)
		}
		if ours.APIVersion == "" || own {
			ours.APIVersion, ours.Time = e.APIVersion, e.Time
		}
		if !own {
			changed = true
			var restart *fieldpath.Set
			if restart, set = livestate.SplitRestart(set); !restart.Empty() {
				if e.FieldsV1, err = fieldsOf(restart); err != nil {
					return nil, false, err
				}
				merged = append(merged, e)
			}
		}
		fields = fields.Union(set)
	}
	if ours.APIVersion == "" {
		return merged, changed, nil
	}
	if ours.FieldsV1, err = fieldsOf(fields); err != nil {
		return nil, false, err
	}
	return append([]metav1.ManagedFieldsEntry{ours}, merged...), changed, nil
}

func fieldsOf(set *fieldpath.Set) (*metav1.FieldsV1, error) {
	raw, err := set.ToJSON()
	if err != nil {
		return nil, fmt.Errorf("write managed fields: %w", err)
	}
	return metav1.NewFieldsV1(string(raw)), nil
}
