package fast

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"

	"sigs.k8s.io/kustomize/api/filters/annotations"
	"sigs.k8s.io/kustomize/api/ifc"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// originAnnotation is where kustomize notes an object's origin.
const originAnnotation = "config.kubernetes.io/origin"

// target is a folder with a kustomization.
type target struct {
	*builder
	types.Kustomization
	// file is the name of the kustomization.
	file   string
	root   filesys.ConfirmedDir
	parent *target
	// origin is the path from the folder that is built.
	origin *resource.Origin
}

var _ ifc.Loader = (*target)(nil)

// Load implements ifc.Loader for files below any folder.
func (t *target) Load(path string) ([]byte, error) {
	if u, err := url.Parse(path); err == nil && (u.Scheme == "http" || u.Scheme == "https") || filepath.IsAbs(path) {
		return nil, leave("%q is no file of the tree", path)
	}
	return t.files.ReadFile(t.root.Join(path))
}

// Root implements ifc.Loader.
func (t *target) Root() string { return t.root.String() }

// Repo implements ifc.Loader.
func (*target) Repo() string { return "" }

// New implements ifc.Loader; generators and transformers never ask for it.
func (*target) New(path string) (ifc.Loader, error) { return nil, leave("loader for %q", path) }

// Cleanup implements ifc.Loader.
func (*target) Cleanup() error { return nil }

// sub opens the kustomization in a folder that this one names.
func (t *target) sub(path string) (*target, error) {
	origin, err := t.at(path)
	if err != nil {
		return nil, err
	}
	if path == "" || filepath.IsAbs(path) || ambiguous(path) {
		return nil, fmt.Errorf("%q is no folder", path)
	}
	folder, err := filesys.ConfirmDir(t.files, t.root.Join(path))
	if err != nil {
		return nil, err
	}
	for seen := t; seen != nil; seen = seen.parent {
		if seen.root.HasPrefix(folder) {
			return nil, fmt.Errorf("%s is part of a loop", folder)
		}
	}
	sub, err := t.open(folder.String(), t)
	if err != nil {
		return nil, err
	}
	sub.origin = origin
	return sub, nil
}

// at returns the origin of a path that the kustomization names.
func (t *target) at(path string) (*resource.Origin, error) {
	origin := t.origin.Append(path)
	if origin.Repo != "" {
		return nil, leave("%q is remote", path)
	}
	return origin, nil
}

// accumulate adds the objects of a kustomization to found and changes all that is
// in there, as kustomize does: found is empty, or what a component's parent has.
func (t *target) accumulate(found *objectList) error {
	for _, path := range t.Resources {
		if err := t.resource(found, path); err != nil {
			return err
		}
	}
	if err := t.generate(found); err != nil {
		return err
	}
	for _, path := range t.Components {
		component, err := t.sub(path)
		if err != nil {
			return err
		}
		if component.Kind != types.ComponentKind {
			return fmt.Errorf("%s is no component", component.root)
		}
		if err := component.accumulate(found); err != nil {
			return err
		}
	}
	return t.transform(found)
}

// resource adds what one entry of resources names: a file or a folder.
func (t *target) resource(found *objectList, path string) error {
	body, err := t.Load(path)
	if errors.Is(err, ErrLeave) {
		return err
	}
	if err == nil {
		return t.manifest(found, path, body)
	}
	base, err := t.sub(path)
	if err != nil {
		return err
	}
	if base.Kind == types.ComponentKind {
		return fmt.Errorf("%s is a component", base.root)
	}
	below := &objectList{}
	if err := base.accumulate(below); err != nil {
		return err
	}
	if len(found.items) == 0 {
		*found = *below
		return nil
	}
	return found.addAll(below.items)
}

// manifest adds the objects in a file.
func (t *target) manifest(found *objectList, path string, body []byte) error {
	if mentions(body, transformationsAnnotation) {
		return leave("%s has annotations of kustomize's own", path)
	}
	read, err := t.factory.RF().SliceFromBytes(body)
	if err != nil {
		return err
	}
	origin, err := t.at(path)
	if err != nil {
		return err
	}
	note, err := noteOf(origin)
	if err != nil {
		return err
	}
	annotate := annotations.Filter{
		Annotations: map[string]string{originAnnotation: note},
		FsSlice:     types.FsSlice{{Path: "metadata/annotations", CreateIfNotPresent: true}},
	}
	for _, r := range read {
		if _, err := annotate.Filter([]*yaml.RNode{&r.RNode}); err != nil {
			return err
		}
	}
	return found.addAll(read)
}

// plainPath are paths that YAML writes as they are.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9._/][A-Za-z0-9._/-]*\.ya?ml$`)

// noteOf is what kustomize writes into an object's annotation, without its encoder
// for the paths that nearly all objects have.
func noteOf(origin *resource.Origin) (string, error) {
	if *origin == (resource.Origin{Path: origin.Path}) && plainPath.MatchString(origin.Path) {
		return "path: " + origin.Path + "\n", nil
	}
	return origin.String()
}

// configure gives a plugin of kustomize's its configuration the way kustomize does.
func (t *target) configure(plugin resmap.Configurable, config any) error {
	body, err := encode(config)
	if err != nil {
		return err
	}
	return plugin.Config(resmap.NewPluginHelpers(t, t.deps.GetFieldValidator(), t.factory, types.DisabledPluginConfig()), body)
}

// configuredBy is the origin of what a plugin of kustomize's makes here.
func (t *target) configuredBy(plugin string) *resource.Origin {
	return &resource.Origin{
		ConfiguredIn: filepath.Join(t.origin.Path, t.file),
		ConfiguredBy: yaml.ResourceIdentifier{TypeMeta: yaml.TypeMeta{APIVersion: "builtin", Kind: plugin}},
	}
}
