// Package harness runs the sluice binary against a cluster the way a user does:
// as a process with flags, driven through the Kubernetes API, Git and webhooks.
// The demo, the end-to-end tests, the chaos test and the benchmark share it.
package harness
