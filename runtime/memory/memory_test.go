package memory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/google/pprof/profile"

	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/wire/heap"
)

//go:noinline
func hold(n int) []byte { return make([]byte, n) }

// TestSitesAgreeWithPprof reads one heap twice: as a snapshot does, and as the
// pprof tool would.
func TestSitesAgreeWithPprof(t *testing.T) {
	var kept [][]byte
	for range 64 {
		kept = append(kept, hold(256<<10))
	}
	runtime.GC()
	var b bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&b, 0); err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	for _, s := range p.Sample {
		if f := s.Location[0].Line[0].Function.Name; strings.HasSuffix(f, "memory.hold") {
			want += s.Value[len(s.Value)-1]
		}
	}
	var got int64
	for _, s := range heap.NewReader().Read() {
		if strings.HasSuffix(s.Func, "memory.hold") {
			got += s.Bytes
			if s.Owner != "runtime/memory" || filepath.Base(s.File) != "memory_test.go" || s.Line == 0 {
				t.Errorf("%+v", s)
			}
		}
	}
	if want < 15*mib || math.Abs(float64(got-want)) > float64(want)/100 {
		t.Errorf("got %d bytes, pprof has %d", got, want)
	}
	runtime.KeepAlive(kept)
}

func newMonitor(t *testing.T, s Settings) *Monitor {
	t.Helper()
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSnapshotsAndDiff plants something of each kind between two snapshots and
// reads both back from the disk.
func TestSnapshotsAndDiff(t *testing.T) {
	dir := t.TempDir()
	leased := int64(3)
	m := newMonitor(t, Settings{Dir: dir, Every: -1, Pools: func() []Pool { return []Pool{{Name: "frames", Outstanding: leased}} },
		Load: func() Load { return Load{Frames: 5, Connections: 2, Books: 7} },
		Plugins: func() []Plugin {
			return []Plugin{{Name: "sink/x", Pid: os.Getpid(), Limit: 64 << 20, Ask: func(context.Context) (PluginHeap, error) {
				return PluginHeap{Live: uint64(leased) * mib, Goroutines: 4, Sites: []heap.Site{{Func: "x.y", File: "y.go", Line: 1, Bytes: leased * mib}}}, nil
			}}, {Name: "sink/silent", Pid: os.Getpid(), Ask: func(context.Context) (PluginHeap, error) { return PluginHeap{}, errors.New("no answer") }}}
		}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := m.Snapshot(t.Context(), "late"); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
	}()
	a, err := m.Snapshot(ctx, "before")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	kept := [][]byte{hold(24 * mib), hold(24 * mib)}
	leased = 9
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop := make(chan struct{})
	for range 10 {
		go func() { <-stop }()
	}
	runtime.GC()
	b, err := m.Snapshot(ctx, "after")
	if err != nil {
		t.Fatal(err)
	}
	close(stop)
	runtime.KeepAlive(kept)
	if b.Load.Books != 7 || b.Go.Percent == 0 || b.Go.Live == 0 || b.self().Resident == 0 || b.Processes[2].Why != "no answer" {
		t.Errorf("%+v", b)
	}
	h, err := ReadHistory(dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := h.Diff("", "")
	if err != nil {
		t.Fatal(err)
	}
	if d.From != a.ID || d.To != b.ID || d.Restarted {
		t.Errorf("%+v", d)
	}
	has := func(what string, all []Change, name string, atLeast int64) {
		for _, c := range all {
			if strings.Contains(c.Name, name) && c.By() >= atLeast {
				return
			}
		}
		t.Errorf("%s: no change of %q by %d in %+v", what, name, atLeast, all)
	}
	has("sites", d.Sites, "memory.hold", 30*mib)
	has("sites of a plugin", d.Sites, "sink/x x.y:1", 6*mib)
	has("subsystems", d.Subsystems, "runtime/memory", 30*mib)
	has("heaps", d.Heaps, "sink/x", 6*mib)
	has("pools", d.Pools, "frames", 6)
	has("goroutines", d.Goroutines, "TestSnapshotsAndDiff", 10)
	has("descriptors", d.Descriptors, "device", 1)
	var text bytes.Buffer
	if err := errors.Join(b.WriteText(&text, Text{}), d.WriteText(&text, Text{Color: true})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"runtime/memory.hold:", "sink/x", "no answer", "2 connections, 7 books", "+6", "\x1b[1m"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".new-123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHistory(dir, 5, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for i := range 9 {
		if err := h.Put(&Snapshot{Version: snapshotVersion, ID: at.Add(time.Duration(i) * time.Minute).Format(idLayout)}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := h.List()
	if err != nil || len(all) != 5 || all[0].ID != "20260506T071209.000Z" {
		t.Fatalf("%v, %v", all, err)
	}
	for id, want := range map[string]string{"latest": "20260506T071609.000Z", "previous": "20260506T071509.000Z", "first": all[0].ID, "20260506T0714": "20260506T071409.000Z"} {
		if s, err := h.Get(id); err != nil || s.ID != want {
			t.Errorf("%s: %v, %v", id, s, err)
		}
	}
	for _, id := range []string{"", "2026", "nothing"} {
		if _, err := h.Get(id); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, all[2].ID+snapshotExt), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Get(all[2].ID); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("a damaged file: %v", err)
	}
	h.keepMax = 1
	if err := h.trim(); err != nil {
		t.Fatal(err)
	}
	if all, _ = h.List(); len(all) != 1 {
		t.Errorf("%v", all)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestThresholds takes a snapshot when the live heap jumps.
func TestThresholds(t *testing.T) {
	b := newBench(t, Settings{Dir: t.TempDir(), Growth: 0.25})
	b.tick()
	for range 8 {
		b.tick()
	}
	if n := b.m.taken[byThreshold].Load(); n != 0 {
		t.Errorf("%d snapshots for nothing", n)
	}
	kept := hold(400 * mib)
	b.tick()
	if n := b.m.taken[byThreshold].Load(); n != 1 {
		t.Errorf("%d snapshots for 400 MiB", n)
	}
	s, err := b.m.history.Get("latest")
	if err != nil || !strings.Contains(s.Reason, "grew by") {
		t.Errorf("%v, %v", s, err)
	}
	runtime.KeepAlive(kept)
}

func TestHandler(t *testing.T) {
	m := newMonitor(t, Settings{Dir: t.TempDir(), Every: -1})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	mux := http.NewServeMux()
	for pattern, h := range m.Routes() {
		mux.Handle(pattern, h)
	}
	srv := httptest.NewServer(mux)
	defer func() {
		srv.Close()
		cancel()
		<-ended
	}()
	ask := func(method, path string, status int, v any) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, srv.URL+Root+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != status {
			t.Fatalf("%s %s: %s", method, path, resp.Status)
		}
		if v == nil {
			return
		}
		if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	var one, two Snapshot
	ask("GET", "snapshots/latest", 404, nil)
	ask("POST", "snapshots", 200, &one)
	ask("POST", "snapshots", 200, &two)
	var all []Entry
	ask("GET", "snapshots", 200, &all)
	if len(all) != 2 || all[1].ID != two.ID {
		t.Errorf("%v", all)
	}
	var again Snapshot
	ask("GET", "snapshots/"+one.ID, 200, &again)
	if again.ID != one.ID || len(again.Sites) != len(one.Sites) {
		t.Errorf("%+v", again)
	}
	var d Diff
	ask("GET", "diff?from="+one.ID+"&to="+two.ID, 200, &d)
	if d.From != one.ID || d.To != two.ID {
		t.Errorf("%+v", d)
	}
	var refused struct {
		Error struct {
			Status  int
			Message string
		}
	}
	ask("GET", "diff?from=nothing", 404, &refused)
	if refused.Error.Status != 404 || !strings.Contains(refused.Error.Message, "there are 2") {
		t.Errorf("%+v", refused.Error)
	}
	var leaks LeakReport
	ask("GET", "leaks", 200, &leaks)
	var advice []Advice
	ask("GET", "advice", 200, &advice)
	ask("PUT", "snapshots", 405, nil)
}

func TestAdvice(t *testing.T) {
	base := func() *Snapshot {
		return &Snapshot{Uptime: 600, DescriptorLimit: 1024, Machine: Machine{Memory: 16 << 30},
			Go:        GoState{Live: 50 * mib, Goal: 100 * mib, Total: 120 * mib, Percent: 100, Cycles: 60, GCShare: 0.01},
			Processes: []Process{{Name: "runtime", Resident: 150 * mib, Anonymous: 120 * mib}}}
	}
	if a := Advise(base(), nil); len(a) > 0 {
		t.Errorf("advice without need: %+v", a)
	}
	for _, c := range []struct {
		name, setting, value, evidence string
		with                           func(*Snapshot)
	}{
		{"a control group without GOMEMLIMIT", "GOMEMLIMIT", "448MiB", "512.0 MiB", func(s *Snapshot) { s.Machine.Cgroup = 512 * mib }},
		{"pressed to the limit", "GOMEMLIMIT", "192MiB", "take 20.0 %", func(s *Snapshot) { s.Go.Limit = 125 * mib; s.Go.GCShare = 0.2; s.Go.Cycles = 5 }},
		{"too many collections", "GOGC", "200", "take 8.0 %", func(s *Snapshot) { s.Go.GCShare = 0.08 }},
		{"little room", "GOGC", "50", "is resident", func(s *Snapshot) {
			s.Machine.Memory, s.Go.GCShare = 140*mib, 0.001
		}},
		{"a full control group", "memory limit of the control group", "192.0 MiB", "%", func(s *Snapshot) { s.Machine.Cgroup = 130 * mib; s.Go.Limit = 100 * mib }},
		{"a sink near its limit", "batch.max_records", "2500", "240.0 MiB", func(s *Snapshot) {
			s.Processes = append(s.Processes, Process{Name: "sink/p.lake", Limit: 256 * mib, Heap: &PluginHeap{Live: 240 * mib}})
			s.Batches = []Batch{{"p.lake", 5000}}
		}},
		{"journals in memory", "journal.max_size", "512MiB", "binance-spot-frames", func(s *Snapshot) {
			s.Machine.Memory = 2 << 30
			s.Mappings = []Mapping{{Kind: "journal", Name: "binance-spot-frames", Resident: 900 * mib}}
			s.Journals = []Journal{{Name: "binance-spot-frames", Max: 1 << 30, Segment: 64 * mib}}
		}},
		{"a pool at its bound", "limit of pool frames", "200", "99 of 100", func(s *Snapshot) { s.Pools = []Pool{{Name: "frames", Limit: 100, Peak: 99, Outstanding: 3}} }},
		{"an idle pool", "limit of pool frames", "20", "1000 objects are idle", func(s *Snapshot) {
			s.Pools = []Pool{{Name: "frames", Limit: 2000, Peak: 10, Idle: 1000, Bytes: 64 * mib}}
		}},
		{"descriptors", "LimitNOFILE", "4096", "800 descriptors", func(s *Snapshot) { s.Descriptors = []Descriptors{{"socket", "", 800}} }},
		{"a leak", "code at p.f:3", "no growth", "minutes", func(s *Snapshot) {
			s.Leaks = []Leak{{Kind: HeapSite, Name: "p.f", Line: 3, Process: "runtime", PerMinute: 200 * mib}}
		}},
	} {
		s := base()
		c.with(s)
		all := Advise(s, nil)
		ok := false
		for _, a := range all {
			ok = ok || a.Setting == c.setting && a.Value == c.value && strings.Contains(a.Evidence, c.evidence)
		}
		if !ok {
			t.Errorf("%s: %+v", c.name, all)
		}
		var b bytes.Buffer
		if err := WriteAdvice(&b, all, Text{}); err != nil || !strings.Contains(b.String(), c.setting) {
			t.Errorf("%s: %v\n%s", c.name, err, &b)
		}
	}
}

func TestLimit(t *testing.T) {
	old := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(old)
	for _, x := range []string{"GOMEMLIMIT", "AUTOMEMLIMIT"} {
		if _, ok := os.LookupEnv(x); ok {
			t.Skip(x + " is set")
		}
	}
	l, err := setLimit(memlimit.Limit(1000 * mib))
	if err != nil || !l.Set || l.Bytes != 900*mib || debug.SetMemoryLimit(-1) != 900*mib || !strings.Contains(l.Why, "90 %") {
		t.Errorf("%+v, %v", l, err)
	}
	t.Setenv("GOMEMLIMIT", "5GiB")
	if l, err = setLimit(memlimit.Limit(100 * mib)); err != nil || l.Set || l.Bytes != 900*mib || !strings.Contains(l.Why, "stands") {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestMetrics(t *testing.T) {
	if err := telemetry.Check(Descs()); err != nil {
		t.Error(err)
	}
	b := newBench(t, Settings{Dir: t.TempDir(), Pools: func() []Pool { return []Pool{{Name: "frames", Outstanding: 42}} },
		Plugins: func() []Plugin {
			return []Plugin{{Name: "source/f", Pid: os.Getpid(), Ask: func(context.Context) (PluginHeap, error) { return PluginHeap{Live: 77, Goroutines: 5}, nil }}}
		}})
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(3 << 40))
	kept := hold(48 * mib)
	runtime.GC()
	b.tick()
	s := b.m.Latest()
	s.Leaks = []Leak{{Kind: HeapSite, Process: "runtime", PerMinute: 6 * mib}} // what the detector does has tests of its own
	reg := telemetry.NewRegistry()
	defer reg.Add(b.m.Report)()
	got := map[string]float64{}
	for _, v := range reg.Values() {
		got[strings.TrimPrefix(v.Desc.Name, "marketprism_memory_")+strings.Join(v.Labels, ",")] = v.Value
	}
	for name, want := range map[string]float64{"heap_live_bytessource/f": 77, "goroutinessource/f": 5, "leaksheap": 1, "leaksgoroutines": 0,
		"growth_bytes_per_minuteruntime": 6 * mib, "growth_bytes_per_minutesource/f": 0, "samples_total": 1, "snapshots_totalinterval": 1, "snapshots_totalleak": 0,
		"plugins_silent": 0, "limit_bytes": 3 << 40, "mapped_bytesgo": float64(mapped(s, "go")), "mapped_bytesbinary": float64(mapped(s, "binary")),
		"descriptors_limit": float64(s.DescriptorLimit), "anonymous_bytesruntime": float64(s.self().Anonymous), "resident_bytesruntime": float64(s.self().Resident), "gc_cpu_ratio": s.Go.GCShare, "heap_goal_bytes": float64(s.Go.Goal),
		"headroom_bytes": float64(s.headroom()), "exhaustion_seconds": float64(s.headroom()) / (6 * mib) * 60} {
		if v, ok := got[name]; !ok || math.Abs(v-want) > 1e-6*math.Abs(want) {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
	}
	if got["mapped_bytesgo"] < 47*mib || got["subsystem_bytesruntime/memory"] < 47*mib || got["heap_live_bytesruntime"] < 47*mib || got["history_bytes"] == 0 || got["descriptors_limit"] == 0 {
		t.Errorf("%v", got)
	}
	runtime.KeepAlive(kept)
}

func mapped(s *Snapshot, kind string) (n int64) {
	for i := range s.Mappings {
		if s.Mappings[i].Kind == kind {
			n += s.Mappings[i].Bytes
		}
	}
	return n
}

// BenchmarkTick is what a sample costs, collections apart, with some hundred
// goroutines.
func BenchmarkTick(b *testing.B) {
	m, err := New(Settings{Every: -1})
	if err != nil {
		b.Fatal(err)
	}
	stop := make(chan struct{})
	defer close(stop)
	for range 200 {
		go func() { <-stop }()
	}
	for b.Loop() {
		if err := m.Tick(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

var sunk []byte

// BenchmarkRate is what finer sampling of allocations costs.
func BenchmarkRate(b *testing.B) {
	defer func(r int) { runtime.MemProfileRate = r }(runtime.MemProfileRate)
	for _, r := range []int{0, 512 << 10, 64 << 10, heap.Rate, 4 << 10} {
		b.Run(Size(int64(r)), func(b *testing.B) {
			runtime.MemProfileRate = r
			b.SetBytes(256)
			for b.Loop() {
				sunk = make([]byte, 256)
			}
		})
	}
}
