// Package kubeconfig turns the spec.kubeConfig of an object into a connection to a
// cluster. What a Secret or a ConfigMap says is not trusted: only what is named here
// is taken over, nothing in it runs a program or reads a file, and no error quotes it
// but for the name of a cloud's cluster.
package kubeconfig
