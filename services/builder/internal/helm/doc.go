// Package helm renders Helm charts as the Helm SDK does: values, templates, hooks, notes
// and custom resource definitions, then Flux's post-renderers. It runs in a confined child
// process and reaches nothing but the unpacked chart; what it needs of a cluster, versions
// and served kinds, is handed to it.
package helm
