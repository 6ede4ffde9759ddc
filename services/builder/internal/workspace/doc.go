// Package workspace keeps the artifacts that builds read unpacked on disk: each
// is fetched from the bucket by its digest, verified, unpacked once per replica
// and shared by all builds. What is kept is bounded; the artifact used longest
// ago goes first.
//
// An archive is hostile until proven otherwise: a name that leads out of the
// folder is refused, links and devices are left out, and entries, depth and
// expanded size are bounded.
package workspace
