package ring

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// pair makes both ends of a ring in one process: the producer maps a duplicate
// of the descriptor, as a plugin process does.
func pair(t testing.TB, size int, from uint64, full func() bool) (*Producer, *Consumer, *Bell) {
	t.Helper()
	bell, err := NewBell()
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(size, from)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(c.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	p, err := OpenProducer(fd, int(bell.File().Fd()), full)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); c.Close(); bell.Close() })
	return p, c, bell
}

type modelEntry struct {
	pos, next  uint64
	remembered bool
	data       []byte
}

// TestRingModel compares a ring with a list of entries, across wraps, chunks,
// partial polls and unpublished entries.
func TestRingModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var want []modelEntry
		var c *Consumer
		var b Batch
		var upto uint64
		take := func(max int) {
			if err := c.Poll(&b, max); err != nil {
				r.Fatal(err)
			}
			for _, e := range b.Entries {
				w := want[0]
				want = want[1:]
				if e.Pos != w.pos || e.Next != w.next || e.Remembered != w.remembered || !bytes.Equal(e.Data, w.data) {
					r.Fatalf("entry %d to %d of %d bytes, not %d to %d of %d", e.Pos, e.Next, len(e.Data), w.pos, w.next, len(w.data))
				}
			}
			if b.Upto < upto {
				r.Fatalf("upto went back from %d to %d", upto, b.Upto)
			}
			upto = b.Upto
		}
		var p *Producer
		p, c, _ = pair(t, 64<<10, 8, func() bool { take(1 << 20); return true })
		pos := uint64(8)
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0, 1:
				n := rapid.OneOf(rapid.IntRange(0, 500), rapid.IntRange(0, 200<<10)).Draw(r, "bytes")
				e := modelEntry{pos: pos, next: pos + 64, data: bytes.Repeat([]byte{byte(pos / 64)}, n)}
				want = append(want, e)
				p.Append(e.pos, e.next, 0, e.data)
				pos += 64
			case 2:
				p.Publish(pos)
			case 3:
				take(rapid.IntRange(1, 100_000).Draw(r, "max"))
			}
		}
		p.Publish(pos)
		for len(want) > 0 || upto < pos {
			before := len(want)
			if take(1 << 20); len(want) == before && upto < pos {
				r.Fatalf("%d entries are missing, upto %d of %d", len(want), upto, pos)
			}
		}
		if c.Ready() || !c.Empty() {
			r.Fatal("ready with nothing left")
		}
	})
}

