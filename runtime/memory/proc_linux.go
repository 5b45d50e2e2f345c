package memory

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sys/unix"
)

// arenaTable is a mapping of the Go runtime on 64-bit systems that it doesn't
// count: 32 MiB, of which a few pages are ever touched.
const arenaTable = 32 << 20

// maxNames bounds the directories that mappings and descriptors are listed by;
// the others are added up.
const maxNames = 64

// readProcess reads /proc/PID/status. A process that has just ended has zeroes.
func readProcess(name string, pid int) Process {
	p := Process{Name: name, Pid: pid}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		p.Why = "it has no /proc entry now"
		return p
	}
	for line := range bytes.Lines(b) {
		k, v, _ := bytes.Cut(line, []byte(":"))
		f := bytes.Fields(v)
		if len(f) == 0 {
			continue
		}
		var to *int64
		switch string(k) {
		case "VmRSS":
			to = &p.Resident
		case "VmHWM":
			to = &p.Peak
		case "RssAnon":
			to = &p.Anonymous
		case "RssFile":
			to = &p.File
		case "RssShmem":
			to = &p.Shared
		case "VmSwap":
			to = &p.Swapped
		case "Threads":
			p.Threads, _ = strconv.Atoi(string(f[0]))
			continue
		default:
			continue
		}
		kb, _ := strconv.ParseInt(string(f[0]), 10, 64)
		*to = kb << 10
	}
	return p
}

// dirty reads the private dirty bytes of a process: the kernel walks its page
// tables for that.
func dirty(pid int) (n int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("Private_Dirty:")); ok {
			kb, _ := strconv.ParseInt(string(bytes.Fields(v)[0]), 10, 64)
			n += kb << 10
		}
	}
	return n
}

// area is one line of maps.
type area struct {
	bytes int64
	perms string
	name  string
}

func parseArea(line string) (a area, ok bool) {
	f := strings.Fields(line)
	if len(f) < 5 {
		return a, false
	}
	lo, hi, ok := strings.Cut(f[0], "-")
	if !ok {
		return a, false
	}
	x, err1 := strconv.ParseUint(lo, 16, 64)
	y, err2 := strconv.ParseUint(hi, 16, 64)
	if err1 != nil || err2 != nil || y < x {
		return a, false
	}
	a.bytes, a.perms = int64(y-x), f[1]
	if len(f) > 5 {
		a.name = strings.TrimSuffix(strings.Join(f[5:], " "), " (deleted)")
	}
	return a, true
}

// kindOf sorts a mapping or an open file by its name.
func kindOf(name string, journals []Journal) (kind, dir string) {
	switch {
	case name == "" || strings.HasPrefix(name, "[anon"):
		return "anonymous", ""
	case strings.HasPrefix(name, "/memfd:"):
		return "memfd", strings.TrimPrefix(name, "/memfd:")
	case strings.HasPrefix(name, "[stack"):
		return "stack", ""
	case strings.HasPrefix(name, "["):
		return "", "" // the kernel's
	case strings.HasPrefix(name, "/dev/"):
		return "device", name
	}
	dir = filepath.Dir(name)
	for i := range journals {
		if journals[i].Dir == dir {
			return "journal", journals[i].Name
		}
	}
	if strings.HasSuffix(name, ".seg") {
		return "journal", filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir)
	}
	if name == executable() {
		return "binary", filepath.Base(name)
	}
	return "file", dir
}

// executable is this program's file, as its mappings name it.
var executable = sync.OnceValue(func() string {
	exe, _ := os.Readlink("/proc/self/exe") // unknown is no file's name
	return strings.TrimSuffix(exe, " (deleted)")
})

// mappings reads the sizes of this process's mappings. What only reserves
// addresses isn't counted.
func mappings(goTotal uint64, journals []Journal) []Mapping {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil
	}
	defer f.Close()
	return readMappings(f, goTotal, 0, journals)
}

// resident fills in what only snapshots have.
func resident(s *Snapshot) {
	if f, err := os.Open("/proc/self/smaps"); err == nil {
		s.Mappings = readMappings(f, s.Go.Total, s.Go.Used(), s.Journals)
		f.Close()
	}
	for i := range s.Processes {
		s.Processes[i].PrivateDirty = dirty(s.Processes[i].Pid)
	}
}

