// Package controlplane starts a real Kubernetes control plane for tests,
// benchmarks and the demo: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler and simulated nodes (kwok), as processes of this machine.
//
// The programs are built once from their Go modules, at the versions that
// binaries/go.mod names, and kept in the user's cache folder. An instance has its
// own folder, certificates and port, so several run side by side. Everything is
// gone after Stop, when the context of Start ends, or when the process dies.
package controlplane
