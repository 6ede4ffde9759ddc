// Package e2e tests Sluice as its users meet it: a real control plane, the sluice
// process, a Git server; driven through the Kubernetes API, Git and webhooks, and
// judged by what the cluster, the log of events and the process's own log say.
package e2e
