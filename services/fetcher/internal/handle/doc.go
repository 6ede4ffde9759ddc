// Package handle works on checks of GitRepositories: it reads the newest state of
// the object and of its remote, stores what is new, says so in the status, and
// publishes it.
//
// The order is fixed: artifact, status, event. A reader of the event finds the
// revision and digest in the status, and the artifact in storage.
package handle
