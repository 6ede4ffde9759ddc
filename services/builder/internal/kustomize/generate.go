package kustomize

import (
	"path"
	"slices"

	"sigs.k8s.io/kustomize/api/types"
)

// generate returns a kustomization for a folder that has none: every YAML file
// below it is a resource, and a folder with a kustomization of its own is one
// resource.
func (f *files) generate(dir string) (map[string]any, error) {
	resources := []any{}
	if err := f.collect(dir, "", &resources); err != nil {
		return nil, err
	}
	return map[string]any{
		"apiVersion": types.KustomizationVersion,
		"kind":       types.KustomizationKind,
		"resources":  resources,
	}, nil
}

func (f *files) collect(dir, rel string, resources *[]any) error {
	folder := path.Join(dir, rel)
	names, err := f.list(folder)
	if err != nil {
		return err
	}
	if rel != "" && slices.ContainsFunc(names, func(name string) bool {
		return isKustomizationFile(name) && !f.IsDir(path.Join(top, folder, name))
	}) {
		*resources = append(*resources, rel)
		return nil
	}
	for _, name := range names {
		ext := path.Ext(name)
		switch {
		case f.IsDir(path.Join(top, folder, name)):
			if err := f.collect(dir, path.Join(rel, name), resources); err != nil {
				return err
			}
		case ext == ".yaml" || ext == ".yml":
			*resources = append(*resources, path.Join(rel, name))
		}
	}
	return nil
}
