//go:build !linux

package controlplane

import "syscall"

// processAttributes give a child its own group. Only Linux can also end it with its parent.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
