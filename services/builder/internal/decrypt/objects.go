package decrypt

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/render"
)

// optOut with the value disabled, as annotation, keeps an object encrypted.
const (
	optOut         = "kustomize.toolkit.fluxcd.io/decrypt"
	optOutDisabled = "disabled"
)

// Objects decrypts built objects in place: those that were encrypted as a whole
// or in part, and values of Secrets that are encrypted documents. What kustomize
// changed of an object is not covered by its MAC, so that is not verified; every
// value is bound to its path.
func (d *Decryptor) Objects(objects []render.Object) error {
	for _, o := range objects {
		if err := d.object(o.Unstructured); err != nil {
			text := fmt.Sprintf("decrypt %s", nameOf(o.Unstructured))
			if o.Origin != "" {
				text += " from " + o.Origin
			}
			return &Error{fmt.Errorf("%s: %w", text, err)}
		}
	}
	return nil
}

func (d *Decryptor) object(o *unstructured.Unstructured) error {
	switch {
	case strings.EqualFold(o.GetAnnotations()[optOut], optOutDisabled):
		return nil
	case encrypted(o):
		return d.whole(o)
	case o.GetKind() == "Secret" && o.GetAPIVersion() == "v1":
		return d.values(o)
	}
	return nil
}

func encrypted(o *unstructured.Unstructured) bool {
	metadata, _ := o.Object["sops"].(map[string]any)
	mac, _ := metadata["mac"].(string)
	return mac != ""
}

// whole decrypts an object with metadata of SOPS.
func (d *Decryptor) whole(o *unstructured.Unstructured) error {
	body, err := json.Marshal(o.Object)
	if err != nil {
		return errors.New("it cannot be read: encrypt it again with sops")
	}
	plain, err := d.document(formatJSON, formatJSON, body, false)
	if err != nil {
		return err
	}
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(plain); err != nil { // its words may quote a value
		return errors.New("what is decrypted is no object: correct it and encrypt it again with sops")
	}
	o.Object = out.Object
	return nil
}

// values decrypts the values of a Secret that are encrypted documents.
func (d *Decryptor) values(o *unstructured.Unstructured) error {
	data, _ := o.Object["data"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		text, _ := data[name].(string)
		body, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			continue // the API server refuses it, with a better message
		}
		plain, err := d.File(name, body)
		if err != nil {
			return fmt.Errorf("data.%s: %w", name, err)
		}
		data[name] = base64.StdEncoding.EncodeToString(plain)
	}
	return nil
}

func nameOf(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + "/" + o.GetName()
	}
	return o.GetKind() + "/" + o.GetNamespace() + "/" + o.GetName()
}
