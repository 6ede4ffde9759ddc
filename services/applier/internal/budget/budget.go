// Package budget bounds how many objects a new render may delete. A plan of
// deletions over the budget needs the approval of exactly that plan, by digest.
package budget

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

const (
	// Annotation holds the budget of a Kustomization: a number of objects such as
	// "5", or a share of its inventory such as "20%".
	Annotation = "sluice.dev/prune-budget"
	// Approval holds the digest of the plan that is approved.
	Approval = "sluice.dev/approve-prune"
)

// Budget is how many objects one render may delete; its zero value is none at all.
type Budget struct {
	number int
	share  bool // number is in percent of the inventory
}

// Of returns the budget of a Kustomization; set is false when it has none, which
// means that any number of objects may be deleted.
func Of(ks *kustomizev1.Kustomization) (b Budget, set bool, err error) {
	text, set := ks.Annotations[Annotation]
	if !set {
		return Budget{}, false, nil
	}
	number, share := strings.CutSuffix(text, "%")
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || share && n > 100 {
		return Budget{}, true, fmt.Errorf("annotation %s is %q: write a number of objects such as \"5\", or a share of the inventory such as \"20%%\"", Annotation, text)
	}
	return Budget{number: int(n), share: share}, true, nil
}

// String returns the budget as its annotation is written.
func (b Budget) String() string {
	if b.share {
		return fmt.Sprintf("%d%%", b.number)
	}
	return strconv.Itoa(b.number)
}

// Allows says whether refs may be deleted from an inventory of so many objects. A
// namespace and a definition take along what no inventory counts, so that they are
// within no budget but the whole.
func (b Budget) Allows(refs []cluster.Ref, inventory int) bool {
	switch {
	case b.share && b.number == 100:
		return true
	case slices.ContainsFunc(refs, takesAlong):
		return false
	case b.share:
		return len(refs)*100 <= b.number*inventory
	}
	return len(refs) <= b.number
}

func takesAlong(r cluster.Ref) bool {
	return r.Kind == "Namespace" && r.Group == "" || r.Kind == "CustomResourceDefinition" && r.Group == "apiextensions.k8s.io"
}

// Deletion is a live object that a plan deletes.
type Deletion struct {
	Object cluster.Ref
	UID    types.UID
}

// Plan is what a render would delete.
type Plan []Deletion

// Refs returns the names of the plan's objects.
func (p Plan) Refs() []cluster.Ref {
	refs := make([]cluster.Ref, 0, len(p))
	for _, d := range p {
		refs = append(refs, d.Object)
	}
	return refs
}

// Digest names the plan. Objects that are made anew have another uid, so that the
// approval of a plan that was carried out approves nothing later.
func (p Plan) Digest() string {
	lines := make([]string, 0, len(p))
	for _, d := range p {
		lines = append(lines, fmt.Sprintf("%s %s %s\n", d.Object.Group, d.Object, d.UID))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Approved says whether a Kustomization approves exactly this plan.
func (p Plan) Approved(ks *kustomizev1.Kustomization) bool {
	return ks.Annotations[Approval] == p.Digest()
}

// named is how many objects a text names.
const named = 5

// Text names the first objects of the plan and counts the rest.
func (p Plan) Text() string {
	var names []string
	for _, d := range p {
		names = append(names, d.Object.String())
	}
	slices.Sort(names)
	if more := len(names) - named; more > 0 {
		names = append(names[:named], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
