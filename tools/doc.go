// Package tools pins the programs that `make lint` runs: golangci-lint and
// govulncheck, as tools of a module of their own, so that what they depend on never
// meets what Sluice depends on.
package tools
