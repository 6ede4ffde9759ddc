// Package verdict decides what a Helm release needs: install, upgrade, test, remediation, or
// nothing. It compares what is wanted with Helm's storage and with what the HelmRelease's
// status remembers, and does nothing itself. The rules are helm-controller's.
package verdict
