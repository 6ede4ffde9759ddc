package kustomize

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
)

// ErrPath says that the path of the spec is not a folder of the artifact.
var ErrPath = errors.New("kustomization path not found")

const kustomizationGroup = "kustomize.config.k8s.io"

// originAnnotation is where kustomize notes an object's origin.
const originAnnotation = "config.kubernetes.io/origin"

// Result is what a build gave.
type Result struct {
	// Objects in the order in which kustomize printed them, with the metadata
	// that the spec adds still missing (see Decorate).
	Objects []render.Object
	// Reads is what the build looked at. It is complete also when it failed.
	Reads []Read
	// OwnSchema says that the build replaced the OpenAPI schema of the process,
	// which must not be used for another build.
	OwnSchema bool
}

// Prime parses kustomize's built-in OpenAPI schema, which the first build of a
// process would otherwise do.
func Prime() { openapi.Schema() }

// Build runs kustomize on the folder that the spec names. An error names a file
// by its path in the artifact; it wraps ErrPath when the folder is not there.
func Build(tree *artifact.Tree, spec *kustomizev1.KustomizationSpec) (Result, error) {
	f := newFiles(tree)
	objects, err := f.build(spec)
	result := Result{Objects: objects, Reads: f.reads.all(), OwnSchema: f.ownSchema}
	if err != nil && f.refused != nil {
		err = f.refused
	}
	if err != nil {
		return result, f.explain(err)
	}
	return result, nil
}

func (f *files) build(spec *kustomizev1.KustomizationSpec) ([]render.Object, error) {
	dir := path.Clean("./" + spec.Path)
	if leaves(dir) {
		return nil, fmt.Errorf("spec.path: path %q leaves the artifact", spec.Path)
	}
	folder, err := f.isFolder(dir)
	if err == nil && !folder {
		err = fmt.Errorf("%s is a file", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: stat %s: %w", ErrPath, dir, reason(err))
	}
	if err := f.prepare(dir, spec); err != nil {
		return nil, err
	}
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsNone
	options.PluginConfig = types.DisabledPluginConfig()
	built, err := krusty.MakeKustomizer(options).Run(f, path.Join(top, dir))
	if err != nil {
		return nil, err
	}
	if f.refused != nil {
		return nil, f.refused
	}
	return collect(built, dir, f.keepOrigin)
}

func collect(built resmap.ResMap, dir string, keepOrigin bool) ([]render.Object, error) {
	objects := make([]render.Object, 0, built.Size())
	for _, r := range built.Resources() {
		o, err := convert(r)
		if err != nil {
			return nil, err
		}
		if isKustomization(o) {
			continue
		}
		objects = append(objects, render.Object{Origin: takeOrigin(o, dir, keepOrigin), Unstructured: o})
	}
	return objects, nil
}

func convert(r *resource.Resource) (*unstructured.Unstructured, error) {
	body, err := r.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", r.CurId(), err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(body); err != nil {
		return nil, fmt.Errorf("decode %s: %w", r.CurId(), err)
	}
	return o, nil
}

func isKustomization(o *unstructured.Unstructured) bool {
	group, _, _ := strings.Cut(o.GetAPIVersion(), "/")
	return group == kustomizationGroup && o.GetKind() == types.KustomizationKind
}

// takeOrigin returns the file that an object comes from, as a path in the
// artifact, and removes the annotation it was noted in.
func takeOrigin(o *unstructured.Unstructured, dir string, keep bool) string {
	annotations := o.GetAnnotations()
	text, ok := annotations[originAnnotation]
	if !ok {
		return ""
	}
	if !keep {
		delete(annotations, originAnnotation)
		if len(annotations) == 0 {
			annotations = nil
		}
		o.SetAnnotations(annotations)
	}
	var origin resource.Origin
	if err := yaml.Unmarshal([]byte(text), &origin); err != nil {
		return ""
	}
	file := origin.Path
	if file == "" {
		file = origin.ConfiguredIn
	}
	if file == "" {
		return ""
	}
	return path.Join(dir, file)
}

// reason is the innermost message of a file error.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
