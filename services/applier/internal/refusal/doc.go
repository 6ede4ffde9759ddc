// Package refusal words for people why the API server did not take an object, and
// what they can do about it. It knows the API server's messages and no object of ours.
package refusal
