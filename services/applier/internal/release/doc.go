// Package release runs Helm actions: install, upgrade, rollback, uninstall and test. It
// knows a cluster and Helm's storage, and neither events nor HelmReleases.
//
// An action is a list of phases. Its journal is the stored release itself (helmstore.Run):
// Step does what can be done now and says whether the action is over or what it waits for; it
// never waits itself. Whoever calls Step next, in this process or another, goes on from there,
// and everything that Step does may be done twice.
package release
