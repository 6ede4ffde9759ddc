// Package handle works on checks of sources: it reads the newest state of the object
// and of its upstream, stores what is new, says so in the status, and publishes it.
// What differs between the kinds of sources is in package source and the kinds.
//
// The order is fixed: artifact, status, event. A reader of the event finds the
// revision and digest in the status, and the artifact in storage.
package handle
