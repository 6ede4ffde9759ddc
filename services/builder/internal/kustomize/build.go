package kustomize

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/fast"
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
	// Fast says that the objects were built without kustomize's search of all objects
	// for each (package fast).
	Fast bool
}

// Prime parses kustomize's built-in OpenAPI schema, which the first build of a
// process would otherwise do.
func Prime() { openapi.Schema() }

// Build builds the folder that the spec names, as kustomize does. An error names a
// file by its path in the artifact; it wraps ErrPath when the folder is not there.
// d decrypts files that may be encrypted; nil leaves them as they are.
func Build(tree *artifact.Tree, spec *kustomizev1.KustomizationSpec, d decrypter) (Result, error) {
	result, err := run(newFiles(tree, d), spec, buildFast)
	if errors.Is(err, errNotFast) {
		return run(newFiles(tree, d), spec, buildAny)
	}
	result.Fast = err == nil
	return result, err
}

// errNotFast says that a tree is for kustomize itself to build.
var errNotFast = errors.New("not fast")

// engine builds the kustomization in a folder of files.
type engine func(files *files, folder string) ([]*resource.Resource, error)

func buildFast(f *files, folder string) ([]*resource.Resource, error) {
	built, err := fast.Build(f, folder)
	if err != nil || f.refused != nil {
		f.refused = errNotFast
		return nil, errNotFast
	}
	return built, nil
}

func buildAny(f *files, folder string) ([]*resource.Resource, error) {
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsNone
	options.PluginConfig = types.DisabledPluginConfig()
	built, err := krusty.MakeKustomizer(options).Run(f, folder)
	if err != nil {
		return nil, err
	}
	return built.Resources(), nil
}

// run builds with one engine and with files of its own, so that what another engine
// looked at is not part of the result.
func run(f *files, spec *kustomizev1.KustomizationSpec, build engine) (Result, error) {
	objects, err := f.build(spec, build)
	result := Result{Objects: objects, Reads: f.reads.all(), OwnSchema: f.ownSchema}
	if err != nil && f.secrets.failed != nil {
		return result, f.secrets.failed
	}
	if err != nil && f.refused != nil {
		err = f.refused
	}
	if errors.Is(err, errNotFast) {
		return result, err
	}
	if err != nil {
		return result, f.explain(err)
	}
	return result, nil
}

func (f *files) build(spec *kustomizev1.KustomizationSpec, build engine) ([]render.Object, error) {
	dir := path.Clean("./" + spec.Path)
	if leaves(dir) {
		return nil, fmt.Errorf("spec.path: path %q leaves the artifact", spec.Path)
	}
	folder, err := f.isFolder(dir)
	if err == nil && !folder {
		err = isFile(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: stat %s: %w (an artifact has no links, and nothing that .sourceignore names)", ErrPath, dir, reason(err))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: stat %s: %w", ErrPath, dir, reason(err))
	}
	if err := f.prepare(dir, spec); err != nil {
		return nil, err
	}
	built, err := build(f, path.Join(top, dir))
	if err != nil {
		return nil, err
	}
	if f.refused != nil {
		return nil, f.refused
	}
	return collect(built, dir, f.keepOrigin)
}

// isFile says which folder the path of a file may have been meant for.
func isFile(name string) error {
	instead := "leave it empty"
	if parent := path.Dir(name); parent != "." {
		instead = "set it to ./" + parent
	}
	return fmt.Errorf("%s is a file, spec.path must be a folder: %s", name, instead)
}

func collect(built []*resource.Resource, dir string, keepOrigin bool) ([]render.Object, error) {
	objects := make([]render.Object, 0, len(built))
	for _, r := range built {
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

func isKustomization(o *unstructured.Unstructured) bool {
	group, _, _ := strings.Cut(o.GetAPIVersion(), "/")
	return group == kustomizationGroup && o.GetKind() == types.KustomizationKind
}

// plainOrigin is the note that nearly all objects have; it needs no YAML decoder.
var plainOrigin = regexp.MustCompile(`^path: ([A-Za-z0-9._/][A-Za-z0-9._/-]*\.ya?ml)\n$`)

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
	if m := plainOrigin.FindStringSubmatch(text); m != nil {
		return path.Join(dir, m[1])
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
