// Package substitute replaces ${variables} in built objects, as Flux's
// spec.postBuild defines it: on the YAML text of each object, strict by default,
// with no quoting of its own.
package substitute

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/envsubst"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/render"
)

// optOut with the value disabled, as label or annotation, keeps an object as it is.
const (
	optOut         = "kustomize.toolkit.fluxcd.io/substitute"
	optOutDisabled = "disabled"
)

const namePattern = `^[_[:alpha:]][_[:alpha:][:digit:]]*$`

var validName = regexp.MustCompile(namePattern)

// Apply replaces variables in objects, in place. A nil postBuild changes
// nothing; nor do no variables, unless the strategy is Always.
func Apply(objects []render.Object, postBuild *kustomizev1.PostBuild, variables map[string]string) error {
	if postBuild == nil || (len(variables) == 0 && postBuild.SubstituteStrategy != kustomizev1.SubstituteStrategyAlways) {
		return nil
	}
	for name := range variables {
		if !validName.MatchString(name) {
			return fmt.Errorf("'%s' var name is invalid, must match '%s'", name, namePattern)
		}
	}
	for i := range objects {
		if skip(objects[i].Unstructured) {
			continue
		}
		if err := apply(objects[i], variables); err != nil {
			o := objects[i]
			text := fmt.Sprintf("post build failed for '%s/%s'", gvk(o.Unstructured), o.GetName())
			if o.Origin != "" {
				text += " from " + o.Origin
			}
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// Merge joins variables of several sources, later ones winning, and removes the
// line breaks of values.
func Merge(sources ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, source := range sources {
		for name, value := range source {
			out[name] = strings.ReplaceAll(value, "\n", "")
		}
	}
	return out
}

// skip says that an object is left alone: it opts out, or it is a
// CustomResourceDefinition, whose descriptions may hold anything.
func skip(o *unstructured.Unstructured) bool {
	return o.GetLabels()[optOut] == optOutDisabled || o.GetAnnotations()[optOut] == optOutDisabled ||
		o.GetKind() == "CustomResourceDefinition"
}

func apply(o render.Object, variables map[string]string) error {
	text, err := yaml.Marshal(o.Object)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if !bytes.Contains(text, []byte("${")) {
		return nil
	}
	out, err := envsubst.Eval(string(text), func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	})
	if err != nil {
		return fmt.Errorf("envsubst error: variable substitution failed: %w", err)
	}
	object, err := decode(out)
	if err != nil {
		return err
	}
	o.Object = object
	return nil
}

var lineNumber = regexp.MustCompile(`\bline \d+`)

// decode reads an object after substitution. Its text may hold values of Secrets,
// and decoders quote what they stumble over, so none of their words are passed on.
func decode(text string) (map[string]any, error) {
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		at := lineNumber.FindString(err.Error())
		if at != "" {
			at = " (" + at + " of the object)"
		}
		return nil, fmt.Errorf("after substitution the object is no valid YAML%s: quote the variables, or correct their values", at)
	}
	var head map[string]json.RawMessage
	if err := json.Unmarshal(body, &head); err != nil {
		return nil, errors.New("after substitution the text is no object: correct the variables in it")
	}
	for _, field := range []string{"apiVersion", "kind"} {
		var value string
		if err := json.Unmarshal(head[field], &value); err != nil || value == "" {
			return nil, fmt.Errorf("after substitution the object's %s is empty or no text: correct the variables in it", field)
		}
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(body); err != nil {
		return nil, errors.New("after substitution the object cannot be read: correct the variables in it")
	}
	return u.Object, nil
}

// gvk is an object's type as kustomize prints it.
func gvk(o *unstructured.Unstructured) string {
	k := o.GroupVersionKind()
	group := k.Group
	if group == "" {
		group = "[noGrp]"
	}
	return k.Kind + "." + k.Version + "." + group
}
