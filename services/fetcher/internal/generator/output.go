package generator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/compose"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/external"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/publish"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// managedBy marks objects that were generated, as it does where Flux generates them.
const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "source-watcher"
)

// errForeign says that an object was not made for this generator.
var errForeign = errors.New("exists and was not made by this ArtifactGenerator: delete it, or give the artifact another name")

// make builds one output, stores it and says so in its ExternalArtifact.
func (p *pass) make(ctx context.Context, out output, from *sources) (generatorv1.ExternalArtifactReference, error) {
	none := generatorv1.ExternalArtifactReference{}
	key := outputKey(p.obj.Namespace, out.Name)
	now, err := p.external(ctx, out.Name)
	if err != nil {
		return none, err
	}
	if now != nil && !p.owns(now) {
		return none, fmt.Errorf("ExternalArtifact '%s/%s' %w", p.obj.Namespace, out.Name, errForeign)
	}
	stored, err := p.build(ctx, key, out, from)
	if err != nil {
		return none, failureOf(fmt.Errorf("artifact '%s': %w", out.Name, err), meta.BuildFailedReason)
	}
	file := strings.TrimPrefix(stored.Digest, "sha256:") + ".tar.gz"
	artifact := &meta.Artifact{
		Path: shelf.Path(key, file), URL: "http://" + p.AdvertisedHost + "/" + shelf.Path(key, file),
		Revision: "latest@" + stored.Digest, Digest: stored.Digest, Size: &stored.Size, LastUpdateTime: metav1.NewTime(time.Now()),
	}
	if alias, _ := split(out.Revision); alias != "" {
		artifact.Revision = from.by[alias].artifact.Revision
	}
	if alias, _ := split(out.OriginRevision); alias != "" {
		made := from.by[alias].artifact
		origin := made.Metadata[source.OriginRevision]
		if origin == "" {
			origin = made.Revision
		}
		artifact.Metadata = map[string]string{source.OriginRevision: origin}
	}
	if err := p.tell(ctx, key, out, artifact); err != nil {
		return none, err
	}
	was := ""
	if now != nil && now.Status.Artifact != nil {
		was = now.Status.Artifact.Digest
	}
	if err := p.Shelf.Tidy(ctx, key, stored.Digest, was, keep); err != nil {
		p.Logger.Warn("cannot delete old artifacts", "kind", key.Kind, "namespace", key.Namespace, "name", key.Name, "error", err)
	}
	return generatorv1.ExternalArtifactReference{Name: out.Name, Namespace: p.obj.Namespace, Digest: stored.Digest, Filename: file}, nil
}

// build composes the files of an output and stores them.
func (p *pass) build(ctx context.Context, key events.Key, out output, from *sources) (_ pack.Result, err error) {
	tree := compose.New(p.Shelf.Scratch, p.Shelf.Limits)
	defer func() { err = errors.Join(err, tree.Close()) }()
	for _, c := range out.Copy {
		alias, path := split(c.From)
		_, to := split(c.To)
		err := tree.Add(ctx, from.by[alias].tree.Files, compose.Copy{From: path, To: to, Exclude: c.Exclude, Strategy: c.Strategy})
		if err != nil {
			return pack.Result{}, fmt.Errorf("copy from '%s': %w", c.From, err)
		}
	}
	return p.Shelf.Archive(ctx, key, tree.Files, nil)
}

