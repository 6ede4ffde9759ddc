// Command compose proves docker-compose.yaml: it brings the stack up, pushes, scales
// the builder to three, kills one container of each service while pushing, and checks
// that the cluster ends up equal to Git and that no event is missing.
//
// No image is pulled. NATS, versitygw and Kubernetes are built from their Go modules
// and tagged with the names in docker-compose.yaml. Where no Docker daemon runs, it
// starts one with a folder of its own and stops it again; it installs Debian's
// packages if Docker is missing.
package main
