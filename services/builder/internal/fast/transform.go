package fast

import (
	"fmt"

	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/filters/namespace"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
)

// step is one transformer of a kustomization.
type step struct {
	// plugin is the name that kustomize gives it.
	plugin string
	apply  func(*objectList) error
}

// transform runs the transformers of the kustomization, in kustomize's order.
func (t *target) transform(found *objectList) error {
	var steps []step
	for _, more := range []func() ([]step, error){
		t.mergePatches, t.patches, t.renames, t.labels, t.annotations, t.jsonPatches, t.replicas, t.images,
	} {
		s, err := more()
		if err != nil {
			return err
		}
		steps = append(steps, s...)
	}
	for _, s := range steps {
		if err := s.apply(found); err != nil {
			return err
		}
		found.dropEmpty()
		if err := keepOrigin(found, t.configuredBy(s.plugin)); err != nil {
			return err
		}
	}
	return nil
}

// keepOrigin gives an object whose patch removed its origin a new one: kustomize
// takes it for made by the transformer.
func keepOrigin(found *objectList, origin *resource.Origin) error {
	for _, r := range found.items {
		if len(r.GetAnnotations(originAnnotation)) > 0 {
			continue
		}
		if err := r.SetOrigin(origin); err != nil {
			return err
		}
	}
	return nil
}

// each applies a transformer of kustomize's to every object by itself.
func each(transformer resmap.Transformer) func(*objectList) error {
	return func(found *objectList) error {
		for _, r := range found.items {
			if err := alone(r, transformer.Transform); err != nil {
				return err
			}
		}
		return nil
	}
}

// eachRenamed is each for a transformer that changes ids.
func eachRenamed(transformer resmap.Transformer) func(*objectList) error {
	return func(found *objectList) error {
		if err := each(transformer)(found); err != nil {
			return err
		}
		return found.renamed()
	}
}

// renames are the transformers that change namespaces and names.
func (t *target) renames() ([]step, error) {
	var steps []step
	if t.Namespace != "" {
		plugin := &builtins.NamespaceTransformerPlugin{
			ObjectMeta: types.ObjectMeta{Namespace: t.Namespace}, FieldSpecs: namespaceFields, SetRoleBindingSubjects: namespace.DefaultSubjectsOnly,
		}
		steps = append(steps, step{"NamespaceTransformer", eachRenamed(plugin)})
	}
	if t.NamePrefix != "" {
		plugin := &builtins.PrefixTransformerPlugin{Prefix: t.NamePrefix, FieldSpecs: namePrefixFields}
		steps = append(steps, step{"PrefixTransformer", eachRenamed(plugin)})
	}
	if t.NameSuffix != "" {
		plugin := &builtins.SuffixTransformerPlugin{Suffix: t.NameSuffix, FieldSpecs: nameSuffixFields}
		steps = append(steps, step{"SuffixTransformer", eachRenamed(plugin)})
	}
	return steps, nil
}

func (t *target) labels() ([]step, error) {
	if len(t.Labels) == 0 && len(t.CommonLabels) == 0 {
		return nil, nil
	}
	var steps []step
	for _, label := range t.Labels {
		fields, err := labelFields(label)
		if err != nil {
			return nil, err
		}
		plugin := &builtins.LabelTransformerPlugin{Labels: label.Pairs, FieldSpecs: fields}
		steps = append(steps, step{"LabelTransformer", eachRenamed(plugin)}) // its own fields may be part of an id
	}
	plugin := &builtins.LabelTransformerPlugin{Labels: t.CommonLabels, FieldSpecs: commonLabelFields}
	return append(steps, step{"LabelTransformer", each(plugin)}), nil
}

// labelFields are the fields that an entry of labels is written to.
func labelFields(label types.Label) (types.FsSlice, error) {
	fields := types.FsSlice(label.FieldSpecs)
	var err error
	merge := func(more types.FsSlice) {
		if err == nil {
			fields, err = fields.MergeAll(more)
		}
	}
	if label.IncludeSelectors {
		merge(commonLabelFields)
		return fields, err
	}
	if label.IncludeTemplates {
		merge(templateLabelFields)
	}
	if label.IncludeVolumeClaimTemplates {
		merge(volumeClaimTemplateLabelFields)
	}
	merge(types.FsSlice{{Path: "metadata/labels", CreateIfNotPresent: true}})
	return fields, err
}

func (t *target) annotations() ([]step, error) {
	if len(t.CommonAnnotations) == 0 {
		return nil, nil
	}
	plugin := &builtins.AnnotationsTransformerPlugin{Annotations: t.CommonAnnotations, FieldSpecs: commonAnnotationFields}
	return []step{{"AnnotationsTransformer", each(plugin)}}, nil
}

func (t *target) images() ([]step, error) {
	var steps []step
	for _, image := range t.Images {
		plugin := &builtins.ImageTagTransformerPlugin{ImageTag: image, FieldSpecs: imageFields}
		steps = append(steps, step{"ImageTagTransformer", each(plugin)})
	}
	return steps, nil
}

func (t *target) replicas() ([]step, error) {
	var steps []step
	for _, replica := range t.Replicas {
		plugin := &builtins.ReplicaCountTransformerPlugin{Replica: replica, FieldSpecs: replicaFields}
		steps = append(steps, step{"ReplicaCountTransformer", func(found *objectList) error {
			matched := false
			for _, r := range found.items {
				if !scales(r, replica.Name) {
					continue
				}
				if err := alone(r, plugin.Transform); err != nil {
					return err
				}
				matched = true
			}
			if !matched {
				return fmt.Errorf("no object %s has replicas", replica.Name)
			}
			return nil
		}})
	}
	return steps, nil
}

// scales says that an object has or had a name and is of a kind with replicas.
func scales(r *resource.Resource, name string) bool {
	for _, id := range append(r.PrevIds(), r.CurId()) {
		for _, field := range replicaFields {
			if id.Name == name && id.IsSelected(&field.Gvk) {
				return true
			}
		}
	}
	return false
}
