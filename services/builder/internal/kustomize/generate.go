package kustomize

import (
	"path"

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
	listed, err := f.list(folder)
	if err != nil {
		return err
	}
	if rel != "" {
		for _, e := range listed {
			if !e.IsDir() && isKustomizationFile(e.Name()) {
				*resources = append(*resources, rel)
				return nil
			}
		}
	}
	for _, e := range listed {
		name := path.Join(rel, e.Name())
		ext := path.Ext(e.Name())
		switch {
		case e.IsDir():
			if err := f.collect(dir, name, resources); err != nil {
				return err
			}
		case ext == ".yaml" || ext == ".yml":
			*resources = append(*resources, name)
		}
	}
	return nil
}
