package kustomize

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/yaml"
)

// originOption asks kustomize to note where each object comes from.
const originOption = "originAnnotations"

// prepare puts the kustomization of the folder, as the spec changes it, into the
// overlay: its own one, or one that lists the folder's manifests.
func (f *files) prepare(dir string, spec *kustomizev1.KustomizationSpec) error {
	name, k, err := f.own(dir)
	if err != nil {
		return err
	}
	if name == "" {
		name = path.Join(dir, konfig.DefaultKustomizationFileName())
		if k, err = f.generate(dir); err != nil {
			return err
		}
	}
	if err := f.inject(dir, k, spec); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	body, err := json.Marshal(k) // JSON is YAML
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f.overlay[name] = body
	return nil
}

// own reads the kustomization that the folder has; an empty name means none.
func (f *files) own(dir string) (string, map[string]any, error) {
	found := ""
	for _, base := range konfig.RecognizedKustomizationFileNames() {
		name := path.Join(dir, base)
		folder, err := f.isFolder(name)
		if err != nil || folder {
			continue
		}
		if found != "" {
			return "", nil, fmt.Errorf("%s and %s: a folder must have one kustomization file", found, name)
		}
		found = name
	}
	if found == "" {
		return "", nil, nil
	}
	f.main = found
	body, err := f.ReadFile(path.Join(top, found))
	if err != nil {
		return "", nil, err
	}
	k := map[string]any{}
	if err := yaml.Unmarshal(body, &k); err != nil {
		return "", nil, fmt.Errorf("%s: %w", found, err)
	}
	if says(k) == 0 {
		return "", nil, fmt.Errorf("%s: kustomization.yaml is empty", found)
	}
	return found, k, nil
}

// says counts the fields of a kustomization beside its type.
func says(k map[string]any) int {
	n := 0
	for field := range k {
		if field != "apiVersion" && field != "kind" {
			n++
		}
	}
	return n
}

// inject writes into k what the spec asks for.
func (f *files) inject(dir string, k map[string]any, spec *kustomizev1.KustomizationSpec) error {
	set := func(field, value string) {
		if value != "" {
			k[field] = value
		}
	}
	set("namespace", spec.TargetNamespace)
	set("namePrefix", spec.NamePrefix)
	set("nameSuffix", spec.NameSuffix)

	components, err := f.components(dir, spec)
	if err != nil {
		return err
	}
	if err := extend(k, "components", components); err != nil {
		return err
	}
	patches, err := generic(spec.Patches)
	if err != nil {
		return err
	}
	if err := extend(k, "patches", patches); err != nil {
		return err
	}
	f.keepOrigin = slices.Contains(spec.BuildMetadata, originOption) ||
		slices.Contains(list(k["buildMetadata"]), any(originOption))
	metadata := []any{originOption}
	for _, option := range spec.BuildMetadata {
		metadata = append(metadata, option)
	}
	if err := extend(k, "buildMetadata", metadata); err != nil {
		return err
	}
	return injectImages(k, spec)
}

// components returns the components of the spec, without absent ones if the
// spec tolerates them.
func (f *files) components(dir string, spec *kustomizev1.KustomizationSpec) ([]any, error) {
	var out []any
	for i, component := range spec.Components {
		ref := reference{fmt.Sprintf("spec.components[%d]", i), component}
		if err := ref.check(dir); err != nil {
			return nil, fmt.Errorf("%s: %w", ref.field, err)
		}
		if spec.IgnoreMissingComponents && !f.IsDir(path.Join(top, dir, component)) {
			continue
		}
		out = append(out, component)
	}
	return out, nil
}

// injectImages merges images by name: a new name replaces when it is set, tag
// and digest are replaced together.
func injectImages(k map[string]any, spec *kustomizev1.KustomizationSpec) error {
	images, err := entries(k, "images")
	if err != nil {
		return err
	}
	for _, want := range spec.Images {
		i := slices.IndexFunc(images, func(have any) bool { return fieldOf(have, "name") == want.Name })
		if i < 0 {
			images = append(images, map[string]any{"name": want.Name})
			i = len(images) - 1
		}
		image, ok := images[i].(map[string]any)
		if !ok {
			return fmt.Errorf("images[%d] must be an object", i)
		}
		if want.NewName != "" {
			image["newName"] = want.NewName
		}
		delete(image, "newTag")
		delete(image, "digest")
		if want.NewTag != "" {
			image["newTag"] = want.NewTag
		}
		if want.Digest != "" {
			image["digest"] = want.Digest
		}
	}
	if len(images) > 0 {
		k["images"] = images
	}
	return nil
}

// extend appends to a list of k, leaving out what it has.
func extend(k map[string]any, field string, more []any) error {
	have, err := entries(k, field)
	if err != nil || len(more) == 0 {
		return err
	}
	for _, v := range more {
		if s, ok := v.(string); ok && slices.Contains(have, any(s)) {
			continue
		}
		have = append(have, v)
	}
	k[field] = have
	return nil
}

func entries(k map[string]any, field string) ([]any, error) {
	if k[field] == nil {
		return nil, nil
	}
	l, ok := k[field].([]any)
	if !ok {
		return nil, fmt.Errorf("%s must be a list", field)
	}
	return l, nil
}

// generic turns typed values into what JSON makes of them.
func generic[T any](values []T) ([]any, error) {
	if len(values) == 0 {
		return nil, nil
	}
	body, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("encode spec: %w", err)
	}
	var out []any
	if err := json.Unmarshal(body, &out); err != nil {
		return nil, fmt.Errorf("decode spec: %w", err)
	}
	return out, nil
}
