package memory

import (
	"bytes"
	"container/list"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/heap"
)

// The leaks below are real: what they keep is never given back while the test
// runs. Each is called once for each interval of the detector's clock, which the
// test moves on, and leaks what it would have leaked meanwhile.

func TestMain(m *testing.M) {
	heap.SetRate()
	os.Exit(m.Run())
}

const mib = 1 << 20

// each is how many bytes one interval leaks at so many MiB a minute.
func each(perMinute float64) int { return int(perMinute * mib / 60 * Defaults().Interval.Seconds()) }

type plant struct {
	name string
	kind Kind
	site string // what the finding must name
	leak func()
	// only, if set, says at which intervals it leaks.
	only func(tick int) bool
}

type planted struct {
	slice    [][]byte
	byKey    map[string]*[512]byte
	block    chan struct{}
	timers   []*time.Timer
	maps     [][]byte
	files    []*os.File
	sockets  []int
	leased   int64
	funcs    []func() int
	syncMap  sync.Map
	strings  []string
	ring     []*[256]byte
	ctx      context.Context
	tickers  []*time.Ticker
	cache    map[int][]float64
	noisy    [][]byte
	churn    [64][]byte
	fast     [][]byte
	loaded   [][]byte
	saw      [][]byte
	sawFloor [][]byte
	many     []any
	list     *list.List
	buffers  []*bytes.Buffer
	decoded  []map[string]any
	channel  chan []byte
	n        int
}

//go:noinline
func (p *planted) leakSlice() { p.slice = append(p.slice, make([]byte, each(1))) }

//go:noinline
func (p *planted) leakMap() {
	for range each(1) / 512 {
		p.n++
		p.byKey[fmt.Sprintf("order-%d", p.n)] = new([512]byte)
	}
}

//go:noinline
func (p *planted) leakGoroutines() {
	for range 64 {
		go p.waitForEver()
	}
}

func (p *planted) waitForEver() { <-p.block }

//go:noinline
func (p *planted) leakTimers() {
	for range each(1) / 1024 {
		var state [1024 - 128]byte
		p.timers = append(p.timers, time.AfterFunc(1000*time.Hour, func() { _ = state[0] }))
	}
}

//go:noinline
func (p *planted) leakMmap(t *testing.T) {
	b, err := syscall.Mmap(-1, 0, each(1), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	p.maps = append(p.maps, b)
}

func (p *planted) leakFile(t *testing.T, name string) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	p.files = append(p.files, f)
}

func (p *planted) leakSocket(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p.sockets = append(p.sockets, fd)
}

//go:noinline
func (p *planted) leakClosures() {
	for range each(1) / 2048 {
		var big [2048]byte
		big[3] = byte(p.n)
		p.funcs = append(p.funcs, func() int { return len(big) + int(big[3]) })
	}
}

//go:noinline
func (p *planted) leakSyncMap() {
	for range each(1) / 256 {
		p.n++
		p.syncMap.Store(p.n, new([256]byte))
	}
}

//go:noinline
func (p *planted) leakSubstring() {
	for range each(1) / 4096 {
		frame := strings.Repeat("x", 4096)
		p.strings = append(p.strings, frame[:8]) // 8 bytes keep 4096
	}
}

//go:noinline
func (p *planted) leakRing() {
	for range each(1) / 256 {
		if len(p.ring) == cap(p.ring) {
			p.ring = append(make([]*[256]byte, 0, 2*cap(p.ring)+16), p.ring...)
		}
		p.ring = append(p.ring, new([256]byte)) // the reader never came
	}
}

type ctxKey struct{ n int }

//go:noinline
func (p *planted) leakContext() {
	for range each(1) / 512 {
		p.n++
		p.ctx = context.WithValue(p.ctx, ctxKey{p.n}, new([448]byte))
	}
}

//go:noinline
func (p *planted) leakTickers() {
	for range each(1) / 256 {
		p.tickers = append(p.tickers, time.NewTicker(1000*time.Hour))
	}
}

//go:noinline
func (p *planted) leakCache() {
	for range each(1) / 800 {
		p.n++
		p.cache[p.n] = make([]float64, 100)
	}
}

// leakNoisy leaks at the very line that also makes garbage of changing size.
//
//go:noinline
func (p *planted) leakNoisy(tick int) {
	left := each(1)
	for i := range 512 {
		n := 1024 + (tick*7919+i*104729)%4096
		b := make([]byte, n)
		p.churn[i%len(p.churn)] = b // lives for a while
		if left > 0 && i%5 == 0 {
			p.noisy = append(p.noisy, b)
			left -= n
		}
	}
}

