// Package fast builds a kustomization in time that grows with the number of its
// objects, where kustomize's grows with the square.
//
// It walks the tree of kustomizations as kustomize does and leaves every change of
// an object to kustomize's own transformers, which it runs on one object at a time.
// What is its own is what kustomize does by searching all objects for each object:
// keeping ids unique, finding what a patch or a generator means, and finding what a
// name refers to. What it does not reproduce exactly, and every error, it leaves to
// kustomize; the tests hold that where it answers, kustomize answers the same.
package fast