func readMappings(r io.Reader, goTotal, goUsed uint64, journals []Journal) []Mapping {
	type key struct{ kind, name string }
	at := map[key]*Mapping{}
	var cur *Mapping
	kinds := map[string]key{}
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		line := sc.Text()
		if a, ok := parseArea(line); ok {
			cur = nil
			if strings.HasPrefix(a.perms, "---") {
				continue
			}
			k, known := kinds[a.name]
			if !known {
				k.kind, k.name = kindOf(a.name, journals)
				kinds[a.name] = k
			}
			if k.kind == "" {
				continue
			}
			if at[k] == nil {
				if len(at) >= maxNames {
					k.name = "others"
				}
				if at[k] == nil {
					at[k] = &Mapping{Kind: k.kind, Name: k.name}
				}
			}
			cur = at[k]
			cur.Count++
			cur.Bytes += a.bytes
			continue
		}
		if cur == nil {
			continue
		}
		name, v, _ := strings.Cut(line, ":")
		switch name {
		case "Rss":
			cur.Resident += kib(v)
		case "Private_Dirty", "Shared_Dirty":
			cur.Dirty += kib(v)
		}
	}
	out := make([]Mapping, 0, len(at)+1)
	for _, m := range at {
		if m.Kind == "anonymous" {
			g := Mapping{Kind: "go", Count: 1, Bytes: int64(goTotal), Resident: min(m.Resident, int64(goUsed))}
			g.Dirty = min(m.Dirty, g.Resident)
			out = append(out, g)
			m.Bytes = max(0, m.Bytes-int64(goTotal)-arenaTable)
			m.Resident -= g.Resident
			m.Dirty -= g.Dirty
		}
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b Mapping) int {
		return cmp.Or(cmp.Compare(b.Resident, a.Resident), cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return out
}

func kib(v string) int64 {
	f := strings.Fields(v)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(f[0], 10, 64)
	return n << 10
}

// descriptors counts this process's descriptors by kind.
func descriptors(journals []Journal) ([]Descriptors, uint64) {
	var lim unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) // zero is unknown
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, lim.Cur
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, lim.Cur
	}
	type key struct{ kind, name string }
	count := map[key]int{}
	for _, n := range names {
		to, err := os.Readlink("/proc/self/fd/" + n)
		if err != nil {
			continue // this directory's own
		}
		k := key{}
		switch kind, _, _ := strings.Cut(to, ":"); {
		case kind == "socket" || kind == "pipe":
			k.kind = kind
		case kind == "anon_inode":
			k.kind = strings.Trim(strings.TrimPrefix(to, "anon_inode:"), "[]")
		default:
			k.kind, k.name = kindOf(strings.TrimSuffix(to, " (deleted)"), journals)
			if k.kind == "memfd" {
				k.name = ""
			}
		}
		if _, ok := count[k]; !ok && len(count) >= maxNames {
			k.name = "others"
		}
		count[k]++
	}
	out := make([]Descriptors, 0, len(count))
	for k, n := range count {
		out = append(out, Descriptors{k.kind, k.name, n})
	}
	slices.SortFunc(out, func(a, b Descriptors) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return out, lim.Cur
}

func readMachine() (m Machine) {
	if f, err := os.Open("/proc/meminfo"); err == nil {
		sc := bufio.NewScanner(f)
		for sc.Scan() {
			switch k, v, _ := strings.Cut(sc.Text(), ":"); k {
			case "MemTotal":
				m.Memory = kib(v)
			case "MemAvailable":
				m.Available = kib(v)
			}
		}
		f.Close()
	}
	if n, err := memlimit.FromCgroup(); err == nil && n > 0 && (m.Memory == 0 || n < uint64(m.Memory)) {
		m.Cgroup = int64(n)
		m.CgroupUsed = cgroupUsed()
	}
	return m
}

// cgroupUsed is what the process's control group has charged now; 0 where that
// can't be read.
func cgroupUsed() int64 {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		var files []string
		switch {
		case f[0] == "0" && f[1] == "":
			files = []string{"/sys/fs/cgroup" + f[2] + "/memory.current", "/sys/fs/cgroup/memory.current"}
		case slices.Contains(strings.Split(f[1], ","), "memory"):
			files = []string{"/sys/fs/cgroup/memory" + f[2] + "/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}
		}
		for _, name := range files {
			if b, err := os.ReadFile(name); err == nil {
				n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
				return n
			}
		}
	}
	return 0
}

// threadTime is the processor time of this thread.
func threadTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
