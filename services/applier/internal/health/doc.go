// Package health evaluates live objects by the kstatus rules, or by CEL expressions
// of the Kustomization. It looks once and returns; waiting is the business of
// watches and timers.
package health
