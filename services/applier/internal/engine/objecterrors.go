package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/refusal"
)

// maxText bounds, in bytes, what is said of all objects that failed: a status with
// it can still be read, and be kept.
const maxText = 4096

// maxName bounds what stands for a failure that is of no object.
const maxName = 64

// ObjectErrors are the errors of several objects, in the order in which their kinds are dealt with.
type ObjectErrors []error

// join returns the errors that are not nil as ObjectErrors, nil when there are none.
func join(errs []error) error {
	var all ObjectErrors
	for _, err := range errs {
		var inner ObjectErrors
		switch {
		case errors.As(err, &inner):
			all = append(all, inner...)
		case err != nil:
			all = append(all, err)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// inOrder joins errors of items in the order of the items.
func inOrder(items []*item, errs ...error) error {
	place := map[cluster.Ref]int{}
	for n, i := range items {
		place[i.ref] = n
	}
	at := func(err error) int {
		var object *ObjectError
		if !errors.As(err, &object) {
			return len(items)
		}
		return place[object.Object]
	}
	var all ObjectErrors
	errors.As(join(errs), &all)
	slices.SortStableFunc(all, func(a, b error) int { return at(a) - at(b) })
	return all
}

// Error implements error. It tells of as many failures as fit into 4 KiB.
func (f ObjectErrors) Error() string { return f.Text(maxText) }

// Unwrap returns the errors.
func (f ObjectErrors) Unwrap() []error { return f }

// Text tells of as many failures as fit, of one at least, and counts and names
// the objects of the others. A remedy is said with the first object that needs it.
func (f ObjectErrors) Text(limit int) string {
	var text strings.Builder
	said := map[string]bool{}
	for n, err := range f {
		line := err.Error()
		var object *ObjectError
		if errors.As(err, &object) && said[object.remedy] {
			line = object.text
		} else if object != nil {
			said[object.remedy] = true
		}
		rest := f[n+1:].names(limit / 4)
		if n > 0 {
			line = "\n" + line
		}
		if room := limit - text.Len() - len(rest); len(line) > room {
			if n > 0 {
				return text.String() + f[n:].names(limit-text.Len())
			}
			line = refusal.Cut(line, room)
		}
		text.WriteString(line)
	}
	return text.String()
}

// names counts failures and names as many of their objects as fit.
func (f ObjectErrors) names(limit int) string {
	if len(f) == 0 {
		return ""
	}
	text := fmt.Sprintf("\nand %d more failed", len(f))
	for n, err := range f {
		name := ", " + refusal.Cut(err.Error(), maxName)
		var object *ObjectError
		if errors.As(err, &object) {
			name = ", " + object.Object.String()
		}
		if n == 0 {
			name = ": " + name[2:]
		}
		if len(text)+len(name)+len(", …") > limit {
			return text + ", …"
		}
		text += name
	}
	return text
}

// Brief returns an error's text within a limit in bytes. Of several failures it
// names all objects it has room for.
func Brief(err error, limit int) string {
	var failures ObjectErrors
	if errors.As(err, &failures) {
		return failures.Text(limit)
	}
	return refusal.Cut(err.Error(), limit)
}
