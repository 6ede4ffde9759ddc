// Package identity gets credentials of cloud providers where no Secret holds any: for a
// service account of the cluster, whose token the provider exchanges, or for the service
// itself, as the machine and the pod that it runs on say who it is.
//
// The exchanges are those of the library that Flux has for them. Here is what it leaves
// to its callers: who may ask for what, how long an answer is kept, and that no error
// repeats a credential.
package identity
