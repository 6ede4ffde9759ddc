// Package build turns a Kustomization's spec and an unpacked artifact into the
// bytes of a render. The work itself runs in a confined child process (NewWork);
// Builder is the parent's side of it.
package build
