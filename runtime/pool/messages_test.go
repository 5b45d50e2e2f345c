package pool

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/market"
)

func frames(t testing.TB, o SliceOptions) *Slices[byte] {
	t.Helper()
	o.Name = "frames"
	s, err := NewSlices[byte](o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func class(t testing.TB, all []Stats, name string) Stats {
	t.Helper()
	for _, s := range all {
		if s.Class == name {
			return s
		}
	}
	t.Fatalf("no class %s", name)
	return Stats{}
}

func TestSlicesByClass(t *testing.T) {
	s := frames(t, SliceOptions{Min: 1000, Max: 8192})
	for n, want := range map[int]int{0: 1024, 1: 1024, 1024: 1024, 1025: 2048, 5000: 8192, 8192: 8192, 8193: 8193, 100_000: 100_000} {
		b := s.Lease(n)
		if len(b.Slice()) != want || cap(b.Slice()) != want || b.Cap() != want {
			t.Errorf("Lease(%d) gives %d", n, len(b.Slice()))
		}
		b.Return()
	}
	all := s.Stats()
	if o := class(t, all, Oversize); o.Leases != 2 || o.Live != 0 || o.Outstanding != 0 || o.Destroyed[Large] != 2 {
		t.Errorf("oversize: %+v", o)
	}
	if c := class(t, all, "1024"); c.Leases != 3 || c.IdleBytes != 1024*c.Idle || c.Idle == 0 {
		t.Errorf("1024: %+v", c)
	}
	var zero Buf[byte]
	if zero.Return(); zero.Slice() != nil || zero.Cap() != 0 {
		t.Error("the zero Buf holds something")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	b := s.Lease(100) // the allocator's
	if b.Cap() < 100 {
		t.Error(b.Cap())
	}
	b.Return()
	for _, c := range s.Stats() {
		if c.Live != 0 || c.Outstanding != 0 {
			t.Errorf("%+v", c)
		}
	}
}

func TestSlicesRefuseWhatTheyCantHold(t *testing.T) {
	if _, err := NewSlices[string](SliceOptions{Name: "x", Min: 1, Max: 2}); err == nil {
		t.Error("slices of strings were taken")
	}
	if _, err := NewSlices[struct{ p *int }](SliceOptions{Name: "x", Min: 1, Max: 2}); err == nil {
		t.Error("slices of pointers were taken")
	}
	if _, err := NewSlices[byte](SliceOptions{Name: "x", Min: 2, Max: 1}); err == nil {
		t.Error("classes from 2 to 1 were taken")
	}
}

// A slice that append moved goes to the class that it belongs to now.
func TestSlicesThatGrew(t *testing.T) {
	s := frames(t, SliceOptions{Min: 1024, Max: 8192})
	b := s.Lease(1024)
	e := append(b.Slice()[:0], make([]byte, 5000)...)
	b.Keep(e)
	if b.Cap() != cap(e) {
		t.Fatal(b.Cap())
	}
	b.Return()
	all := s.Stats()
	if c := class(t, all, "1024"); c.Live != 0 || c.Outstanding != 0 || c.Destroyed[Moved] != 1 {
		t.Errorf("1024: %+v", c)
	}
	if c := class(t, all, "4096"); c.Live != 1 || c.Idle != 1 || c.Created != 1 || c.Misses != 0 {
		t.Errorf("4096: %+v", c)
	}
	b = s.Lease(4000)
	if c := class(t, s.Stats(), "4096"); b.Cap() != 4096 || c.Hits != 1 {
		t.Errorf("%d: %+v", b.Cap(), c)
	}
	b.Keep(make([]byte, 10)) // too small for any class
	b.Return()
	b = s.Lease(4000)
	b.Keep(make([]byte, 1<<20)) // and too large
	b.Return()
	for _, c := range s.Stats() {
		if c.Live != 0 || c.Outstanding != 0 {
			t.Errorf("%+v", c)
		}
	}
}

func TestSlicesGrow(t *testing.T) {
	s := frames(t, SliceOptions{Min: 1024, Max: 8192})
	b := s.Grow(Buf[byte]{}, 0, 10)
	copy(b.Slice(), "a frame that grows")
	if same := s.Grow(b, 18, 1000); same != b {
		t.Error("a slice that was large enough moved")
	}
	for _, n := range []int{1025, 4000, 8193, 20_000} {
		if b = s.Grow(b, 18, n); b.Cap() < n || !bytes.HasPrefix(b.Slice(), []byte("a frame that grows")) {
			t.Fatalf("%d: %d %q", n, b.Cap(), b.Slice()[:18])
		}
	}
	b.Return()
	for _, c := range s.Stats() {
		if c.Outstanding != 0 {
			t.Errorf("%+v", c)
		}
	}
}

func TestSlicesBoundIdleBytes(t *testing.T) {
	s := frames(t, SliceOptions{Min: 1024, Max: 8192, MaxIdleBytes: 40 << 10})
	var held []Buf[byte]
	for range 100 {
		held = append(held, s.Lease(8192), s.Lease(1024))
	}
	for _, b := range held {
		b.Return()
	}
	for _, c := range s.Stats() {
		if c.IdleBytes > 40<<10 || c.Live != c.Idle {
			t.Errorf("%+v", c)
		}
	}
	if c := class(t, s.Stats(), "8192"); c.Idle == 0 || c.Destroyed[Full] != uint64(100-c.Idle) {
		t.Errorf("%+v", c)
	}
}

func TestMessages(t *testing.T) {
	var r Registry
	m, err := NewMessages(MessageOptions{Registry: &r})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l, err := m.Books.Lease()
		if err != nil {
			t.Fatal(err)
		}
		b := l.Value()
		if len(b.Bids)+len(b.Asks) != 0 || b.FirstSeq != 0 {
			t.Fatalf("%+v", b)
		}
		fill(b)
		b.FirstSeq = 7
		want := b.AppendTo(nil)
		lb, err := m.Batches.Lease()
		if err != nil {
			t.Fatal(err)
		}
		v := lb.Value()
		if v.Len() != 0 {
			t.Fatalf("%d records in a batch that was just leased", v.Len())
		}
		v.Append(b)
		v.Append(&market.Trade{Price: market.NewDecimal(1, 0)})
		v.AppendView(want)
		if v.Len() != 3 || !bytes.Equal(v.At(0), want) || !bytes.Equal(v.At(2), want) || v.At(1).Kind() != market.KindTrade {
			t.Fatalf("%d records", v.Len())
		}
		lb.Return()
		l.Return()
	}
	names := map[string]bool{}
	for _, s := range r.Stats() {
		names[s.Name] = true
		if s.Outstanding != 0 {
			t.Errorf("%+v", s)
		}
	}
	if len(names) != 3 {
		t.Errorf("pools %v", names)
	}
	for range 20 {
		r.Trim(time.Now())
	}
	for _, s := range r.Stats() {
		if s.Live != 0 {
			t.Errorf("%+v", s)
		}
	}
	if err := m.Close(); err != nil || len(r.Stats()) != 0 {
		t.Errorf("%v, %d pools are listed", err, len(r.Stats()))
	}
}

// Every field is reset, those that are added later, too.
func TestRecycleBook(t *testing.T) {
	var b market.Book
	v := reflect.ValueOf(&b).Elem()
	var set func(reflect.Value)
	set = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				set(v.Field(i))
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 3, 7))
		case reflect.Int64, reflect.Int32, reflect.Int16, reflect.Int8, reflect.Int:
			v.SetInt(1)
		default:
			v.SetUint(1)
		}
	}
	set(v)
	RecycleBook(&b)
	if cap(b.Bids) != 7 || cap(b.Asks) != 7 || len(b.Bids)+len(b.Asks) != 0 {
		t.Errorf("%d and %d levels, room for %d and %d", len(b.Bids), len(b.Asks), cap(b.Bids), cap(b.Asks))
	}
	b.Bids, b.Asks = nil, nil
	if !v.IsZero() {
		t.Errorf("%+v", b)
	}
}

