package helm

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/sluice-gitops/sluice/internal/render"
)

// LookupError names what templates look up and the request does not have.
type LookupError struct{ Lookups []render.Lookup }

// Error implements error.
func (e *LookupError) Error() string {
	return fmt.Sprintf("templates look up %d things in the cluster", len(e.Lookups))
}

// errLookups says that templates look up more than can be asked for. Who asks is not confined.
var errLookups = fmt.Errorf("its templates look up more at once than the %d bytes that a question has can name: look up lists, or fewer objects", render.MaxMessage)

// lookups answer the template function lookup from what was found, and note what was not. A
// lookup without an answer finds nothing for now, so that one try notes many.
type lookups struct {
	found   map[render.Lookup]render.Found
	missing []render.Lookup
	noted   map[render.Lookup]bool
	// size is how many bytes the names of those have that are missing.
	size int
}

func newLookups(found []render.Found) *lookups {
	l := &lookups{found: map[render.Lookup]render.Found{}, noted: map[render.Lookup]bool{}}
	for _, f := range found {
		l.found[f.Lookup] = f
	}
	return l
}

// GetClientFor implements engine.ClientProvider.
func (l *lookups) GetClientFor(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	return &resource{lookups: l, at: render.Lookup{APIVersion: apiVersion, Kind: kind}}, true, nil
}

// resource is one kind, in one namespace or all. Templates get and list, and nothing else.
type resource struct {
	dynamic.NamespaceableResourceInterface
	lookups *lookups
	at      render.Lookup
}

// Namespace implements dynamic.NamespaceableResourceInterface.
func (r *resource) Namespace(namespace string) dynamic.ResourceInterface {
	at := r.at
	at.Namespace = namespace
	return &resource{lookups: r.lookups, at: at}
}

// Get implements dynamic.ResourceInterface.
func (r *resource) Get(_ context.Context, name string, _ metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	at := r.at
	at.Name = name
	body, err := r.lookups.find(at)
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: at.Kind}, name)
	}
	o := &unstructured.Unstructured{}
	return o, o.UnmarshalJSON(body)
}

// List implements dynamic.ResourceInterface.
func (r *resource) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	body, err := r.lookups.find(r.at)
	if err != nil || body == nil {
		return &unstructured.UnstructuredList{}, err
	}
	list := &unstructured.UnstructuredList{}
	return list, list.UnmarshalJSON(body)
}

func (l *lookups) find(at render.Lookup) ([]byte, error) {
	found, ok := l.found[at]
	if !ok {
		return nil, l.note(at)
	}
	if found.Error != "" {
		return nil, errors.New(found.Error)
	}
	return found.Object, nil
}

// note notes what is to be asked for.
func (l *lookups) note(at render.Lookup) error {
	if !l.noted[at] {
		l.noted[at] = true
		l.missing = append(l.missing, at)
		l.size += len(at.APIVersion) + len(at.Kind) + len(at.Namespace) + len(at.Name)
	}
	if l.tooMany() {
		return errLookups
	}
	return nil
}

func (l *lookups) tooMany() bool { return l.size > render.MaxMessage }
