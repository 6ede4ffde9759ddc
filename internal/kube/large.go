package kube

import (
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// TooLarge says whether an object could not be written because the API server's store, which takes about 1.5 MiB, has no room
// for it. It knows the words of the API server, of etcd, and of the client between them.
func TooLarge(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return apierrors.IsRequestEntityTooLargeError(err) || strings.Contains(text, "etcdserver: request is too large") ||
		strings.Contains(text, "trying to send message larger than max")
}
