package fast

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/filters/fieldspec"
	"sigs.k8s.io/kustomize/api/filters/nameref"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// nameField is a field, in objects of one type, that holds the name of an object of
// another.
type nameField struct {
	of, in resid.Gvk
	path   string
}

// updateReferences writes new names and namespaces of objects where other objects
// refer to them. What a field refers to is for kustomize's own filter to say; it
// gets only those objects to choose from that it could choose.
func updateReferences(objects []*resource.Resource) error {
	index := newNameIndex(objects)
	fields := map[resid.Gvk][]nameField{}
	for i, r := range objects {
		gvk := index.org[i].Gvk
		mine, ok := fields[gvk]
		if !ok {
			for _, field := range nameFields {
				if gvk.IsSelected(&field.in) {
					mine = append(mine, field)
				}
			}
			fields[gvk] = mine
		}
		if len(mine) == 0 {
			continue
		}
		referrer, err := index.referrer(i, r)
		if err != nil {
			return err
		}
		for _, field := range mine {
			if err := referrer.update(field); err != nil {
				return err
			}
		}
	}
	return nil
}

// referrer is an object that may refer to others.
type referrer struct {
	*resource.Resource
	index *nameIndex
	id    resid.ResId
	// near are the namespaces that it can refer to, as objects write them; nil means all.
	near map[string]bool
}

func (x *nameIndex) referrer(i int, r *resource.Resource) (*referrer, error) {
	// kustomize's filter compares these before it does anything.
	meta, err := r.GetMeta()
	if err != nil {
		return nil, err
	}
	id := x.cur[i]
	if meta.APIVersion != id.ApiVersion() || meta.Kind != id.Kind || meta.Name != id.Name || meta.Namespace != id.Namespace {
		return nil, leave("the metadata of %s can be read in two ways", id)
	}
	out := &referrer{Resource: r, index: x, id: id}
	if id.IsClusterScoped() {
		return out, nil
	}
	out.near = map[string]bool{id.Namespace: true, resid.TotallyNotANamespace: true}
	if id.IsInDefaultNs() {
		out.near[""], out.near[resid.DefaultNamespace] = true, true
	}
	if id.Kind != "RoleBinding" {
		return out, nil
	}
	if _, err := resmap.New().SubsetThatCouldBeReferencedByResource(r); err != nil { // for its error
		return nil, err
	}
	if subjects, err := r.GetSlice("subjects"); err == nil { // else there are none, as for kustomize
		out.nearSubjects(subjects)
	}
	return out, nil
}

// nearSubjects adds the namespaces of service accounts.
func (r *referrer) nearSubjects(subjects []any) {
	for _, subject := range subjects {
		s, _ := subject.(map[string]any)
		if namespace, ok := s["namespace"].(string); ok && s["kind"] == "ServiceAccount" {
			r.near[namespace] = true
		}
	}
}

// update runs kustomize's filter on a field, unless it would change nothing.
func (r *referrer) update(field nameField) error {
	if !mayHave(r.YNode(), field.path) {
		return nil
	}
	candidates := map[int]bool{}
	visit := fieldspec.Filter{
		FieldSpec: types.FieldSpec{Gvk: r.id.Gvk, Path: field.path},
		SetValue:  func(node *yaml.RNode) error { return r.visit(node, field.of.Kind, candidates) },
	}
	if _, err := visit.Filter(&r.RNode); err != nil {
		return err
	}
	if len(candidates) == 0 {
		return nil
	}
	choice := resmap.New()
	for _, i := range slices.Sorted(maps.Keys(candidates)) {
		standIn, err := r.index.standIn(i)
		if err != nil {
			return err
		}
		if err := choice.Append(standIn); err != nil {
			return err
		}
	}
	near, err := choice.SubsetThatCouldBeReferencedByResource(r.Resource)
	if err != nil {
		return err
	}
	return r.ApplyFilter(nameref.Filter{
		Referrer:           r.Resource,
		NameFieldToUpdate:  types.FieldSpec{Gvk: field.in, Path: field.path},
		ReferralTarget:     field.of,
		ReferralCandidates: near,
	})
}

