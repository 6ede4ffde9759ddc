// Package provider checks that a delivery comes from whom it says it does. Each
// Receiver type is one function; the signature is checked over the raw bytes,
// before anything of the body is parsed, and compared in constant time.
package provider
