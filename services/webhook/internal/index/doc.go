// Package index keeps, in the memory of every replica, what the HTTP server needs
// to judge a delivery: the path, the token and the resources of each Receiver. A
// watch feeds it, so that a delivery costs no request to the API server.
package index
