//go:build !linux

package harness

import "syscall"

// processAttributes give a child its own group. Only Linux can tie its life to
// its parent's.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
