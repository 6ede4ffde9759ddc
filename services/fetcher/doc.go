// Package fetcher is the service that watches sources: it fetches them when
// their interval, a hook, their spec or a person asks for it, stores what is new
// as an artifact, says so in their status, and publishes source.changed.
//
// A check passes its rooms in this order: plan sends it, handle works on it with
// the source's kind (gitrepository, on git) and pack, and gateway serves what came of it.
package fetcher
