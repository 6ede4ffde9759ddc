package build

import (
	"bytes"
	"fmt"

	"github.com/sluice-gitops/sluice/internal/render"
)

// bearable refuses a render that would need too much memory of those who read it and are not confined: a few bytes of a
// tree become any number of values where a variable is substituted. It names the largest object.
func bearable(folder string, objects []render.Object, plain []byte) error {
	weight := render.Weight(plain)
	if weight <= render.MaxWeight {
		return nil
	}
	most, largest, n := 0, objects[0], 0
	for line := range bytes.Lines(plain) { // one for each object
		if w := render.Weight(line); w > most {
			most, largest = w, objects[n]
		}
		n++
	}
	name := fmt.Sprintf("%s/%s/%s", largest.GetKind(), largest.GetNamespace(), largest.GetName())
	if largest.Origin != "" {
		name += " from " + largest.Origin
	}
	return &InputError{Reason: ReasonBuild, Message: fmt.Sprintf("kustomize build failed: the render of %s is too large: "+
		"its %d objects need %d bytes of memory where %d are allowed, and %s alone %d; "+
		"spread the objects over several Kustomizations, and substitute no large values",
		folder, len(objects), weight, render.MaxWeight, name, most)}
}
