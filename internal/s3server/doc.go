// Package s3server runs an S3 service inside the process: a versitygw gateway
// over a folder. It serves the one-process form of Sluice and the tests; it is
// one server with one account, not a cluster.
//
// Two things about the gateway that a caller has to live with: a process can
// run one at a time, and it makes its folder the working directory of the
// process. Resolve every relative path before Start, and give child processes
// a working directory of their own.
package s3server
