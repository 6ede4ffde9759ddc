//go:build !race

package build_test

// childMemory is what a child may use: the default.
const childMemory = 0
