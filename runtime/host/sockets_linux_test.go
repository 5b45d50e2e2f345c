package host

import (
	"testing"

	"golang.org/x/sys/unix"
)

// call is what the kernel shows a filter: struct seccomp_data.
type call struct {
	number, arch uint32
	args         [6]uint64
}

// decide runs a filter as the kernel does.
func decide(t *testing.T, f []unix.SockFilter, c call) uint32 {
	t.Helper()
	load := func(at uint32) uint32 {
		switch {
		case at == 0:
			return c.number
		case at == 4:
			return c.arch
		case at%8 == 0:
			return uint32(c.args[(at-16)/8])
		}
		t.Fatalf("it loads from %d", at)
		return 0
	}
	var a uint32
	for pc := 0; pc < len(f); pc++ {
		i := f[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = load(i.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(a == i.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(a >= i.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(a&i.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		default:
			t.Fatalf("instruction %d is %+v", pc, i)
		}
	}
	t.Fatal("it doesn't return")
	return 0
}

func TestSocketFilter(t *testing.T) {
	const (
		allow  = unix.SECCOMP_RET_ALLOW
		deny   = unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES)
		absent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		fast   = unix.MSG_FASTOPEN | unix.MSG_NOSIGNAL
	)
	socket := func(domain, typ, protocol uint64) call {
		return call{number: unix.SYS_SOCKET, args: [6]uint64{domain, typ, protocol}}
	}
	for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_AARCH64} {
		for _, connect := range []bool{false, true} {
			fastOpen := uint32(deny)
			if connect {
				fastOpen = allow
			}
			f := socketFilter(arch, connect)
			for _, c := range []struct {
				name string
				call call
				want uint32
			}{
				{"read", call{number: unix.SYS_READ}, allow},
				{"connect", call{number: unix.SYS_CONNECT}, allow}, // Landlock's
				{"unix", socket(unix.AF_UNIX, unix.SOCK_STREAM, 0), allow},
				{"netlink", socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), allow},
				{"TCP", socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0), allow},
				{"TCP by its number", socket(unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP), allow},
				{"UDP", socket(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP), allow},
				{"multipath TCP", socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP), deny},
				{"multipath TCP, IPv6", socket(unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_MPTCP), deny},
				{"an upper half that the kernel doesn't read", socket(1<<32|unix.AF_INET, unix.SOCK_STREAM, 1<<40|unix.IPPROTO_MPTCP), deny},
				{"SCTP", socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP), deny},
				{"SMC", socket(unix.AF_SMC, unix.SOCK_STREAM, 0), deny},
				{"packets", socket(unix.AF_PACKET, unix.SOCK_RAW, 0), deny},
				{"a ring", call{number: unix.SYS_IO_URING_SETUP}, absent},
				{"send to", call{number: unix.SYS_SENDTO, args: [6]uint64{3: unix.MSG_NOSIGNAL}}, allow},
				{"send to, fast", call{number: unix.SYS_SENDTO, args: [6]uint64{3: fast}}, fastOpen},
				{"a message", call{number: unix.SYS_SENDMSG, args: [6]uint64{2: unix.MSG_NOSIGNAL, 3: fast}}, allow},
				{"a message, fast", call{number: unix.SYS_SENDMSG, args: [6]uint64{2: fast}}, fastOpen},
				{"messages, fast", call{number: unix.SYS_SENDMMSG, args: [6]uint64{3: fast}}, fastOpen},
			} {
				c.call.arch = arch
				if got := decide(t, f, c.call); got != c.want {
					t.Errorf("arch %x, connect %v: %s: %x, not %x", arch, connect, c.name, got, c.want)
				}
			}
			if got := decide(t, f, call{number: unix.SYS_READ, arch: unix.AUDIT_ARCH_I386}); got != deny {
				t.Errorf("a call of another architecture: %x", got)
			}
			if arch == unix.AUDIT_ARCH_X86_64 {
				if got := decide(t, f, call{number: 1<<30 | unix.SYS_SOCKET, arch: arch}); got != absent {
					t.Errorf("a call of x32: %x", got)
				}
			}
		}
	}
}
