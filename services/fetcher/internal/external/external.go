// Package external is the kind ExternalArtifact: what others made and serve is brought
// into object storage, where builders read it. Its status is theirs.
package external

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/publish"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

const (
	// keep is how many earlier artifacts stay in storage.
	keep = 2
	// verifyEvery is when an artifact is looked for in storage although nothing happened.
	verifyEvery = time.Hour
	// downloadTime bounds one download.
	downloadTime = time.Minute
)

// log is where events go.
type log interface {
	publish.Log
	Check(ctx context.Context, targets ...bus.Target) error
	Forget(ctx context.Context, stage events.Stage, key events.Key) error
}

// recorder writes Kubernetes Events.
type recorder interface {
	AnnotatedEventf(object runtime.Object, annotations map[string]string, eventType, reason, format string, args ...any)
}

// Config of the kind. All of it is required.
type Config struct {
	// Live asks the API server.
	Live client.Reader
	// Shelf takes the artifacts.
	Shelf shelf.Shelf
	Bus   log
	// AdvertisedHost is host[:port] of the URLs of artifacts on the shelf.
	AdvertisedHost string
	// Quiet knows which servers want no request.
	Quiet *transport.Quiet
	// Asking lets a pass ask hosts as source.Ask says, until it is done.
	Asking   func(ctx context.Context, check bus.Check) (_ context.Context, done func())
	Recorder recorder
	Logger   *slog.Logger
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
func (*Kind) Name() string { return strings.ToLower(sourcev1.ExternalArtifactKind) }

// New implements source.Watched.
func (*Kind) New() source.Object { return &sourcev1.ExternalArtifact{} }

// List implements source.Watched.
func (*Kind) List() client.ObjectList { return &sourcev1.ExternalArtifactList{} }

// Needs implements source.Watched: who makes the object knows what it is made from.
func (*Kind) Needs(source.Object) []events.Key { return nil }

// Minds says that a change of an object asks for a check: its status names another artifact.
func (*Kind) Minds(old, now source.Object) bool {
	return identity(old) != identity(now)
}

func identity(obj source.Object) [3]string {
	artifact := obj.(*sourcev1.ExternalArtifact).Status.Artifact
	if artifact == nil {
		return [3]string{}
	}
	return [3]string{artifact.Digest, artifact.Revision, artifact.URL}
}

// Artifact returns what the status of an object says; reader may be a cache.
func (*Kind) Artifact(ctx context.Context, reader client.Reader, key events.Key) (*meta.Artifact, error) {
	obj, err := read(ctx, reader, key)
	if obj == nil || err != nil {
		return nil, err
	}
	return obj.Status.Artifact, nil
}

func read(ctx context.Context, reader client.Reader, key events.Key) (*sourcev1.ExternalArtifact, error) {
	var obj sourcev1.ExternalArtifact
	err := reader.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: key.Name}, &obj)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return &obj, nil
}

// Handle brings the artifact of an object into storage and publishes it.
func (k *Kind) Handle(ctx context.Context, check bus.Check) (bus.Result, error) {
	obj, err := read(ctx, k.Live, check.Key)
	switch {
	case err != nil:
		return bus.Result{}, err
	case obj == nil || !obj.DeletionTimestamp.IsZero():
		return bus.Result{Next: bus.Never}, k.remove(ctx, check.Key)
	case obj.Status.Artifact == nil:
		return bus.Result{Next: bus.Never}, nil
	}
	asking, done := k.Asking(ctx, check)
	defer done()
	if err := k.bring(asking, check, obj); err != nil {
		var later *source.LaterError
		if errors.As(err, &later) {
			return bus.Result{Again: later.Wait}, nil
		}
		if ctx.Err() != nil {
			return bus.Result{}, context.Cause(ctx)
		}
		told := k.failed(ctx, check.Key, obj, err)
		var busy *transport.BusyError
		if errors.As(err, &busy) && told == nil {
			return bus.Result{Next: max(time.Second, time.Until(busy.Until))}, nil
		}
		return bus.Result{}, errors.Join(err, told)
	}
	k.said.Forget(check.Key)
	was, err := k.published(ctx, check.Key)
	if err != nil {
		return bus.Result{}, err
	}
	if err := publish.Changed(ctx, k.Bus, Changed(check.Key, string(obj.UID), obj.Status.Artifact)); err != nil {
		return bus.Result{}, err
	}
	if was == obj.Status.Artifact.Digest {
		return bus.Result{Next: verifyEvery}, nil // whoever told of it knows what was there before, and tidies
	}
	if err := k.Shelf.Tidy(ctx, check.Key, obj.Status.Artifact.Digest, was, keep); err != nil {
		k.Logger.Warn("cannot delete old artifacts", "kind", check.Key.Kind, "namespace", check.Key.Namespace, "name", check.Key.Name, "error", err)
	}
	return bus.Result{Next: verifyEvery}, nil
}

// published returns the digest of the artifact that was told of last, "" when it is not known.
func (k *Kind) published(ctx context.Context, key events.Key) (string, error) {
	log, err := k.Bus.Open(ctx, events.SourceSubject(key))
	if err != nil {
		return "", fmt.Errorf("read events of %s: %w", key, err)
	}
	last, _ := publish.Last[events.SourceChanged](log)
	return last.Digest, nil
}

