// Package sandbox runs work in pooled child processes of the same binary that
// can do nothing but compute: no network, no other program, no file but those
// under one folder, which they can only read, and bounded memory. A child that
// takes too long, fails or is no longer clean is killed and replaced.
//
// What is enforced, in the child, before it takes its first request:
//
//   - seccomp: a list of allowed system calls, for all threads, with
//     no_new_privs. There is no socket, no exec and no new process in it. A
//     kernel without seccomp is refused.
//   - Landlock: read access to the folder only. A kernel without Landlock is
//     accepted and reported; the work must then confine its own file access.
//   - an empty environment; RLIMIT_DATA for memory; no file can be written.
//
// Parent and child exchange frames: a length of four bytes, big endian, and that
// many bytes. The parent trusts nothing a child sends beyond its length.
package sandbox
