package host

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock restricts connect and bind of plain TCP sockets. Multipath TCP, which
// Go's net.Listen asks for first, SMC and TCP's fast open pass it by: a filter
// of system calls refuses them to processes that may not use TCP, and refuses
// io_uring, by whose ring it would be passed by in turn.

// socketFilter allows sockets of Unix, netlink, TCP and UDP alone; where a process
// may not connect, no data that goes with a connection's first packet.
func socketFilter(arch uint32, connect bool) []unix.SockFilter {
	const (
		number, architecture = 0, 4 // in struct seccomp_data
		x32                  = 1 << 30
		allow                = unix.SECCOMP_RET_ALLOW
		deny                 = unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES)
		absent               = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	)
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	arg := func(n uint32) unix.SockFilter { return load(16 + 8*n) } // its lower half: they are ints
	ret := func(what uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what} }
	jump := func(code uint16, k uint32, yes, no int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | code, Jt: uint8(yes), Jf: uint8(no), K: k}
	}
	on := func(call uint32, body ...unix.SockFilter) []unix.SockFilter {
		return append([]unix.SockFilter{jump(unix.BPF_JEQ, call, 0, len(body))}, body...)
	}
	f := []unix.SockFilter{load(architecture), jump(unix.BPF_JEQ, arch, 1, 0), ret(deny), load(number)}
	if arch == unix.AUDIT_ARCH_X86_64 { // the same calls by other numbers
		f = append(f, jump(unix.BPF_JGE, x32, 0, 1), ret(absent))
	}
	f = slices.Concat(f,
		on(unix.SYS_IO_URING_SETUP, ret(absent)),
		on(unix.SYS_SOCKET,
			arg(0),
			jump(unix.BPF_JEQ, unix.AF_UNIX, 8, 0),
			jump(unix.BPF_JEQ, unix.AF_NETLINK, 7, 0),
			jump(unix.BPF_JEQ, unix.AF_INET, 1, 0),
			jump(unix.BPF_JEQ, unix.AF_INET6, 0, 4),
			arg(2),
			jump(unix.BPF_JEQ, 0, 3, 0),
			jump(unix.BPF_JEQ, unix.IPPROTO_TCP, 2, 0),
			jump(unix.BPF_JEQ, unix.IPPROTO_UDP, 1, 0),
			ret(deny),
			ret(allow)))
	if !connect {
		for _, c := range []struct{ call, flags uint32 }{{unix.SYS_SENDTO, 3}, {unix.SYS_SENDMSG, 2}, {unix.SYS_SENDMMSG, 3}} {
			f = append(f, on(c.call, arg(c.flags), jump(unix.BPF_JSET, unix.MSG_FASTOPEN, 0, 1), ret(deny), ret(allow))...)
		}
	}
	return append(f, ret(allow))
}

// auditArch is this machine's; 0 where the filter isn't known to hold.
func auditArch() uint32 {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64
	}
	return 0
}

// filterSockets installs the filter for the calling thread and the processes that
// it starts. A kernel without filters is left at what Landlock does.
func filterSockets(connect bool) error {
	arch := auditArch()
	if arch == 0 {
		return nil
	}
	f := socketFilter(arch, connect)
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	// SPEC_ALLOW: the filter is no reason to slow the processor's guesses down.
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(f)
	if e != 0 && e != unix.ENOSYS && e != unix.EINVAL {
		return fmt.Errorf("host: filter of sockets: %w", e)
	}
	return nil
}