// mayHave says that there may be something at a path of fields; where it says no,
// kustomize's filter, which costs far more, finds nothing and changes nothing.
func mayHave(n *yaml.Node, path string) bool {
	if path == "" || strings.Contains(path, `\`) { // a name with a slash
		return true
	}
	switch n.Kind {
	case yaml.SequenceNode:
		return slices.ContainsFunc(n.Content, func(element *yaml.Node) bool { return mayHave(element, path) })
	case yaml.MappingNode:
	default:
		return true
	}
	name, rest, _ := strings.Cut(path, "/")
	name = strings.TrimSuffix(name, "[]")
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name && mayHave(n.Content[i+1], rest) {
			return true
		}
	}
	return false
}

// visit adds to candidates what the value of a field could refer to.
func (r *referrer) visit(node *yaml.RNode, kind string, candidates map[int]bool) error {
	if yaml.IsMissingOrNull(node) {
		return nil
	}
	switch node.YNode().Kind {
	case yaml.ScalarNode:
		r.scalar(node.YNode().Value, kind, candidates)
		return nil
	case yaml.MappingNode:
		return r.mapping(node, kind, candidates)
	case yaml.SequenceNode:
		for _, element := range node.Content() {
			inner := yaml.NewRNode(element)
			if element.Kind == yaml.SequenceNode {
				return errors.New("a list of lists holds no names")
			}
			if err := r.visit(inner, kind, candidates); err != nil {
				return err
			}
		}
		return nil
	default:
		return errors.New("a name is neither text, list nor object")
	}
}

// scalar looks at a name.
func (r *referrer) scalar(name, kind string, candidates map[int]bool) {
	found := r.reach(r.index.named[nameOfKind{name, kind}], nil)
	if slices.ContainsFunc(found, func(i int) bool { return r.index.cur[i].Name != name }) {
		include(candidates, found)
	}
}

// mapping looks at an object with a name and maybe a namespace.
func (r *referrer) mapping(node *yaml.RNode, kind string, candidates map[int]bool) error {
	nameNode, err := node.Pipe(yaml.FieldMatcher{Name: "name"})
	if err != nil {
		return err
	}
	if nameNode == nil {
		return errors.New("a reference has no name")
	}
	namespace, err := node.Pipe(yaml.FieldMatcher{Name: "namespace"})
	if err != nil {
		return err
	}
	name := nameNode.YNode().Value
	found := r.reach(r.index.named[nameOfKind{name, kind}], namespace)
	if len(found) == 0 {
		return nil
	}
	in := r.index.cur[found[0]].Namespace
	same := !slices.ContainsFunc(found, func(i int) bool {
		return r.index.cur[i].Name != name || r.index.cur[i].Namespace != in
	})
	if same && (in == "" || namespace != nil && yaml.IsYNodeString(namespace.YNode()) && namespace.YNode().Value == in) {
		return nil
	}
	include(candidates, found)
	if namespace != nil {
		// Whether kustomize looks among old or new namespaces depends on all objects.
		include(candidates, r.witness(namespace.YNode().Value))
	}
	return nil
}

func include(candidates map[int]bool, more []int) {
	for _, i := range more {
		candidates[i] = true
	}
}

// reach returns the objects of a group that the referrer can refer to, with the
// namespace that the reference names if it names one.
func (r *referrer) reach(group *sameName, namespace *yaml.RNode) []int {
	if group == nil {
		return nil
	}
	if r.near == nil {
		if namespace == nil {
			return group.all
		}
		if len(r.witness(namespace.YNode().Value)) > 0 {
			return group.byOrg[namespace.YNode().Value]
		}
		return group.byCur[namespace.YNode().Value]
	}
	var found []int
	for near := range r.near {
		found = append(found, group.byRaw[near]...)
	}
	return found
}

// witness returns an object within reach that was in a namespace first, if there is
// one.
func (r *referrer) witness(namespace string) []int {
	for now, first := range r.index.moved[namespace] {
		if r.near == nil || r.near[now] {
			return []int{first}
		}
	}
	return nil
}

// standIn returns an object that has of another one only what tells who it is and
// was. References to it are counted nowhere: the count would grow with its square.
func (x *nameIndex) standIn(i int) (*resource.Resource, error) {
	if r := x.standIns[i]; r != nil {
		return r, r.PipeE(yaml.ClearAnnotation(refByAnnotation))
	}
	have := x.objects[i].GetAnnotations(resource.BuildAnnotations...)
	delete(have, refByAnnotation)
	id := x.cur[i]
	annotations := map[string]any{}
	for name, value := range have {
		annotations[name] = value
	}
	metadata := map[string]any{"name": id.Name, "annotations": annotations}
	if id.Namespace != "" {
		metadata["namespace"] = id.Namespace
	}
	node, err := yaml.FromMap(map[string]any{"apiVersion": id.ApiVersion(), "kind": id.Kind, "metadata": metadata})
	if err != nil {
		return nil, fmt.Errorf("stand in for %s: %w", id, err)
	}
	x.standIns[i] = &resource.Resource{RNode: *node}
	return x.standIns[i], nil
}
