// Package drift reads what a Kustomization wants to happen to drift.
package drift

import (
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
)

// Annotation holds the mode of a Kustomization.
const Annotation = "sluice.dev/drift"

// Mode is what happens to objects that differ from what was applied.
type Mode string

// The modes.
const (
	// Correct puts them back; the default.
	Correct Mode = "correct"
	// Report says what differs, and leaves it.
	Report Mode = "report"
)

// ModeOf returns the mode of a Kustomization. With an error, which names it and what
// to write, the mode is Report: nobody knows yet whether drift is to be put back.
func ModeOf(ks *kustomizev1.Kustomization) (Mode, error) {
	text, set := ks.Annotations[Annotation]
	switch mode := Mode(text); {
	case !set:
		return Correct, nil
	case mode == Correct, mode == Report:
		return mode, nil
	}
	return Report, fmt.Errorf("annotation %s of Kustomization %s/%s is %q: write %q to have drift reported only, or %q (the default) to have it put back",
		Annotation, ks.Namespace, ks.Name, text, Report, Correct)
}
