package fast

import (
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// refByAnnotation is where kustomize counts who refers to an object.
const refByAnnotation = konfig.ConfigAnnoDomain + "/refBy"

// nameOfKind is a name that an object had and a kind that it had.
type nameOfKind struct{ name, kind string }

// sameName are the objects with one nameOfKind, by their place in the order.
type sameName struct {
	all []int
	// byRaw is by the namespace as it is written now (see rawNamespace).
	byRaw map[string][]int
	// byCur and byOrg are by the namespace that counts, now and at first.
	byCur, byOrg map[string][]int
}

// rawNamespace is an object's namespace as it is written, or a word that is no
// namespace for an object that can have none.
func rawNamespace(id resid.ResId) string {
	if id.IsClusterScoped() {
		return resid.TotallyNotANamespace
	}
	return id.Namespace
}

// nameIndex finds objects by the names they had. Only objects that were given a name
// or namespace have any; kustomize looks for no others.
type nameIndex struct {
	objects  []*resource.Resource
	cur, org []resid.ResId
	named    map[nameOfKind]*sameName
	// moved holds an object for each namespace that counted at first and each that is
	// written now.
	moved    map[string]map[string]int
	standIns []*resource.Resource
}

func newNameIndex(objects []*resource.Resource) *nameIndex {
	x := &nameIndex{
		objects: objects, cur: make([]resid.ResId, len(objects)), org: make([]resid.ResId, len(objects)),
		named: map[nameOfKind]*sameName{}, moved: map[string]map[string]int{},
		standIns: make([]*resource.Resource, len(objects)),
	}
	for i, r := range objects {
		x.add(i, r)
	}
	return x
}

func (x *nameIndex) add(i int, r *resource.Resource) {
	was := r.PrevIds()
	x.cur[i] = r.CurId()
	x.org[i] = x.cur[i]
	if len(was) > 0 {
		x.org[i] = was[0]
	}
	raw, now, first := rawNamespace(x.cur[i]), x.cur[i].EffectiveNamespace(), x.org[i].EffectiveNamespace()
	if first != resid.TotallyNotANamespace {
		if x.moved[first] == nil {
			x.moved[first] = map[string]int{}
		}
		if _, ok := x.moved[first][raw]; !ok {
			x.moved[first][raw] = i
		}
	}
	seen := map[nameOfKind]bool{}
	for _, named := range was {
		for _, kind := range was {
			key := nameOfKind{named.Name, kind.Kind}
			if seen[key] {
				continue
			}
			seen[key] = true
			group := x.named[key]
			if group == nil {
				group = &sameName{byRaw: map[string][]int{}, byCur: map[string][]int{}, byOrg: map[string][]int{}}
				x.named[key] = group
			}
			group.all = append(group.all, i)
			group.byRaw[raw] = append(group.byRaw[raw], i)
			group.byCur[now] = append(group.byCur[now], i)
			group.byOrg[first] = append(group.byOrg[first], i)
		}
	}
}