// tell writes the ExternalArtifact and the event of an artifact in storage.
func (p *pass) tell(ctx context.Context, key events.Key, out output, artifact *meta.Artifact) error {
	labels := map[string]string{}
	annotations := map[string]string{}
	maps.Copy(labels, out.labels)
	if common := p.obj.Spec.CommonMetadata; common != nil {
		maps.Copy(labels, common.Labels)
		maps.Copy(annotations, common.Annotations)
	}
	labels[managedByLabel], labels[generatorv1.ArtifactGeneratorLabel] = managedBy, string(p.obj.UID)
	obj, err := p.apply(ctx, out.Name, labels, annotations)
	if err != nil {
		return fmt.Errorf("apply ExternalArtifact '%s/%s': %w", p.obj.Namespace, out.Name, err)
	}
	before := obj.DeepCopy()
	if was := obj.Status.Artifact; was != nil && was.Digest == artifact.Digest && was.Revision == artifact.Revision {
		artifact.LastUpdateTime = was.LastUpdateTime
	}
	obj.Status.Artifact = artifact
	kube.Conditions{List: &obj.Status.Conditions, Generation: obj.Generation}.Succeed(meta.SucceededReason, "Artifact is ready")
	if !equality.Semantic.DeepEqual(before.Status, obj.Status) {
		if err := p.Writer.Status().Patch(ctx, obj, client.MergeFrom(before), FieldOwner); err != nil {
			return fmt.Errorf("write status of ExternalArtifact '%s/%s': %w", p.obj.Namespace, out.Name, err)
		}
	}
	return publish.Changed(ctx, p.Bus, external.Changed(key, string(obj.UID), artifact))
}

// apply writes the object, without its status, and returns it as it is now.
func (p *pass) apply(ctx context.Context, name string, labels, annotations map[string]string) (*sourcev1.ExternalArtifact, error) {
	wanted := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"sourceRef": map[string]any{
		"apiVersion": generatorv1.GroupVersion.String(), "kind": generatorv1.ArtifactGeneratorKind,
		"name": p.obj.Name, "namespace": p.obj.Namespace,
	}}}}
	wanted.SetGroupVersionKind(sourcev1.GroupVersion.WithKind(sourcev1.ExternalArtifactKind))
	wanted.SetNamespace(p.obj.Namespace)
	wanted.SetName(name)
	wanted.SetLabels(labels)
	wanted.SetAnnotations(annotations)
	if err := p.Writer.Apply(ctx, client.ApplyConfigurationFromUnstructured(wanted), FieldOwner, client.ForceOwnership); err != nil {
		return nil, err
	}
	var now sourcev1.ExternalArtifact
	return &now, runtime.DefaultUnstructuredConverter.FromUnstructured(wanted.Object, &now)
}

// prune deletes what was made earlier and is not wanted any more.
func (p *pass) prune(ctx context.Context, wanted []generatorv1.ExternalArtifactReference) error {
	for _, ref := range p.old.Status.Inventory {
		if slices.ContainsFunc(wanted, named(ref.Name)) {
			continue
		}
		now, err := p.external(ctx, ref.Name)
		if err == nil && now != nil && p.owns(now) {
			err = client.IgnoreNotFound(p.Writer.Delete(ctx, now, client.Preconditions{UID: &now.UID}))
		}
		if err == nil && (now == nil || p.owns(now)) {
			err = p.Shelf.Remove(ctx, outputKey(ref.Namespace, ref.Name))
		}
		if err != nil {
			return fmt.Errorf("delete ExternalArtifact '%s/%s': %w", ref.Namespace, ref.Name, err)
		}
	}
	return nil
}

// stands says that what was made is still there: the object, and the artifact in storage.
func (p *pass) stands(ctx context.Context, ref generatorv1.ExternalArtifactReference) (bool, error) {
	now, err := p.external(ctx, ref.Name)
	if err != nil || now == nil || now.Status.Artifact == nil || now.Status.Artifact.Digest != ref.Digest ||
		!strings.HasPrefix(now.Status.Artifact.URL, "http://"+p.AdvertisedHost+"/") {
		return false, err
	}
	standing, err := p.Shelf.Look(ctx, outputKey(ref.Namespace, ref.Name), now.Status.Artifact, false)
	return standing == shelf.Whole, err
}

// external reads an ExternalArtifact, nil when there is none.
func (p *pass) external(ctx context.Context, name string) (*sourcev1.ExternalArtifact, error) {
	var obj sourcev1.ExternalArtifact
	err := p.Live.Get(ctx, types.NamespacedName{Namespace: p.obj.Namespace, Name: name}, &obj)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ExternalArtifact '%s/%s': %w", p.obj.Namespace, name, err)
	}
	return &obj, nil
}

func (p *pass) owns(obj *sourcev1.ExternalArtifact) bool {
	return obj.Labels[generatorv1.ArtifactGeneratorLabel] == string(p.obj.UID)
}