// Changed is the event that tells of an artifact in storage.
func Changed(key events.Key, uid string, a *meta.Artifact) events.SourceChanged {
	data := events.SourceChanged{
		Source: key, UID: uid, Revision: a.Revision, OriginRevision: a.Metadata[source.OriginRevision],
		Digest: a.Digest, Artifact: shelf.BlobName(key, a.Digest), Path: a.Path,
	}
	if a.Size != nil {
		data.Size = *a.Size
	}
	return data
}

// bring stores the artifact unless it is there. One that is served from this very storage can
// be had nowhere else, so its generator is asked for it; until that has made it this fails.
func (k *Kind) bring(ctx context.Context, check bus.Check, obj *sourcev1.ExternalArtifact) error {
	a := obj.Status.Artifact
	if !strings.HasPrefix(a.Digest, "sha256:") {
		return fmt.Errorf("status.artifact.digest %q is not of the form sha256:<hex>: whoever writes the object must give one", a.Digest)
	}
	standing, err := k.Shelf.Look(ctx, check.Key, a, check.Note.Reason == bus.ReasonCorrupt)
	if err != nil || standing == shelf.Whole {
		return err
	}
	maker := obj.Spec.SourceRef
	if maker != nil && maker.Kind == generatorv1.ArtifactGeneratorKind && strings.HasPrefix(a.URL, "http://"+k.AdvertisedHost+"/") {
		key := events.NewKey(maker.Kind, obj.Namespace, maker.Name)
		if err := k.Bus.Check(ctx, bus.Target{Stage: events.StageFetch, Key: key, Note: bus.Note{Reason: bus.ReasonCorrupt}}); err != nil {
			return fmt.Errorf("ask %s for the artifact: %w", key, err)
		}
		return fmt.Errorf("the artifact is not in storage: %s '%s/%s' was asked to make it anew", maker.Kind, key.Namespace, key.Name)
	}
	return k.download(ctx, check.Key, a)
}

func (k *Kind) download(ctx context.Context, key events.Key, a *meta.Artifact) error {
	ctx, cancel := context.WithTimeoutCause(ctx, downloadTime, fmt.Errorf("timed out after %s", downloadTime))
	defer cancel()
	request, err := http.NewRequestWithContext(transport.Streamed(ctx), http.MethodGet, a.URL, nil)
	if err != nil {
		return fmt.Errorf("status.artifact.url is no URL: %w", err)
	}
	if err := source.Ask(ctx, transport.HostOf(request.URL), ""); err != nil {
		return err
	}
	var road transport.Road
	if user := request.URL.User; user != nil {
		road.User = user.Username()
		road.Password, _ = user.Password()
	}
	client := &http.Client{Transport: k.Quiet.Over(road, transport.Guard(http.DefaultTransport))}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("download artifact: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("download artifact: %s answered %s", request.URL.Host, response.Status)
	}
	if _, err := k.Shelf.Copy(ctx, key, response.Body, a.Digest); err != nil {
		return fmt.Errorf("download artifact: %w", source.Cause(ctx, err))
	}
	return nil
}

// failed tells why the artifact is not in storage, once for each reason.
func (k *Kind) failed(ctx context.Context, key events.Key, obj *sourcev1.ExternalArtifact, why error) error {
	text := kube.Short(why.Error())
	if !k.said.News(key, text) {
		return nil
	}
	k.Recorder.AnnotatedEventf(obj, nil, corev1.EventTypeWarning, sourcev1.FetchFailedCondition, "%s", text)
	return publish.Failed(ctx, k.Bus, events.SourceFailed{
		Source: key, UID: string(obj.UID), Reason: sourcev1.FetchFailedCondition, Message: text,
	})
}

// remove drops what is known of an object that is gone, and its artifact. That of a generator's output is the generator's
// to remove: it may be making the same one anew just now.
func (k *Kind) remove(ctx context.Context, key events.Key) error {
	k.said.Forget(key)
	generated, err := k.generated(ctx, key)
	if err != nil {
		return err
	}
	if !generated {
		if err := k.Shelf.Remove(ctx, key); err != nil {
			return err
		}
	}
	if err := k.Bus.Forget(ctx, events.StageFetch, key); err != nil {
		return fmt.Errorf("forget %s: %w", key, err)
	}
	return nil
}

// generated says whether an ArtifactGenerator names an object as what it makes.
func (k *Kind) generated(ctx context.Context, key events.Key) (bool, error) {
	var all generatorv1.ArtifactGeneratorList
	err := k.Live.List(ctx, &all, client.InNamespace(key.Namespace))
	if apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return false, nil // a cluster without the kind
	}
	if err != nil {
		return false, fmt.Errorf("look for the ArtifactGenerator of %s: %w", key, err)
	}
	return slices.ContainsFunc(all.Items, func(g generatorv1.ArtifactGenerator) bool {
		return slices.ContainsFunc(g.Status.Inventory, func(made generatorv1.ExternalArtifactReference) bool {
			return made.Name == key.Name && made.Namespace == key.Namespace
		})
	}), nil
}
