package livestate

import (
	"strings"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// Ownership says what marks an object as an owner's, what the owner writes as, and what an
// object can ask for. The zero value is the one of Kustomizations.
type Ownership struct {
	// NameLabel and NamespaceLabel name the owner. Objects with a NameLabel are watched.
	NameLabel, NamespaceLabel string
	// Manager is the field manager of the owner's applies.
	Manager string
	// OptOuts reads what an object asks for.
	OptOuts func(annotations, labels map[string]string) OptOut
	// Absorbs says whether the fields of an entry are to be taken over.
	Absorbs func(e metav1.ManagedFieldsEntry, overrides []string) bool
}

// Kustomizations is the ownership of what Kustomizations apply.
func Kustomizations() Ownership {
	return Ownership{
		NameLabel: cluster.OwnerNameLabel, NamespaceLabel: cluster.OwnerNamespaceLabel, Manager: cluster.Manager,
		OptOuts: OptOuts, Absorbs: Absorbs,
	}
}

// The labels that say which HelmRelease an object belongs to, the manager that it is applied as, and the
// annotation, or label, that keeps it out of drift detection.
const (
	ReleaseNameLabel      = "helm.toolkit.fluxcd.io/name"
	ReleaseNamespaceLabel = "helm.toolkit.fluxcd.io/namespace"
	ReleaseManager        = "helm-controller"
	driftDetection        = "helm.toolkit.fluxcd.io/driftDetection"
)

// HelmReleases is the ownership of what the charts of HelmReleases make. What others add to it is
// theirs, so nothing is absorbed.
func HelmReleases() Ownership {
	return Ownership{
		NameLabel: ReleaseNameLabel, NamespaceLabel: ReleaseNamespaceLabel, Manager: ReleaseManager,
		OptOuts: func(annotations, labels map[string]string) OptOut {
			if Exempt(annotations, labels) {
				return NoReconcile
			}
			return 0
		},
		Absorbs: func(metav1.ManagedFieldsEntry, []string) bool { return false },
	}
}

// Exempt says whether an object of a release asks to be left alone.
func Exempt(annotations, labels map[string]string) bool {
	return strings.EqualFold(annotations[driftDetection], "disabled") || strings.EqualFold(labels[driftDetection], "disabled")
}

// of returns the owner that labels name; the zero Owner when they name none.
func (o Ownership) of(labels map[string]string) cluster.Owner {
	return unique.Make(cluster.Owner{Namespace: clip(labels[o.NamespaceLabel], maxName), Name: clip(labels[o.NameLabel], maxName)}).Value()
}
