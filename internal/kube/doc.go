// Package kube is what the services share in talking to Kubernetes: the scheme of
// the custom resources they serve, client configuration, digests of specs and the
// conditions that Flux's tools read.
package kube
