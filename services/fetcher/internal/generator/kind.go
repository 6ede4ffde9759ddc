// Package generator is the kind ArtifactGenerator: artifacts composed from those of
// other sources, each with an ExternalArtifact that tells where it is.
package generator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/publish"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

const (
	// FieldOwner is the manager of what is written to ExternalArtifacts.
	FieldOwner = client.FieldOwner("source-watcher")

	// keep is how many earlier artifacts of an output stay in storage.
	keep = 2
	// sourceWait is when an object is looked at again whose sources are not there.
	sourceWait = 5 * time.Second
)

// log is where events go.
type log interface {
	publish.Log
	Forget(ctx context.Context, stage events.Stage, key events.Key) error
}

// recorder writes Kubernetes Events.
type recorder interface {
	AnnotatedEventf(object runtime.Object, annotations map[string]string, eventType, reason, format string, args ...any)
}

// Config of the kind. What is not said to be optional is required.
type Config struct {
	// Live asks the API server, Writer writes to it.
	Live   client.Reader
	Writer client.Client
	// Shelf takes the artifacts.
	Shelf shelf.Shelf
	Bus   log
	// Artifact opens a stored artifact of a source; what it reads is verified when the
	// end is reached.
	Artifact func(ctx context.Context, key events.Key, digest string) (io.ReadCloser, error)
	// AdvertisedHost is host[:port] of artifact URLs.
	AdvertisedHost string
	// NoCrossNamespaceRefs refuses sources of other namespaces.
	NoCrossNamespaceRefs bool
	Recorder             recorder
	Logger               *slog.Logger
}

// Kind is what the planner knows of the kind, and the worker of its checks.
type Kind struct {
	Config
	said bus.Said
}

// New returns the kind.
func New(config Config) *Kind { return &Kind{Config: config} }

// Forget drops what this process remembers of an object that is gone.
func (k *Kind) Forget(key events.Key) { k.said.Forget(key) }

// Name implements source.Watched.
func (*Kind) Name() string { return strings.ToLower(generatorv1.ArtifactGeneratorKind) }

// New implements source.Watched.
func (*Kind) New() source.Object { return &generatorv1.ArtifactGenerator{} }

// List implements source.Watched.
func (*Kind) List() client.ObjectList { return &generatorv1.ArtifactGeneratorList{} }

// Needs implements source.Watched.
func (*Kind) Needs(obj source.Object) []events.Key {
	o := obj.(*generatorv1.ArtifactGenerator)
	var keys []events.Key
	for _, ref := range o.Spec.Sources {
		keys = append(keys, keyOf(o, ref))
	}
	return keys
}

// Makes names what was made for an object.
func (*Kind) Makes(obj source.Object) []events.Key {
	var keys []events.Key
	for _, ref := range obj.(*generatorv1.ArtifactGenerator).Status.Inventory {
		keys = append(keys, outputKey(ref.Namespace, ref.Name))
	}
	return keys
}

// Roams says that sources may be in other namespaces.
func (*Kind) Roams() {}

// Minds says that a change of an object asks for a check: it was suspended or resumed.
func (*Kind) Minds(old, now source.Object) bool {
	return old.(*generatorv1.ArtifactGenerator).IsDisabled() != now.(*generatorv1.ArtifactGenerator).IsDisabled()
}

func keyOf(o *generatorv1.ArtifactGenerator, ref generatorv1.SourceReference) events.Key {
	namespace := ref.Namespace
	if namespace == "" {
		namespace = o.Namespace
	}
	return events.NewKey(ref.Kind, namespace, ref.Name)
}

func outputKey(namespace, name string) events.Key {
	return events.NewKey(sourcev1.ExternalArtifactKind, namespace, name)
}

// failure says why a pass did not succeed.
type failure struct {
	reason  string
	err     error
	stalled bool
	// wait is when to look again; with the queue's backoff when zero.
	wait time.Duration
}

// Error implements error.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap implements error.
func (f *failure) Unwrap() error { return f.err }

func invalid(format string, args ...any) *failure {
	return &failure{reason: generatorv1.ValidationFailedReason, err: fmt.Errorf(format, args...), stalled: true}
}

// failureOf returns what a step said of an error.
func failureOf(err error, reason string) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{reason: reason, err: err}
}
