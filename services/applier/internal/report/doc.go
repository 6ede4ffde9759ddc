// Package report says what the applier did: CloudEvents on the bus for Sluice's
// own subscribers and Kubernetes Events on the object for Flux's tools. The
// status of the object is not its business.
package report
