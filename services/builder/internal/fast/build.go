package fast

import (
	"errors"
	"fmt"
	"slices"

	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// ErrLeave says that kustomize has to build this tree: it uses something that this
// package does not reproduce.
var ErrLeave = errors.New("left to kustomize")

func leave(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrLeave, fmt.Sprintf(format, args...))
}

// builder is one build.
type builder struct {
	files   filesys.FileSystem
	deps    *provider.DepProvider
	factory *resmap.Factory
}

// Build returns the objects that kustomize would print for the kustomization in a
// folder of files, in its order, each with the annotation of its origin. The
// kustomization must ask for these annotations.
//
// Any error means that kustomize has to do the build, and to word the error if
// there is one. It wraps ErrLeave when the tree is not known to be wrong.
func Build(files filesys.FileSystem, folder string) (objects []*resource.Resource, err error) {
	defer func() {
		if p := recover(); p != nil { // kustomize panics on some input: let it
			objects, err = nil, leave("panic: %v", p)
		}
	}()
	deps := provider.NewDepProvider()
	b := &builder{files: files, deps: deps, factory: resmap.NewFactory(deps.GetResourceFactory())}
	root, err := b.open(folder, nil)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(root.BuildMetadata, func(option string) bool { return option != types.OriginAnnotations }) ||
		len(root.BuildMetadata) == 0 {
		return nil, leave("buildMetadata %v", root.BuildMetadata)
	}
	root.origin = &resource.Origin{}
	found := &objectList{}
	if err := root.accumulate(found); err != nil {
		return nil, err
	}
	return b.finish(found)
}

// finish does what kustomize does once, with all objects of the tree.
func (b *builder) finish(found *objectList) ([]*resource.Resource, error) {
	if err := b.hash(found); err != nil {
		return nil, err
	}
	if err := updateReferences(found.items); err != nil {
		return nil, err
	}
	if err := dropLocal(found); err != nil {
		return nil, err
	}
	for _, r := range found.items {
		r.RemoveBuildAnnotations()
		if err := r.ClearTransformations(); err != nil {
			return nil, fmt.Errorf("clean %s: %w", r.CurId(), err)
		}
	}
	return found.items, nil
}

// hash adds to the names of generated objects the hash of their content.
func (b *builder) hash(found *objectList) error {
	hasher := builtins.NewHashTransformerPlugin()
	if err := hasher.Config(resmap.NewPluginHelpers(nil, nil, b.factory, nil), nil); err != nil {
		return fmt.Errorf("configure hashes: %w", err)
	}
	changed := false
	for _, r := range found.items {
		if !r.NeedHashSuffix() {
			continue
		}
		if err := alone(r, hasher.Transform); err != nil {
			return err
		}
		changed = true
	}
	if changed {
		return found.renamed()
	}
	return nil
}

// dropLocal drops the objects that are meant for tools only.
func dropLocal(found *objectList) error {
	var kept []*resource.Resource
	for _, r := range found.items {
		meta, err := r.GetValidatedMetadata()
		if err != nil {
			return fmt.Errorf("read metadata: %w", err)
		}
		if local, ok := meta.Annotations[konfig.IgnoredByKustomizeAnnotation]; ok && local != "false" {
			continue
		}
		kept = append(kept, r)
	}
	found.items = kept
	return nil
}
