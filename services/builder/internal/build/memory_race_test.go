//go:build race

package build_test

// childMemory is what a child may use: the race detector takes several times as much.
const childMemory = 4 << 30
