package journal

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

func open(tb testing.TB, opt Options) (*Journal, Recovery) {
	tb.Helper()
	if opt.Dir == "" {
		opt.Dir = tb.TempDir()
	}
	j, rec, err := Open(opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { j.Close() })
	return j, rec
}

// run starts Run and returns what stops it.
func run(tb testing.TB, j *Journal) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	}
}

// BenchmarkAppend appends 250-byte records where the pages are mapped and
// dirty: into one segment, from its start again when it is full.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int64{8 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("%dMiB", size>>20), func(b *testing.B) {
			j, _ := open(b, Options{MaxBytes: 4 * size, SegmentBytes: size})
			payload := make([]byte, 250)
			h := shm.Header{Kind: 1, Conn: 3}
			start := j.off
			for j.off+512 < j.limit {
				j.Append(h, payload)
			}
			b.ReportAllocs()
			b.ResetTimer()
			f0 := faults()
			for b.Loop() {
				if j.off+512 > j.limit {
					j.off = start
				}
				h.Wall++
				if _, err := j.Append(h, payload); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(faults()-f0)/float64(b.N), "faults/op")
		})
	}
}

// BenchmarkAppendRoll appends through segments that are rolled and used again.
func BenchmarkAppendRoll(b *testing.B) {
	j, _ := open(b, Options{MaxBytes: 256 << 20, SegmentBytes: 32 << 20})
	stop := run(b, j)
	defer stop()
	payload := make([]byte, 250)
	h := shm.Header{Kind: 1, Conn: 3}
	for range 2 << 20 {
		j.Append(h, payload)
	}
	f0 := faults()
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		h.Wall++
		if _, err := j.Append(h, payload); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(faults()-f0)/float64(b.N), "faults/op")
}

func faults() int64 {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return r.Minflt
}

// BenchmarkAppendSyncSaturated appends as fast as it can with a 50 ms sync: the
// disk's bandwidth is in it.
func BenchmarkAppendSyncSaturated(b *testing.B) {
	j, _ := open(b, Options{MaxBytes: 1 << 30, SegmentBytes: 64 << 20, Sync: SyncEvery(50 * time.Millisecond)})
	stop := run(b, j)
	defer stop()
	payload := make([]byte, 250)
	h := shm.Header{Kind: 1, Conn: 3}
	for range 6 << 20 { // until segments are used again
		j.Append(h, payload)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		h.Wall++
		if _, err := j.Append(h, payload); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	st := j.Stats()
	b.ReportMetric(float64(st.Recycled), "recycled")
	b.ReportMetric(float64(st.Late), "late")
	b.ReportMetric(float64(st.SyncedBytes)/float64(st.Syncs)/(1<<20), "MiB/sync")
}

func BenchmarkRead(b *testing.B) {
	j, _ := open(b, Options{MaxBytes: 256 << 20, SegmentBytes: 64 << 20})
	payload := make([]byte, 250)
	const n = 2_500
	for range n {
		j.Append(shm.Header{Kind: 1}, payload)
	}
	r, _, err := j.OpenReader(0)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	i := 0
	var rec shm.Record
	for b.Loop() {
		ok, err := r.Read(&rec)
		if err != nil {
			b.Fatal(err)
		}
		if i++; !ok {
			r.Reset(shm.SegmentHeaderBytes, ^uint64(0)&^7)
		}
	}
}

// BenchmarkAppendSync appends bursts of 400 at 200,000 records a second (58
// MB/s) with a 50 ms sync, on segments that are used again. ns/append is the
// mean of what the bursts took, cpu-ns/op the whole process's CPU less that of
// waiting for the next burst, background work included.
func BenchmarkAppendSync(b *testing.B) {
	const burst, every = 400, 2 * time.Millisecond
	j, _ := open(b, Options{MaxBytes: 256 << 20, SegmentBytes: 16 << 20, Sync: SyncEvery(50 * time.Millisecond)})
	stop := run(b, j)
	defer stop()
	payload := make([]byte, 250)
	h := shm.Header{Kind: 1, Conn: 3}
	for j.Stats().Recycled == 0 {
		j.Append(h, payload)
	}
	if err := j.Sync(); err != nil {
		b.Fatal(err)
	}
	late := j.Stats().Late
	b.ReportAllocs()
	b.ResetTimer()
	var spent time.Duration
	n, begin, cpu := 0, time.Now(), cpuTime()
	for b.Loop() {
		if n%burst == 0 {
			if d := time.Until(begin.Add(time.Duration(n/burst) * every)); d > 0 {
				time.Sleep(d)
			}
			t := time.Now()
			for range burst {
				if _, err := j.Append(h, payload); err != nil {
					b.Fatal(err)
				}
			}
			spent += time.Since(t)
		}
		n++
	}
	b.StopTimer()
	appended := float64((n + burst - 1) / burst * burst)
	b.ReportMetric(float64(cpuTime()-cpu)/appended, "cpu-ns/op")
	b.ReportMetric(float64(spent)/appended, "ns/append")
	b.ReportMetric(float64(j.Stats().Recycled), "recycled")
	b.ReportMetric(float64(j.Stats().Late-late), "late")
}

func cpuTime() time.Duration {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkAppendPaced appends 250-byte records at 40,000 a second with a
// 50 ms sync, and reports the latency of Append at its quantiles.
func BenchmarkAppendPaced(b *testing.B) {
	const rate = 40_000
	j, _ := open(b, Options{MaxBytes: 64 << 20, SegmentBytes: 8 << 20, Sync: SyncEvery(50 * time.Millisecond)})
	stop := run(b, j)
	defer stop()
	payload := make([]byte, 250)
	h := shm.Header{Kind: 1, Conn: 3}
	for range 4 * (8 << 20) / 288 { // so that recycling begins early
		j.Append(h, payload)
	}
	lat := make([]time.Duration, 0, 1<<20)
	b.ReportAllocs()
	b.ResetTimer()
	begin := time.Now()
	for b.Loop() {
		at := begin.Add(time.Duration(len(lat)) * time.Second / rate)
		for time.Until(at) > 0 {
			runtime.Gosched()
		}
		t := time.Now()
		if _, err := j.Append(h, payload); err != nil {
			b.Fatal(err)
		}
		if len(lat) < cap(lat) {
			lat = append(lat, time.Since(t))
		}
	}
	b.StopTimer()
	slices.Sort(lat)
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50-ns", .5}, {"p99-ns", .99}, {"p99.9-ns", .999}, {"max-ns", 1}} {
		b.ReportMetric(float64(lat[int(q.q*float64(len(lat)-1))]), q.name)
	}
	st := j.Stats()
	b.ReportMetric(float64(st.Recycled), "recycled")
	b.ReportMetric(float64(st.Late), "late")
}

// BenchmarkOpen opens a journal of 64 MiB segments that a killed process left.
func BenchmarkOpen(b *testing.B) {
	opt := Options{Dir: b.TempDir(), SegmentBytes: 64 << 20, MaxBytes: 512 << 20}
	j, _ := open(b, opt)
	payload := make([]byte, 250)
	for b.Loop() {
		b.StopTimer()
		for range 50_000 {
			j.Append(shm.Header{Kind: 1}, payload)
		}
		abandon(j)
		b.StartTimer()
		var err error
		if j, _, err = Open(opt); err != nil {
			b.Fatal(err)
		}
	}
	j.Close()
}
