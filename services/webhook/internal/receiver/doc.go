// Package receiver knows the custom resource: where its token is, which path
// follows from it, and which of its fields are served.
package receiver
