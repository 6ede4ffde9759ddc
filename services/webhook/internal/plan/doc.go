// Package plan keeps the status of Receivers: the path that follows from the token,
// whether it can be served, and why not. One replica, the leader, does so.
package plan
