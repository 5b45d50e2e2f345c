//go:build !linux

package serve

import "syscall"

func closeOnExec(fd int) { syscall.CloseOnExec(fd) }
