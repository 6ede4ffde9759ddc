// Package signature verifies PGP and SSH signatures, as Git makes them, with public
// keys from a Secret.
package signature
