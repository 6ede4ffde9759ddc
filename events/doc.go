// Package events is the contract between Sluice's services and everyone who
// listens to them: the CloudEvents that say what happened, the subjects they
// travel on, the identity of the objects they are about, and the binding of a
// CloudEvent to NATS headers.
//
// Events wake, state decides: an event carries identity, revision and digest,
// never the payload. Subscribers outside Sluice may rely on every type, subject
// and field here; the JSON Schemas in schemas/ and the samples in testdata/ are
// part of the contract and a test keeps them true.
package events
