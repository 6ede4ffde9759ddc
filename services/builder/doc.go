// Package builder is the service that renders: for every Kustomization of a
// source it builds the objects in a confined child process, seals the render
// into the bucket and publishes build events. It only reads Kubernetes.
//
// The program must call SandboxMain before anything else: builds run in child
// processes of the same binary.
package builder
