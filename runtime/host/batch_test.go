package host

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/sdk/wire/ring"
)

// rings are n plugins' ends of rings, and the runtime's.
func rings(t testing.TB, n int) (ps []*ring.Producer, cs []*ring.Consumer) {
	bell, err := ring.NewBell()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bell.Close() })
	for range n {
		c, err := ring.New(256<<10, 8)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		fd, err := unix.Dup(int(c.File().Fd()))
		if err != nil {
			t.Fatal(err)
		}
		p, err := ring.OpenProducer(fd, int(bell.File().Fd()), func() bool { t.Error("the ring is full"); return false })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		ps, cs = append(ps, p), append(cs, c)
	}
	return ps, cs
}

func batches(t testing.TB) *pool.Pool[pool.Batch] {
	m, err := pool.NewMessages(pool.MessageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m.Batches
}

func TestBatchBorrows(t *testing.T) {
	ps, cs := rings(t, 2)
	p := batches(t)
	var all [2]Batch
	for round := range uint64(10) {
		for i := range all {
			b, pos := &all[i], 8+8*round
			if err := b.Lease(p); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("round %d of %d", round, i)
			ps[i].Append(pos, pos+8, 0, []byte(text))
			ps[i].Publish(pos + 8)
			if err := cs[i].Poll(&b.Batch, 1<<20); err != nil || len(b.Entries) != 1 || string(b.Entries[0].Data) != text {
				t.Fatalf("%+v, %v", b.Entries, err)
			}
			b.Return()
			if len(b.Entries) != 0 || b.Buf != nil {
				t.Fatal("the batch has what it gave back")
			}
			b.Return() // of nothing
		}
	}
	if s := p.Stats(); s.Leases != 20 || s.Outstanding != 0 || s.Peak != 1 {
		t.Errorf("%+v", s)
	}
	var own Batch // without a pool
	if err := own.Lease(nil); err != nil {
		t.Fatal(err)
	}
	own.Return()
}

// BenchmarkTurns is a burst of 64 KiB on each of many feeds, taken in turn: in
// memory that each lane keeps, and in what they borrow. B/feed is what they hold.
func BenchmarkTurns(b *testing.B) {
	const feeds, entries, size = 64, 128, 512
	for _, way := range []string{"kept", "borrowed"} {
		b.Run(way, func(b *testing.B) {
			ps, cs := rings(b, feeds)
			var p *pool.Pool[pool.Batch]
			if way == "borrowed" {
				p = batches(b)
			}
			all := make([]Batch, feeds)
			data := make([]byte, size)
			pos, i, sum := uint64(8), 0, 0
			b.SetBytes(entries * size)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for n := range uint64(entries) {
					ps[i].Append(pos+8*n, pos+8*n+8, 0, data)
				}
				ps[i].Publish(pos + 8*entries)
				b.StartTimer()
				t := &all[i]
				if err := t.Lease(p); err != nil {
					b.Fatal(err)
				}
				if err := cs[i].Poll(&t.Batch, 256<<10); err != nil || len(t.Entries) != entries {
					b.Fatal(len(t.Entries), err)
				}
				for k := range t.Entries {
					for _, x := range t.Entries[k].Data[:8] {
						sum += int(x)
					}
				}
				t.Return()
				if i++; i == feeds {
					i, pos = 0, pos+8*entries
				}
			}
			held := 0
			for i := range all {
				held += cap(all[i].Buf)
			}
			if p != nil {
				held += p.Stats().IdleBytes
			}
			b.ReportMetric(float64(held)/feeds, "B/feed")
		})
	}
}
