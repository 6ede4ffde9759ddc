package engine

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// item is one object on its way through a call.
type item struct {
	ref     cluster.Ref
	desired *unstructured.Unstructured
	digest  string
	optOut  livestate.OptOut
	// ignored are the fields that are left to others once the object exists, and found
	// is the object as it was when they were looked at last; nil when there was none.
	ignored []ignore.Pointer
	found   *unstructured.Unstructured
	// fresh is true when the request has the kind's definition and that became ready a moment
	// ago, so that the API server may need another to serve it.
	fresh bool
	ready time.Time

	// before is the live object as it was when the call looked; exists tells whether
	// there was one. A write carries before's uid.
	before livestate.Slim
	exists bool
	// takeover and recreate say what the write needs besides an apply.
	takeover, recreate bool
	// refused is why the object was not made anew although that was asked for.
	refused error
	// waits is what has to end before the item can be written; nil when nothing has to.
	waits *health.State
	// absent is true when the item is written only if there is no such object.
	absent bool
	// answer is what a dry run answered, and difference what came of it, when the call compares.
	answer     *unstructured.Unstructured
	difference *Difference
	outcome    Outcome
	done       bool
}

// prepare copies the objects, adds owner labels and brings each into the form that
// is applied.
func prepare(objects []*unstructured.Unstructured, owner cluster.Owner, rules ignore.Rules) ([]*item, error) {
	items := make([]*item, 0, len(objects))
	for _, o := range objects {
		desired := copyOf(o)
		clean(desired)
		own(desired, owner)
		if err := convertStringData(desired); err != nil {
			return nil, err
		}
		dropInvalidBundle(desired)
		ignored := rules.Of(o)
		digest, err := digestOf(desired, ignored)
		if err != nil {
			return nil, err
		}
		ref := cluster.RefOf(desired)
		items = append(items, &item{
			ref: ref, desired: desired, digest: digest,
			ignored: ignored,
			optOut:  livestate.OptOuts(desired.GetAnnotations(), desired.GetLabels()),
			outcome: Outcome{Object: ref},
		})
	}
	return items, nil
}

// copyOf returns a copy of which the fields and those of the metadata may be set, and nothing below them: renders are large.
func copyOf(o *unstructured.Unstructured) *unstructured.Unstructured {
	desired := &unstructured.Unstructured{Object: maps.Clone(o.Object)}
	if metadata, ok := o.Object["metadata"].(map[string]any); ok {
		desired.Object["metadata"] = maps.Clone(metadata)
	}
	return desired
}

// own adds the owner labels.
func own(o *unstructured.Unstructured, owner cluster.Owner) {
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	for k, v := range owner.Labels() {
		labels[k] = v
	}
	o.SetLabels(labels)
}

// clean removes what only the API server may write.
func clean(o *unstructured.Unstructured) {
	for _, field := range bookkeeping {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
}

// convertStringData moves a Secret's stringData to data, because a foreign change
// of data would otherwise go unseen: we would own stringData, which is never stored.
func convertStringData(o *unstructured.Unstructured) error {
	if o.GetAPIVersion() != "v1" || o.GetKind() != "Secret" {
		return nil
	}
	plain, found, err := unstructured.NestedMap(o.Object, "stringData")
	if err != nil {
		return fmt.Errorf("read stringData of %s: it must be a map", cluster.RefOf(o))
	}
	if !found {
		return nil
	}
	data, _, err := unstructured.NestedMap(o.Object, "data")
	if err != nil {
		return fmt.Errorf("read data of %s: it must be a map", cluster.RefOf(o))
	}
	if data == nil {
		data = map[string]any{}
	}
	for k, v := range plain {
		text, ok := v.(string)
		if !ok {
			return fmt.Errorf("read stringData of %s: the value of %q must be a string", cluster.RefOf(o), k)
		}
		data[k] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	unstructured.RemoveNestedField(o.Object, "stringData")
	return unstructured.SetNestedMap(o.Object, data, "data")
}

// dropInvalidBundle removes a conversion webhook's caBundle that is no certificate:
// manifests carry placeholders that a controller fills in later.
func dropInvalidBundle(o *unstructured.Unstructured) {
	if o.GroupVersionKind().GroupKind() != customResourceDefinition {
		return
	}
	path := []string{"spec", "conversion", "webhook", "clientConfig", "caBundle"}
	bundle, found, err := unstructured.NestedString(o.Object, path...)
	if err == nil && found && !validBundle(bundle) {
		o.Object["spec"] = runtime.DeepCopyJSONValue(o.Object["spec"])
		unstructured.RemoveNestedField(o.Object, path...)
	}
}

func validBundle(bundle string) bool {
	raw, err := base64.StdEncoding.DecodeString(bundle)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return false
	}
	_, err = x509.ParseCertificate(block.Bytes)
	return err == nil
}

// digestOf returns a digest of everything that is applied, and of what is left to
// others, so that the end of a rule is a change.
func digestOf(o *unstructured.Unstructured, ignored []ignore.Pointer) (string, error) {
	body, err := o.MarshalJSON()
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", cluster.RefOf(o), err)
	}
	for _, p := range ignored {
		body = append(append(body, '\n'), p.String()...)
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16]), nil
}

// body returns what is sent: the object, with the uid of the one that is there, or with
// what lets it be made only.
func (i *item) body(desired *unstructured.Unstructured) *unstructured.Unstructured {
	key, value := "uid", string(i.before.UID)
	switch {
	case i.absent:
		// No object ever has this version, and one that is made has none before.
		key, value = "resourceVersion", "1"
	case !i.exists || i.before.UID == "":
		return desired
	}
	o := copyOf(desired)
	metadata, ok := o.Object["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		o.Object["metadata"] = metadata
	}
	metadata[key] = value
	return o
}

// settle ends the item's way.
func (i *item) settle(action Action) {
	i.outcome.Action, i.outcome.UID, i.done = action, i.before.UID, true
}
