package journal

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// reported are a journal's values by name, those of refused_total by cause.
func reported(j *Journal) map[string]telemetry.Value {
	r := telemetry.NewRegistry()
	r.Add(func(e *telemetry.Emitter) { j.Report(e, "feed", "frames") })
	m := map[string]telemetry.Value{}
	for _, v := range r.Values() {
		name := v.Desc.Name
		if len(v.Labels) > 2 {
			name += "/" + v.Labels[2]
		}
		m[name] = v
	}
	return m
}

func (ms metricsWanted) check(t *testing.T, j *Journal) {
	t.Helper()
	got := reported(j)
	for name, want := range ms {
		if v, ok := got["marketprism_journal_"+name]; !ok || v.Value != want {
			t.Errorf("%s is %v, want %v", name, v.Value, want)
		}
	}
}

type metricsWanted map[string]float64

func TestMetrics(t *testing.T) {
	if err := telemetry.Check(Descs()); err != nil {
		t.Fatal(err)
	}
	opt := Options{Dir: filepath.Join(t.TempDir(), "j"), SegmentBytes: 64 << 10, MaxBytes: 256 << 10, Sync: SyncAlways}
	j, _ := open(t, opt)
	then := time.Now().Add(-time.Hour)
	size := float64(shm.RecordBytes(1000))
	for range 10 {
		if _, err := j.Append(shm.Header{Kind: 1, Wall: then.UnixNano()}, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.Append(shm.Header{Kind: 1}, make([]byte, shm.MaxPayload+1)); err == nil {
		t.Error("too large a record was taken")
	}
	metricsWanted{"records_total": 10, "bytes_total": 10 * size, "refused_total/too_large": 1, "refused_total/disk_full": 0, "full": 0,
		"segments": 1, "segments_dropped_total": 0, "max_bytes": 256 << 10, "unsynced_bytes": 0, "sync_errors_total": 0,
		"recovered_clean": 1, "recovered_bad_records": 0, "recovered_torn_bytes": 0, "recovered_damaged_segments": 0}.check(t, j)
	got := reported(j)
	if n := got["marketprism_journal_sync_seconds"].Hist.Count; n < 10 {
		t.Errorf("%d syncs were timed, want one an append at least", n)
	}
	if s := got["marketprism_journal_retained_seconds"].Value; s < 3600 || s > 3700 {
		t.Errorf("retained %v s, want an hour", s)
	}
	// A reader holds the beginning, and retention passes it.
	j.Hold("sink", j.Oldest())
	began := j.Oldest()
	before := j.UntilPassed(began)
	for range 300 {
		if _, err := j.Append(shm.Header{Kind: 1, Wall: time.Now().UnixNano()}, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if after := j.UntilPassed(began); before <= 0 || math.IsInf(before, 1) || after != 0 {
		t.Errorf("until the reader is passed: %v s, then %v s", before, after)
	}
	st := j.Stats()
	metricsWanted{"records_total": 310, "bytes_total": 310 * size, "readers_passed_total": float64(st.Recycled + st.Unlinked), "segments": float64(st.Segments),
		"segments_late_total":    float64(st.Rolls), // Run, which would prepare them, doesn't run
		"segments_dropped_total": float64(st.Rolls) + 1 - float64(st.Segments), "used_bytes": float64(st.TotalBytes)}.check(t, j)
	if v := reported(j)["marketprism_journal_used_bytes"].Value; v > 256<<10 || v < 128<<10 {
		t.Errorf("%v bytes are used of 256 KiB", v)
	}
	if s := reported(j)["marketprism_journal_retained_seconds"].Value; s < 0 || s > 60 {
		t.Errorf("retained %v s once the old records are gone", s)
	}
	wall, ok, err := j.WallAfter(j.Oldest())
	if err != nil || !ok || time.Since(time.Unix(0, wall)) > time.Minute {
		t.Errorf("the oldest record is of %v (%v, %v)", time.Unix(0, wall), ok, err)
	}
	if _, ok, err := j.WallAfter(j.Tail()); ok || err != nil {
		t.Errorf("a record behind the last: %v, %v", ok, err)
	}
}

func TestRate(t *testing.T) {
	r := rate{}
	t0 := time.Now()
	r.mid.at = t0
	for s := range 200 {
		if got := r.of(t0.Add(time.Duration(s+1)*time.Second), uint64(s+1)*1000); math.Abs(got-1000) > 1e-6 {
			t.Fatalf("after %d s: %v bytes/s", s+1, got)
		}
	}
	// What has stopped is forgotten within a minute.
	var got float64
	for s := 200; s < 300; s++ {
		got = r.of(t0.Add(time.Duration(s)*time.Second), 200_000)
	}
	if got > 1e-300 {
		t.Errorf("%v bytes/s long after the last", got)
	}
}
