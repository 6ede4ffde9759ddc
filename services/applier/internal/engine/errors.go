package engine

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/refusal"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// errNoNamespace is what the API server says to an object of a namespaced kind
// that is sent to no namespace.
var errNoNamespace = errors.New("the server could not find the requested resource")

// classify turns the refusal of a uid into ErrConflict.
func classify(i *item, err error) error {
	if i.exists && i.before.UID != "" && refusesUID(err) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

// refusesUID reports whether the object that is there has another uid than was
// sent, or none is there. For a custom resource it is a field that cannot be changed.
func refusesUID(err error) bool {
	switch {
	case apierrors.IsConflict(err):
		return strings.Contains(strings.ToLower(err.Error()), "uid")
	case apierrors.IsInvalid(err):
		return strings.Contains(err.Error(), "metadata.uid")
	}
	return false
}

// dryRunError words a dry run's failure as Flux does, so that alerts and people
// find what they look for.
func dryRunError(i *item, err error) error {
	err = classify(i, err)
	switch {
	case errors.Is(err, errNoNamespace):
		return objectError(i, "%s namespace not specified: %s", err)
	case apierrors.IsNotFound(err):
		return objectError(i, "%s not found: %s", err)
	}
	reason := apierrors.ReasonForError(err)
	if reason == metav1.StatusReasonUnknown {
		return objectError(i, "%s dry-run failed: %s", err)
	}
	return objectError(i, "%s dry-run failed ("+string(reason)+"): %s", err)
}

func applyError(i *item, err error) error {
	return objectError(i, "%s apply failed: %s", classify(i, err))
}

// maxConflict bounds, in bytes, what is told of the API server's message on an object that is another one by now.
const maxConflict = 512

// objectError words an object's failure, with what can be done about it.
func objectError(i *item, format string, err error) error {
	hide := masker(i.desired)
	about := refusal.Object{Kind: i.ref.Kind, Namespace: i.ref.Namespace, Size: sizeOf(i.desired), Forced: i.refused != nil}
	if errors.Is(err, ErrConflict) { // what is there now is looked at again soon
		return &ObjectError{Object: i.ref, Err: err, text: fmt.Sprintf(format, i.ref, refusal.Cut(hide(err.Error()), maxConflict))}
	}
	remedy := refusal.Remedy(err, about)
	if about.Forced && remedy != "" {
		if why := refusal.Cause(i.refused, hide); why != refusal.Cause(err, hide) {
			remedy += ": " + why
		}
	}
	return &ObjectError{Object: i.ref, Err: err, text: fmt.Sprintf(format, i.ref, refusal.Cause(err, hide)), remedy: remedy}
}

// sizeOf returns how many bytes an object has when it is sent.
func sizeOf(o *unstructured.Unstructured) int {
	if o == nil {
		return 0
	}
	body, err := o.MarshalJSON()
	if err != nil {
		return 0
	}
	return len(body)
}

// immutable reports whether an error may mean that a field cannot be changed. What
// another object holds already is something else: no deletion of ours frees it.
func immutable(err error) bool {
	if apierrors.IsAlreadyExists(err) || err != nil && strings.Contains(err.Error(), "already allocated") {
		return false
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		code := status.Status().Code
		if code == http.StatusConflict || code == http.StatusUnprocessableEntity {
			return true
		}
	}
	return err != nil && (strings.Contains(err.Error(), "is immutable") || strings.Contains(err.Error(), "immutable field"))
}

// notServed reports whether an error says that a kind is not served (yet).
func notServed(err error) bool {
	return meta.IsNoMatchError(err) ||
		apierrors.IsNotFound(err) && strings.Contains(err.Error(), "could not find the requested resource")
}

// masked stands for a value of a Secret.
const masked = "*****"

func isSecret(o *unstructured.Unstructured) bool {
	return o.GetKind() == "Secret" && o.GroupVersionKind().Group == ""
}

// maxMasking bounds the bytes of a text times the values that are looked for in it: some seconds of a processor.
const maxMasking = 1 << 32

// mask hides the values of a Secret in a text, as written and as encoded.
func mask(text string, o *unstructured.Unstructured) string { return masker(o)(text) }

// masker returns a function that hides the values of a Secret in texts. A text that is too long to be searched for so many is
// not told.
func masker(o *unstructured.Unstructured) func(string) string {
	if o == nil || !isSecret(o) {
		return func(text string) string { return text }
	}
	values := sync.OnceValue(func() []string { return valuesOf(o) })
	return func(text string) string {
		if len(text)*len(values()) > maxMasking {
			return masked + " (not told: it is too long to look for all values of the Secret in it)"
		}
		for _, v := range values() {
			text = strings.ReplaceAll(text, v, masked)
		}
		return text
	}
}

// valuesOf are the values of a Secret, longest first.
func valuesOf(o *unstructured.Unstructured) []string {
	var values []string
	for field, v := range o.Object {
		switch field {
		case "apiVersion", "kind", "metadata", "type", "immutable":
		default: // values may stand in the wrong place
			values = append(values, leaves(v)...)
		}
	}
	values = slices.DeleteFunc(values, func(v string) bool { return len(strings.TrimSpace(v)) <= 2 })
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(values)
}

// leaves returns the values in a tree, as they are and decoded.
func leaves(tree any) (values []string) {
	switch t := tree.(type) {
	case map[string]any:
		for _, v := range t {
			values = append(values, leaves(v)...)
		}
	case []any:
		for _, v := range t {
			values = append(values, leaves(v)...)
		}
	default:
		value := fmt.Sprint(t)
		values = append(values, value)
		if plain, err := base64.StdEncoding.DecodeString(value); err == nil {
			values = append(values, string(plain))
		}
	}
	return values
}

// Refusal says why the API server did not take an object, with the values of a Secret masked,
// and what can be done about it. The error that it returns wraps err.
func Refusal(o *unstructured.Unstructured, err error) error {
	i := &item{ref: cluster.RefOf(o), desired: o}
	return objectError(i, "%s: %s", classify(i, err))
}
