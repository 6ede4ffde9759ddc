// Package gitserver serves Git repositories on loopback the way a Git host does,
// with the real git programs behind real protocols: over HTTP and HTTPS
// (git http-backend) with or without credentials, and over SSH (git upload-pack).
//
// It needs the git command. Commits are made by Repo's methods; pushes are taken over
// HTTP only, where somebody asks to be told of them.
package gitserver
