// Package cel compiles and evaluates the CEL expressions of Kustomizations: those
// about the health of an object, and those about a dependency.
//
// Whoever may write a Kustomization may write an expression, so that none is
// trusted: its text, its cost, what one call reads and makes, and its time are
// bounded, and one that overstays leaves its worker free.
package cel