// Leasing and returning a message allocates nothing.
func TestNoAllocations(t *testing.T) {
	if invariants {
		t.Skip("the invariants build traces all leases")
	}
	m, err := NewMessages(MessageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	view := (&market.Trade{}).AppendTo(nil)
	n := testing.AllocsPerRun(5000, func() {
		f := m.Frames.Lease(1000)
		b, _ := m.Books.Lease()
		r, _ := m.Batches.Lease()
		r.Value().AppendView(view)
		r.Return()
		b.Return()
		f.Return()
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMetricsSayWhatWasDone(t *testing.T) {
	if err := telemetry.Check(Descs()); err != nil {
		t.Fatal(err)
	}
	if n := len(Descs()); n < 15 {
		t.Fatalf("%d metrics", n)
	}
	var r Registry
	s := frames(t, SliceOptions{Min: 1024, Max: 4096, Registry: &r})
	s.Lease(1).Return()
	s.Lease(1).Return()
	held := s.Lease(3000)
	s.Lease(10_000).Return()
	bad := false
	p := make1(t, Options[thing]{MaxOutstanding: 2, Policy: Refuse, Registry: &r, OnFault: func(*Fault) {}, Validate: func(*thing) bool { return !bad }})
	a, b := lease(t, p), lease(t, p)
	p.Lease()
	a.Return()
	a.Return()
	bad = true
	b.Return()
	o := make1(t, Options[thing]{Name: "over", MaxOutstanding: 1, Registry: &r})
	x, y := lease(t, o), lease(t, o)
	x.Return()
	time.Sleep(time.Millisecond)

	reg := telemetry.NewRegistry()
	defer reg.Add(r.Report)()
	got := map[string]float64{}
	for _, v := range reg.Values() {
		got[strings.TrimPrefix(v.Desc.Name, "marketprism_pool_")+"/"+strings.Join(v.Labels, "/")] = v.Value
		if v.Desc.Type == telemetry.Hist {
			got[strings.TrimPrefix(v.Desc.Name, "marketprism_pool_")+"/"+strings.Join(v.Labels, "/")] = float64(v.Hist.Count)
		}
	}
	misses := got["misses_total/frames/1024"] // one for each processor that this goroutine ran on
	for name, want := range map[string]float64{
		"leases_total/frames": 4, "hits_total/frames": 4 - misses - 2, "returns_total/frames": 3, "created_objects_total/frames": misses + 2,
		"misses_total/frames/4096": 1, "misses_total/frames/oversize": 1, "outstanding_leases/frames/4096": 1, "outstanding_leases/frames/1024": 0,
		"idle_bytes/frames/1024": 1024 * misses, "idle_objects/frames": misses, "live_objects/frames": misses + 1, "oversize_leases_total/frames": 1,
		"destroyed_objects_total/frames/large": 1, "peak_outstanding_leases/frames": 3, "capacity_objects/frames": 0, "reuse_ratio/frames": 4 / (misses + 2),
		"traced_leases/frames": 1, "leak_sites/frames": 0, "wait_seconds/frames": 0,
		"capacity_objects/things": 2, "refused_leases_total/things": 1, "misused_leases_total/things": 1, "destroyed_objects_total/things/invalid": 1,
		"idle_objects/things": 1, "oldest_lease_seconds/things": 0, "waiting_goroutines/things": 0, "lost_leases_total/things": 0,
		"overflow_leases_total/over": 1, "outstanding_leases/over/": 1, "depot_exchanges_total/over": 0,
	} {
		v, ok := got[name]
		if !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if got["oldest_lease_seconds/frames"] < 0.001 {
		t.Errorf("the oldest lease is %v s old", got["oldest_lease_seconds/frames"])
	}
	y.Return()
	held.Return()
	for _, d := range Descs() {
		found := false
		for name := range got {
			found = found || strings.HasPrefix(name, strings.TrimPrefix(d.Name, "marketprism_pool_")+"/")
		}
		if !found {
			t.Errorf("%s is never emitted", d.Name)
		}
	}
}
