package host

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/marketprism/marketprism/sdk/schema"
)

// writes are the file system rights that a confined process is denied, by the
// Landlock version that knows them.
const (
	writesV1 = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	writesV2 = writesV1 | unix.LANDLOCK_ACCESS_FS_REFER
	writesV3 = writesV2 | unix.LANDLOCK_ACCESS_FS_TRUNCATE

	writesFile = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE // those that a file can have
)

// landlockVersion is the kernel's; 0 if it has none.
func landlockVersion() int {
	v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0
	}
	return int(v)
}

// rules are what a process is confined by.
type rules struct {
	attr  unix.LandlockRulesetAttr // what is denied
	size  uintptr                  // of attr that the kernel knows
	paths []pathRule               // where it is allowed all the same
}

type pathRule struct {
	path   string
	access uint64
}

// rulesFor are those of an access, for a process with this directory of its own.
// What a process isn't kept from isn't in attr: nobody else needs a rule for it.
func rulesFor(version int, a *Access, own string) rules {
	// The size tells the kernel which fields are there.
	r := rules{size: 8}
	if version >= 4 {
		r.size = 16
	}
	if version >= 6 {
		r.size = 24
		r.attr.Scoped = unix.LANDLOCK_SCOPE_SIGNAL
	}
	if !a.confines(version) {
		return r // no signals, and a domain of its own: no look into other processes
	}
	if version >= 6 {
		r.attr.Scoped |= unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	r.attr.Handled_access_fs = writesV1
	if version >= 2 {
		r.attr.Handled_access_fs = writesV2
	}
	if version >= 3 {
		r.attr.Handled_access_fs = writesV3
	}
	if version >= 4 && !a.Connect {
		r.attr.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if version >= 4 && !a.Listen {
		r.attr.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_BIND_TCP
	}
	all := r.attr.Handled_access_fs
	r.paths = []pathRule{{own, all}, {os.DevNull, unix.LANDLOCK_ACCESS_FS_WRITE_FILE}}
	for _, p := range a.Writes {
		access := all
		if p.Target == schema.File {
			access &= writesFile
		}
		r.paths = append(r.paths, pathRule{p.Path, access})
	}
	return r
}

// empty says that the kernel can restrict nothing of it.
func (r *rules) empty() bool { return r.attr == unix.LandlockRulesetAttr{} }

// confine restricts the calling thread, and so the processes that it starts
// from here on. The thread must end with them.
func (r *rules) confine() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("host: no new privileges: %w", err)
	}
	set, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&r.attr)), r.size, 0)
	if e != 0 {
		return fmt.Errorf("host: landlock ruleset: %w", e)
	}
	defer unix.Close(int(set))
	for _, p := range r.paths {
		if err := p.add(int(set)); err != nil {
			return err
		}
	}
	if _, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); e != 0 {
		return fmt.Errorf("host: landlock: %w", e)
	}
	return nil
}

func (p *pathRule) add(set int) error {
	fd, err := unix.Open(p.path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("host: landlock rule for %s: %w", p.path, err)
	}
	defer unix.Close(fd)
	rule := unix.LandlockPathBeneathAttr{Allowed_access: p.access, Parent_fd: int32(fd)}
	if _, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); e != 0 {
		return fmt.Errorf("host: landlock rule for %s: %w", p.path, e)
	}
	return nil
}
