// Package charts is the corpus of charts that renders and releases are compared with Helm on: the shapes that
// are met in practice, each with sets of values.
package charts