// FuzzConsumer polls a ring whose memory a plugin filled with anything. It must
// return entries or ErrGarbage, within its bounds.
func FuzzConsumer(f *testing.F) {
	f.Add(uint64(32), []byte{8, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add(uint64(64<<10), bytes.Repeat([]byte{1, 0, 0, 0, 1}, 9000))
	f.Add(^uint64(7), []byte{})
	f.Fuzz(func(t *testing.T, head uint64, data []byte) {
		c, err := New(64<<10, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		copy(c.m.data, data)
		c.m.h.out.Store(head)
		var b Batch
		for range 100 {
			if err := c.Poll(&b, 1<<20); err != nil {
				if !errors.Is(err, ErrGarbage) {
					t.Fatal(err)
				}
				return
			}
			total := 0
			for _, e := range b.Entries {
				total += len(e.Data)
			}
			if total > 64<<10 {
				t.Fatalf("%d bytes out of a ring of 64 KiB", total)
			}
			if len(b.Entries) == 0 {
				return
			}
		}
	})
}

func TestBellWakes(t *testing.T) {
	p, c, bell := pair(t, 64<<10, 0, nil)
	done, looked := make(chan bool), make(chan struct{}, 1)
	ready := func() bool {
		yes := c.Ready()
		if !yes && c.m.h.parked.Load() != 0 { // it looked after it said that it would sleep
			select {
			case looked <- struct{}{}:
			default:
			}
		}
		return yes
	}
	go func() { done <- c.Wait(bell, ready, 0) }()
	<-looked
	p.Append(8, 16, 0, []byte("x"))
	p.Publish(16)
	if !<-done {
		t.Error("woken with nothing")
	}
	if p.Rings() != 1 {
		t.Errorf("rang %d times", p.Rings())
	}
	p.Append(16, 24, 0, []byte("x"))
	p.Publish(24)
	if p.Rings() != 1 {
		t.Error("rang for a consumer that is awake")
	}
	var b Batch
	if err := c.Poll(&b, 1<<20); err != nil || len(b.Entries) != 2 || b.Upto != 24 {
		t.Errorf("%+v, %v", b, err)
	}
	// Interrupt before and during a wait; a timeout; Close.
	bell.Interrupt()
	if c.Wait(bell, c.Ready, 0) {
		t.Error("interrupted with something")
	}
	if c.Wait(bell, c.Ready, time.Millisecond) {
		t.Error("timed out with something")
	}
	go func() { done <- c.Wait(bell, ready, 0) }()
	<-looked
	bell.Close()
	if <-done {
		t.Error("closed with something")
	}
}

func TestMailbox(t *testing.T) {
	bell, err := NewBell()
	if err != nil {
		t.Fatal(err)
	}
	defer bell.Close()
	m, err := NewMailbox()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	fd, err := unix.Dup(int(m.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenServer(fd, int(bell.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	batch := uint64(0)
	for range 3 { // rounds, so that slots are used again
		for range Slots {
			batch++
			if !m.Submit(&Request{Batch: batch, Op: OpFlush, Journal: 3, Epoch: 4, From: 5, To: batch * 8, MaxRecords: 7}) {
				t.Fatal("full")
			}
		}
		if m.Submit(&Request{}) {
			t.Fatal("not full")
		}
		for i := range Slots {
			r, ok := s.Next()
			want := Request{Batch: batch - Slots + uint64(i) + 1, Op: OpFlush, Journal: 3, Epoch: 4, From: 5, MaxRecords: 7}
			want.To = want.Batch * 8
			if !ok || r != want {
				t.Fatalf("%+v, not %+v", r, want)
			}
			s.Answer(&Answer{Batch: r.Batch, To: r.To, Count: 9, Pending: -1, Failed: true, Kind: 1, After: time.Second, Text: string(bytes.Repeat([]byte("é"), 1000))})
		}
		if s.Ready() {
			t.Fatal("a request too many")
		}
		for i := range Slots {
			a, ok, err := m.Take()
			if err != nil || !ok || a.Batch != batch-Slots+uint64(i)+1 || a.Count != 9 || a.Pending != -1 || !a.Failed || a.Kind != 1 ||
				a.After != time.Second || len(a.Text) != maxText {
				t.Fatalf("%+v %v %v", a, ok, err)
			}
		}
	}
	if _, ok, err := m.Take(); ok || err != nil || !m.Idle() {
		t.Fatal(ok, err)
	}
	// Answers that nobody asked for, and wrong ones.
	m.m.h.out.Store(batch + 1)
	if _, _, err := m.Take(); !errors.Is(err, ErrGarbage) {
		t.Error(err)
	}
	m.m.h.out.Store(batch)
	m.Submit(&Request{Batch: 1})
	s.Answer(&Answer{Batch: 2})
	if _, _, err := m.Take(); !errors.Is(err, ErrGarbage) {
		t.Error(err)
	}
}

func BenchmarkRing(b *testing.B) {
	p, c, _ := pair(b, DefaultBytes, 0, nil)
	data := make([]byte, 64)
	var batch Batch
	b.ReportAllocs()
	for i := range uint64(b.N) {
		p.Append(i*8+8, i*8+16, 0, data)
		if i%32 == 31 {
			p.Publish(i*8 + 16)
			if err := c.Poll(&batch, 64<<10); err != nil {
				b.Fatal(err)
			}
		}
	}
}
