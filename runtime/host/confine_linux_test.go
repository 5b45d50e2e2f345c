package host

import (
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/marketprism/marketprism/sdk/schema"
)

// TestRules: what the kernel is asked for follows from its version and from what
// a process may do.
func TestRules(t *testing.T) {
	const (
		tcp     = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		signal  = unix.LANDLOCK_SCOPE_SIGNAL
		scoped  = signal | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		v1, v2  = 0x1ff0 | 2, 0x3ff0 | 2 // by the numbers of the kernel's header
		v3      = 0x7ff0 | 2
		devNull = 2
	)
	none, store := Access{}, Access{Writes: []Path{{"path", "/lake", schema.Directory, false}, {"log", "/log", schema.File, false}}}
	client, server := Access{Connect: true}, Access{Listen: true}
	own := func(access uint64, more ...pathRule) []pathRule {
		return append([]pathRule{{"/own", access}, {"/dev/null", devNull}}, more...)
	}
	attr := func(fs, net, scoped uint64) unix.LandlockRulesetAttr {
		return unix.LandlockRulesetAttr{Handled_access_fs: fs, Handled_access_net: net, Scoped: scoped}
	}
	for _, c := range []struct {
		name    string
		version int
		access  Access
		want    rules
	}{
		{"nothing", 1, none, rules{attr(v1, 0, 0), 8, own(v1)}},
		{"nothing", 2, none, rules{attr(v2, 0, 0), 8, own(v2)}},
		{"nothing", 3, none, rules{attr(v3, 0, 0), 8, own(v3)}},
		{"nothing", 4, none, rules{attr(v3, tcp, 0), 16, own(v3)}},
		{"nothing", 5, none, rules{attr(v3, tcp, 0), 16, own(v3)}},
		{"nothing", 7, none, rules{attr(v3, tcp, scoped), 24, own(v3)}},
		{"a store", 1, store, rules{size: 8}}, // it could not rename
		{"a store", 2, store, rules{attr(v2, 0, 0), 8, own(v2, pathRule{"/lake", v2}, pathRule{"/log", 2})}},
		{"a store", 6, store, rules{attr(v3, tcp, scoped), 24, own(v3, pathRule{"/lake", v3}, pathRule{"/log", 0x4002})}},
		{"a client", 3, client, rules{attr(v3, 0, 0), 8, own(v3)}},
		{"a client", 6, client, rules{attr(v3, unix.LANDLOCK_ACCESS_NET_BIND_TCP, scoped), 24, own(v3)}},
		{"a server", 6, server, rules{attr(v3, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, scoped), 24, own(v3)}},
		{"both", 6, Access{Connect: true, Listen: true}, rules{attr(v3, 0, scoped), 24, own(v3)}},
		{"undeclared", 5, Access{Undeclared: true}, rules{size: 16}},
		{"undeclared", 6, Access{Undeclared: true}, rules{attr(0, 0, signal), 24, nil}},
	} {
		got := rulesFor(c.version, &c.access, "/own")
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s, version %d: %x, not %x", c.name, c.version, got, c.want)
		}
		if got.empty() != (c.want.attr == unix.LandlockRulesetAttr{}) {
			t.Errorf("%s, version %d: empty is %v", c.name, c.version, got.empty())
		}
	}
}
