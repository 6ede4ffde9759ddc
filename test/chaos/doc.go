// Package chaos tests that nothing is lost while the services die: each runs as a
// process of its own against NATS and S3, is killed with SIGKILL at random and
// started again, while pushes go on.
package chaos
