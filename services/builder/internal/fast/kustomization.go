package fast

import (
	"bytes"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	k8syaml "sigs.k8s.io/yaml"
)

const (
	// transformationsAnnotation is where kustomize counts what it did to an object
	// while it builds, which this package does not.
	transformationsAnnotation = "alpha.config.kubernetes.io"
	// ownAnnotations is part of every annotation that means something to kustomize.
	ownAnnotations = "config.kubernetes.io"
)

func mentions(body []byte, text string) bool { return bytes.Contains(body, []byte(text)) }

func encode(config any) ([]byte, error) {
	body, err := k8syaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	return body, nil
}

// open reads the kustomization in a folder.
func (b *builder) open(folder string, parent *target) (*target, error) {
	t := &target{builder: b, root: filesys.ConfirmedDir(folder), parent: parent}
	var body []byte
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		content, err := t.Load(name)
		if err != nil {
			continue
		}
		if t.file != "" {
			return nil, fmt.Errorf("%s has two kustomizations", folder)
		}
		t.file, body = name, content
	}
	if t.file == "" {
		return nil, fmt.Errorf("%s has no kustomization", folder)
	}
	if mentions(body, ownAnnotations) {
		return nil, leave("%s has annotations of kustomize's own", filepath.Join(folder, t.file))
	}
	k := &t.Kustomization
	if err := k.Unmarshal(body); err != nil {
		return nil, err
	}
	k.FixKustomization()
	if err := k.CheckEmpty(); err != nil {
		return nil, err
	}
	if wrong := k.EnforceFields(); len(wrong) > 0 {
		return nil, fmt.Errorf("%s: %v", folder, wrong)
	}
	return t, t.supported()
}

// supported says no to every field that this package does not know, those that a
// later version of kustomize adds included.
func (t *target) supported() error {
	k := t.Kustomization
	known := types.Kustomization{
		TypeMeta: k.TypeMeta, MetaData: k.MetaData, BuildMetadata: k.BuildMetadata,
		Resources: k.Resources, Components: k.Components,
		ConfigMapGenerator: k.ConfigMapGenerator, SecretGenerator: k.SecretGenerator, GeneratorOptions: k.GeneratorOptions,
		PatchesStrategicMerge: k.PatchesStrategicMerge, Patches: k.Patches, PatchesJson6902: k.PatchesJson6902,
		Namespace: k.Namespace, NamePrefix: k.NamePrefix, NameSuffix: k.NameSuffix,
		CommonLabels: k.CommonLabels, Labels: k.Labels, CommonAnnotations: k.CommonAnnotations,
		Replicas: k.Replicas, Images: k.Images,
	}
	if !reflect.DeepEqual(k, known) {
		return leave("%s has fields beyond those known", filepath.Join(t.Root(), t.file))
	}
	for _, l := range k.Labels {
		if !reflect.DeepEqual(l, types.Label{
			Pairs: l.Pairs, FieldSpecs: l.FieldSpecs, IncludeSelectors: l.IncludeSelectors,
			IncludeTemplates: l.IncludeTemplates, IncludeVolumeClaimTemplates: l.IncludeVolumeClaimTemplates,
		}) {
			return leave("%s has labels with fields beyond those known", filepath.Join(t.Root(), t.file))
		}
	}
	return nil
}

// ambiguous says that a path has a segment with dots beside other characters, which
// kustomize takes for two lines that YAML joined.
func ambiguous(path string) bool {
	return slices.ContainsFunc(strings.Split(filepath.ToSlash(path), "/"), func(part string) bool {
		return part != ".." && strings.Contains(part, "..")
	})
}
