// Package seal encrypts renders and authenticates the heads that point to
// them, so that neither the bucket nor the bus alone can change what a cluster
// runs.
//
// A render is compressed and sealed with AES-256-GCM. Whom it is for (the
// Identity) and which content it is (the content id) are associated data: a
// render moved to another object, or kept under another content id, does not
// open. The content id is an HMAC of the plain text: a plain hash would let a
// reader of the bucket confirm guesses of a weak secret.
//
// A Head says which render of which revision is meant, under an HMAC. An old
// head stays authentic for ever; that it is also current is for the reader to
// check against the API server.
//
// What is stored where others may write, as Helm's Secrets are, is vouched for by an HMAC of its own
// kind (SignStored). It too stays authentic for ever.
//
// Compression makes the size of a render depend on its content. Who can choose
// part of a render and read the bucket's sizes may learn something about the
// rest of it; renders of one object share one tenant, so this is accepted.
package seal
