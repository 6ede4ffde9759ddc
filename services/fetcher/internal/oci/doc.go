// Package oci reads artifacts of OCI registries: which tags a repository has, which
// digest one names, and layers. Connections and logins are kept from pass to pass, so
// that a tag that did not move costs one request.
package oci
