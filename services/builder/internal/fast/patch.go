package fast

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	k8syaml "sigs.k8s.io/yaml"
)

// mergePatches is the step for patchesStrategicMerge.
func (t *target) mergePatches() ([]step, error) {
	if len(t.PatchesStrategicMerge) == 0 {
		return nil, nil
	}
	var patches []*resource.Resource
	for _, path := range t.PatchesStrategicMerge {
		read, err := t.factory.RF().SliceFromBytes([]byte(path))
		if err != nil {
			body, failed := t.patchFile(string(path))
			if failed != nil {
				return nil, failed
			}
			if read, err = t.factory.RF().SliceFromBytes(body); err != nil {
				return nil, err
			}
		}
		patches = append(patches, read...)
	}
	if len(patches) == 0 {
		return nil, fmt.Errorf("%s: no patches", t.Root())
	}
	return []step{{"PatchStrategicMergeTransformer", func(found *objectList) error {
		for _, patch := range patches {
			object, err := found.only(patch.OrgId())
			if err != nil {
				return err
			}
			if err := alike(object).ApplySmPatch(resource.MakeIdSet([]*resource.Resource{object}), patch); err != nil {
				return err
			}
		}
		return nil
	}}}, nil
}

// patchFile reads a patch.
func (t *target) patchFile(path string) ([]byte, error) {
	body, err := t.Load(path)
	if err == nil && mentions(body, ownAnnotations) {
		err = leave("%s has annotations of kustomize's own", path)
	}
	return body, err
}

// patches are the steps for patches, one an entry.
func (t *target) patches() ([]step, error) {
	var steps []step
	for _, entry := range t.Patches {
		plugin := &builtins.PatchTransformerPlugin{}
		if err := t.configure(plugin, entry); err != nil {
			return nil, err
		}
		body := []byte(strings.TrimSpace(entry.Patch))
		if entry.Path != "" {
			var err error
			if body, err = t.patchFile(entry.Path); err != nil {
				return nil, err
			}
		}
		apply, err := t.patch(plugin, entry, body)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{"PatchTransformer", apply})
	}
	return steps, nil
}

func (t *target) patch(plugin *builtins.PatchTransformerPlugin, entry types.Patch, body []byte) (func(*objectList) error, error) {
	merges, err := t.factory.RF().SliceFromBytes(body)
	if err != nil { // kustomize takes it for a JSON patch
		return t.jsonPatch(plugin, entry.Target, body)
	}
	if entry.Target != nil && len(merges) > 1 {
		return nil, fmt.Errorf("%d patches for one target", len(merges))
	}
	renames := entry.Options != nil && (entry.Options.AllowNameChange || entry.Options.AllowKindChange)
	if entry.Target != nil && len(merges) == 1 {
		return selected(plugin, *entry.Target, renames)
	}
	return func(found *objectList) error {
		for _, patch := range merges {
			if err := mergeInto(found, patch, entry.Options); err != nil {
				return err
			}
			if !renames {
				continue
			}
			if err := found.renamed(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// mergeInto applies a patch to the object that it names.
func mergeInto(found *objectList, patch *resource.Resource, options *types.PatchArgs) error {
	if options != nil && options.AllowNameChange {
		patch.AllowNameChange()
	}
	if options != nil && options.AllowKindChange {
		patch.AllowKindChange()
	}
	object, err := found.only(patch.OrgId())
	if err != nil {
		return err
	}
	return object.ApplySmPatch(patch)
}

// jsonPatches are the steps for patchesJson6902, one an entry.
func (t *target) jsonPatches() ([]step, error) {
	var steps []step
	for _, entry := range t.PatchesJson6902 {
		plugin := &builtins.PatchJson6902TransformerPlugin{}
		err := t.configure(plugin, map[string]any{"target": entry.Target, "path": entry.Path, "jsonOp": entry.Patch})
		if err != nil {
			return nil, err
		}
		body := []byte(entry.Patch)
		if entry.Path != "" {
			if body, err = t.patchFile(entry.Path); err != nil {
				return nil, err
			}
		}
		apply, err := t.jsonPatch(plugin, entry.Target, body)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{"PatchJson6902Transformer", apply})
	}
	return steps, nil
}

// jsonPatch applies a JSON patch that does not look at kustomize's notes.
func (t *target) jsonPatch(plugin resmap.Transformer, on *types.Selector, body []byte) (func(*objectList) error, error) {
	if on == nil {
		return nil, fmt.Errorf("%s: a JSON patch has no target", t.Root())
	}
	var operations []struct{ Op, Path, From string }
	if err := k8syaml.Unmarshal(body, &operations); err != nil {
		return nil, err
	}
	for _, o := range operations {
		if o.Op == "test" && holdsNotes(o.Path) || (o.Op == "copy" || o.Op == "move") && holdsNotes(o.From) {
			return nil, leave("a JSON patch looks at all annotations")
		}
	}
	return selected(plugin, *on, true)
}

// holdsNotes says that what is at a JSON pointer holds all annotations.
func holdsNotes(pointer string) bool {
	return slices.Contains([]string{"", "/metadata", "/metadata/annotations"}, pointer)
}

// selected applies a patch to the objects that a selector means.
func selected(plugin resmap.Transformer, on types.Selector, renames bool) (func(*objectList) error, error) {
	match, err := types.NewSelectorRegex(&on)
	if err != nil {
		return nil, err
	}
	return func(found *objectList) error {
		moved := false
		for _, r := range found.items {
			// kustomize decides; this only saves it the work.
			if !match.MatchGvk(r.GetGvk()) || !match.MatchName(r.GetName()) && !match.MatchName(r.OrgId().Name) {
				continue
			}
			was := identityOf(r.CurId())
			if err := alone(r, plugin.Transform); err != nil {
				return err
			}
			if !renames || r.IsNilOrEmpty() {
				continue
			}
			moved = moved || was != identityOf(r.CurId())
			if found.known != nil {
				found.note(r) // a JSON patch makes it remember its id
			}
		}
		if moved {
			return found.renamed()
		}
		return nil
	}, nil
}