//go:noinline
func (p *planted) leakFast() { p.fast = append(p.fast, make([]byte, each(20))) }

//go:noinline
func (p *planted) leakUnderLoad() { p.loaded = append(p.loaded, make([]byte, each(2))) }

// leakSawtooth fills up and is emptied each half minute, and keeps a little.
//
//go:noinline
func (p *planted) leakSawtooth(tick int) {
	for range 8 {
		p.saw = append(p.saw, make([]byte, mib/4))
	}
	if tick%3 == 0 {
		p.sawFloor = append(p.sawFloor, p.saw[0], p.saw[1]) // 1 MiB a minute
		p.saw = nil
	}
}

//go:noinline
func (p *planted) leakManySites() {
	for range each(1.2) / (16 + 32 + 48 + 64 + 80 + 96 + 112 + 128) {
		p.many = append(p.many, new([16]byte),
			new([32]byte),
			new([48]byte),
			new([64]byte),
			new([80]byte),
			new([96]byte),
			new([112]byte),
			new([128]byte))
	}
}

//go:noinline
func (p *planted) leakList() {
	for range each(1) / (48 + 160) {
		p.list.PushBack(new([160]byte))
	}
}

//go:noinline
func (p *planted) leakBuffers() {
	for range each(1) / 4096 {
		b := new(bytes.Buffer)
		b.Write(make([]byte, 3000))
		p.buffers = append(p.buffers, b)
	}
}

//go:noinline
func (p *planted) leakDecoded(t *testing.T) {
	for range each(1) / 400 {
		var m map[string]any
		if err := json.Unmarshal([]byte(`{"symbol":"BTCUSDT","price":"1.5","side":"buy","id":123456,"venue":"binance"}`), &m); err != nil {
			t.Fatal(err)
		}
		p.decoded = append(p.decoded, m)
	}
}

//go:noinline
func (p *planted) leakChannel() {
	for range each(1) / 8192 {
		p.channel <- make([]byte, 8192) // nobody receives
	}
}

// healthy is what grows, shrinks and churns in a program that doesn't leak.
type healthy struct {
	warm    [][]byte // fills up, and is then full
	books   [][]byte // follows the load
	window  [64][]byte
	ratchet []byte // keeps the size of the greatest burst
	n       int
}

//go:noinline
func (h *healthy) warmUp() {
	for range max(1, (200-len(h.warm))/8) {
		if len(h.warm) < 200 {
			h.warm = append(h.warm, make([]byte, 32<<10))
		}
	}
}

//go:noinline
func (h *healthy) follow(load int) {
	for len(h.books) < load {
		h.books = append(h.books, make([]byte, 8<<10))
	}
	clear(h.books[load:])
	h.books = h.books[:load]
}

//go:noinline
func (h *healthy) rolling() {
	for range 16 {
		h.n++
		h.window[h.n%len(h.window)] = make([]byte, 16<<10+h.n%7*4096)
	}
}

//go:noinline
func (h *healthy) burst(n int) {
	if n > cap(h.ratchet) {
		h.ratchet = make([]byte, n)
	}
}

// bench runs a monitor on a clock of its own.
type bench struct {
	t     *testing.T
	m     *Monitor
	now   time.Time
	load  Load
	rate  float64
	found map[string]time.Duration // Kind and Site: time since the first tick
	first time.Time
}

func newBench(t *testing.T, s Settings) *bench {
	b := &bench{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), rate: 1000, found: map[string]time.Duration{}}
	b.load.Connections = 4
	s.Now = func() time.Time { return b.now }
	s.Load = func() Load { return b.load }
	s.Every = -1
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	b.m = m
	return b
}

