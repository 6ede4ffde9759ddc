// Package compose makes the files of one artifact from those of others: it copies,
// merges and extracts what patterns select. It knows nothing of Kubernetes.
package compose
