// Package resolve turns what a Receiver names into the keys of objects, from
// caches of their metadata.
package resolve