func (b *bench) tick() {
	b.t.Helper()
	b.now = b.now.Add(b.m.t.Interval)
	b.load.Frames += uint64(b.rate * b.m.t.Interval.Seconds())
	if err := b.m.Tick(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	for _, l := range b.m.Leaks() {
		k := string(l.Kind) + ": " + l.Site()
		if _, ok := b.found[k]; !ok && !b.first.IsZero() {
			b.found[k] = b.now.Sub(b.first)
		}
	}
}

// threadStacks says that threads' stacks are mapped as other memory is.
var threadStacks bool

// TestPlantedLeaks plants all of them at once, beside what is healthy.
func TestPlantedLeaks(t *testing.T) {
	p := &planted{byKey: map[string]*[512]byte{}, block: make(chan struct{}), ctx: context.Background(), cache: map[int][]float64{},
		list: list.New(), channel: make(chan []byte, 1<<16)}
	t.Cleanup(func() {
		close(p.block)
		for _, f := range p.files {
			f.Close()
		}
		for _, fd := range p.sockets {
			syscall.Close(fd)
		}
		for _, m := range p.maps {
			_ = syscall.Munmap(m)
		}
		for _, x := range p.timers {
			x.Stop()
		}
		for _, x := range p.tickers {
			x.Stop()
		}
	})
	dir := t.TempDir()
	name := dir + "/left.jsonl"
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tick := 0
	h := &healthy{}
	b := newBench(t, Settings{Pools: func() []Pool {
		return []Pool{{Name: "levels", Outstanding: p.leased + int64(tick%5)}, {Name: "frames", Outstanding: int64(10 + tick%7)}}
	}})
	plants := []plant{
		{"append to a slice", HeapSite, "leakSlice", p.leakSlice, nil},
		{"a map that grows", HeapFunc, "leakMap", p.leakMap, nil},
		{"goroutines on a channel", Goroutines, "waitForEver", p.leakGoroutines, nil},
		{"timers", HeapSite, "leakTimers", p.leakTimers, nil},
		{"mmap", Mapped, "anonymous", func() { p.leakMmap(t) }, nil},
		{"files", FDs, "file " + dir, func() { p.leakFile(t, name) }, nil},
		{"sockets", FDs, "socket", func() { p.leakSocket(t) }, nil},
		{"leases", Leases, "levels", func() { p.leased += 2 }, nil},
		{"closures", HeapSite, "leakClosures", p.leakClosures, nil},
		{"sync.Map", HeapFunc, "leakSyncMap", p.leakSyncMap, nil},
		{"substrings", HeapSite, "leakSubstring", p.leakSubstring, nil},
		{"a ring that grows", HeapSite, "leakRing", p.leakRing, nil},
		{"a chain of contexts", HeapFunc, "leakContext", p.leakContext, nil},
		{"tickers", HeapSite, "leakTickers", p.leakTickers, nil},
		{"a cache without eviction", HeapSite, "leakCache", p.leakCache, nil},
		{"among noise", HeapSite, "leakNoisy", func() { p.leakNoisy(tick) }, nil},
		{"fast", HeapSite, "leakFast", p.leakFast, nil},
		{"a sawtooth whose floor rises", HeapSite, "leakSawtooth", func() { p.leakSawtooth(tick) }, nil},
		{"small objects at many sites", HeapFunc, "leakManySites", p.leakManySites, nil},
		{"a list", HeapSite, "leakList", p.leakList, nil},
		{"buffers", HeapSite, "leakBuffers", p.leakBuffers, nil},
		{"decoded JSON", HeapSite, "leakDecoded", func() { p.leakDecoded(t) }, nil},
		{"a channel without a reader", HeapSite, "leakChannel", p.leakChannel, nil},
	}
	if threadStacks {
		plants = slices.DeleteFunc(plants, func(x plant) bool { return x.kind == Mapped })
	}
	for range 24 { // four minutes of health
		tick++
		h.warmUp()
		h.rolling()
		b.rate = 1000 + float64(tick*37%100)
		b.tick()
	}
	for k := range b.m.Leaks() {
		t.Errorf("found before anything leaked: %+v", b.m.Leaks()[k])
	}
	b.first = b.now
	for range 30 { // five minutes
		tick++
		h.warmUp()
		h.rolling()
		b.rate = 1000 + float64(tick*37%100)
		for _, x := range plants {
			x.leak()
		}
		b.tick()
	}
	var worst time.Duration
	for _, x := range plants {
		at, ok := time.Duration(0), false
		for k, d := range b.found {
			kind, site, _ := strings.Cut(k, ": ")
			if !strings.Contains(site, x.site) || Kind(kind) != x.kind && !(heapKind(x.kind) && heapKind(Kind(kind))) {
				continue
			}
			if !ok || d < at {
				at, ok = d, true
			}
		}
		if !ok {
			t.Errorf("%s: not found", x.name)
			continue
		}
		worst = max(worst, at)
		t.Logf("%-30s %-14s found after %v", x.name, x.kind, at)
	}
	t.Logf("the slowest was found after %v", worst)
	for k := range b.found {
		if !strings.Contains(k, "leak") && !strings.Contains(k, "waitForEver") && !strings.Contains(k, "file "+dir) &&
			k != "descriptors: socket" && k != "mapped: anonymous" && k != "leases: levels" && !strings.HasPrefix(k, "heap subsystem: runtime/memory") {
			t.Errorf("a false alarm: %s", k)
		}
	}
	runtime.KeepAlive(p)
	runtime.KeepAlive(h)
}
