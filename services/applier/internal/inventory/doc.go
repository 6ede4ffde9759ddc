// Package inventory keeps the list of objects that a custom resource owns, in the
// form that its status stores and that other tools read.
package inventory
