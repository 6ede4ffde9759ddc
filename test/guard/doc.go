// Package guard holds tests that keep the rules of the house: who may import whom,
// documentation, and what must not be committed. It reads source; it runs nothing.
package guard
