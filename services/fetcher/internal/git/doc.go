// Package git reads remote Git repositories over HTTP, HTTPS and SSH and keeps
// local mirrors of them.
//
// A pass over a repository is: Connect lists the remote references with one
// request; Listing.Resolve picks a commit; and only if that commit is wanted,
// Listing.Fetch brings the missing objects into the mirror over the same
// connection and opens the commit, whose Files are read from the object store
// without a work tree.
//
// The package knows nothing of Kubernetes or of events.
package git
