package ignore

import (
	"fmt"
	"regexp"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// Rules say which fields of which objects are left to others. The zero value leaves none.
type Rules []rule

type rule struct {
	pointers []Pointer
	patterns []pattern
	labels   labels.Selector
	notes    labels.Selector
}

// pattern is what one part of an object's name has to match as a whole.
type pattern struct {
	of   func(o *unstructured.Unstructured) string
	text *regexp.Regexp
}

// Compile reads the rules of a Kustomization. A target's group, version, kind,
// namespace and name are regular expressions for the whole; empty ones match all.
// The error names the field and what to write.
func Compile(ks *kustomizev1.Kustomization) (Rules, error) {
	return CompileField("spec.ignore", ks.Spec.Ignore)
}

// CompileField is Compile for rules that are in a field of another kind.
func CompileField(field string, written []kustomizev1.IgnoreRule) (Rules, error) {
	var rules Rules
	for n, written := range written {
		at := fmt.Sprintf("%s[%d]", field, n)
		r := rule{labels: labels.Everything(), notes: labels.Everything()}
		for m, path := range written.Paths {
			p, err := ParsePointer(path)
			if err != nil {
				return nil, fmt.Errorf("%s.paths[%d]: %w", at, m, err)
			}
			r.pointers = append(r.pointers, p)
		}
		if err := r.aim(written, at+".target"); err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (r *rule) aim(written kustomizev1.IgnoreRule, at string) (err error) {
	t := written.Target
	if t == nil {
		return nil
	}
	for _, part := range []struct {
		field, text string
		of          func(o *unstructured.Unstructured) string
	}{
		{"group", t.Group, func(o *unstructured.Unstructured) string { return o.GroupVersionKind().Group }},
		{"version", t.Version, func(o *unstructured.Unstructured) string { return o.GroupVersionKind().Version }},
		{"kind", t.Kind, (*unstructured.Unstructured).GetKind},
		{"namespace", t.Namespace, (*unstructured.Unstructured).GetNamespace},
		{"name", t.Name, (*unstructured.Unstructured).GetName},
	} {
		if part.text == "" {
			continue
		}
		text, err := regexp.Compile("^(?:" + part.text + ")$")
		if err != nil {
			return fmt.Errorf("%s.%s is no regular expression: %w", at, part.field, err)
		}
		r.patterns = append(r.patterns, pattern{of: part.of, text: text})
	}
	if r.labels, err = labels.Parse(t.LabelSelector); err != nil {
		return fmt.Errorf("%s.labelSelector is no selector: %w", at, err)
	}
	if r.notes, err = labels.Parse(t.AnnotationSelector); err != nil {
		return fmt.Errorf("%s.annotationSelector is no selector: %w", at, err)
	}
	return nil
}

func (r *rule) matches(o *unstructured.Unstructured) bool {
	for _, p := range r.patterns {
		if !p.text.MatchString(p.of(o)) {
			return false
		}
	}
	return r.labels.Matches(labels.Set(o.GetLabels())) && r.notes.Matches(labels.Set(o.GetAnnotations()))
}

// Of returns the fields of an object, as it is rendered, that are left to others.
func (rs Rules) Of(o *unstructured.Unstructured) []Pointer {
	var pointers []Pointer
	for _, r := range rs {
		if r.matches(o) {
			pointers = append(pointers, r.pointers...)
		}
	}
	return pointers
}
