package source

import (
	"maps"
	"slices"
)

// Kinds are the kinds by name.
type Kinds map[string]Kind

// ByName returns the kinds under their names.
func ByName(kinds ...Kind) Kinds {
	m := make(Kinds, len(kinds))
	for _, k := range kinds {
		m[k.Name()] = k
	}
	return m
}

// Sorted returns the kinds in the order of their names.
func (k Kinds) Sorted() []Kind {
	var all []Kind
	for _, name := range slices.Sorted(maps.Keys(k)) {
		all = append(all, k[name])
	}
	return all
}
