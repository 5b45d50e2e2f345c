package pool

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// box is an object that knows its number.
type box struct {
	id   int
	bad  bool
	used bool
	size int
}

// model is the slow, obvious pool: sets of numbers.
type model struct {
	leased, idle, gone    map[int]bool
	leases, returns, made uint64
	reasons               [reasons]uint64
}

// TestModel does what a drawn list of operations says, on a pool and on the
// model, each operation on a goroutine of its own, so that the magazines of all
// processors come into it.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		next := 0
		m := &model{leased: map[int]bool{}, idle: map[int]bool{}, gone: map[int]bool{}}
		destroyed := map[int]int{}
		o := Options[box]{Name: "model", MaxIdle: rapid.SampledFrom([]int{0, 1, 20, 100}).Draw(t, "maxIdle"),
			MaxOutstanding: rapid.SampledFrom([]int{4, 30, 100}).Draw(t, "maxOutstanding"), Windows: 3,
			Policy: rapid.SampledFrom([]Policy{Overflow, Refuse}).Draw(t, "policy"), Sample: rapid.SampledFrom([]int{-1, 4}).Draw(t, "sample"),
			New:      func() (box, error) { next++; return box{id: next, size: 64}, nil },
			Reset:    func(b *box) { b.used = false },
			Validate: func(b *box) bool { return !b.bad },
			Destroy:  func(b *box) { destroyed[b.id]++ },
			Size:     func(b *box) int { return b.size },
		}
		if rapid.Bool().Draw(t, "bytes") {
			o.MaxIdleBytes, o.MaxObjectBytes = 40*100, 100
		}
		p, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		var held []Lease[box]
		elsewhere := func(f func()) {
			done := make(chan struct{})
			go func() { defer close(done); runtime.Gosched(); f() }()
			<-done
		}
		// move finds what the pool destroyed and takes it from the idle ones.
		move := func() {
			for id := range destroyed {
				if m.leased[id] {
					t.Fatalf("%d was destroyed while it was leased", id)
				}
				delete(m.idle, id)
				m.gone[id] = true
			}
		}
		giveBack := func(i int) {
			l := held[i]
			held[i] = held[len(held)-1]
			held = held[:len(held)-1]
			id := l.Value().id
			elsewhere(l.Return)
			m.returns++
			delete(m.leased, id)
			m.idle[id] = true
			move()
		}
		t.Repeat(map[string]func(*rapid.T){
			"lease": func(t *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(t, "n") {
					var l Lease[box]
					elsewhere(func() { l, err = p.Lease() })
					if err != nil {
						if o.Policy != Refuse || !errors.Is(err, ErrEmpty) || len(m.leased) < o.MaxOutstanding {
							t.Fatalf("with %d of %d leased: %v", len(m.leased), o.MaxOutstanding, err)
						}
						continue
					}
					move()
					b := l.Value()
					if m.leased[b.id] || m.gone[b.id] || b.used || b.bad {
						t.Fatalf("leased %+v: leased already %v, destroyed %v", *b, m.leased[b.id], m.gone[b.id])
					}
					if o.Policy == Refuse && len(m.leased) >= o.MaxOutstanding {
						t.Fatalf("%d are leased", len(m.leased)+1)
					}
					b.used = true
					m.leases++
					delete(m.idle, b.id)
					m.leased[b.id] = true
					held = append(held, l)
				}
			},
			"return": func(t *rapid.T) {
				for range min(len(held), rapid.IntRange(1, 40).Draw(t, "n")) {
					giveBack(rapid.IntRange(0, len(held)-1).Draw(t, "which"))
				}
			},
			"break": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip("none is held")
				}
				i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				b := held[i].Value()
				id := b.id
				if rapid.Bool().Draw(t, "large") && o.MaxObjectBytes > 0 {
					b.size = o.MaxObjectBytes + 1
				} else {
					b.bad = true
				}
				giveBack(i)
				if !m.gone[id] {
					t.Fatalf("%d is kept", id)
				}
			},
			"trim": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "n") {
					n := 0
					before := len(destroyed)
					elsewhere(func() { n = p.Trim(time.Now()) })
					if len(destroyed)-before != n {
						t.Fatalf("Trim says %d, %d were destroyed", n, len(destroyed)-before)
					}
					move()
				}
			},
			"": func(t *rapid.T) {
				s := p.Stats()
				if s.Leases != m.leases || s.Returns != m.returns || s.Outstanding != len(m.leased) || s.Idle != len(m.idle) || s.Live != len(m.leased)+len(m.idle) ||
					s.Created != uint64(next) || s.Misses != s.Created || s.IdleBytes != 64*s.Idle {
					t.Fatalf("%+v\nmodel: %d leases, %d returns, %d leased, %d idle, %d made", s, m.leases, m.returns, len(m.leased), len(m.idle), next)
				}
				var sum uint64
				for _, n := range s.Destroyed {
					sum += n
				}
				if sum != uint64(len(m.gone)) || o.MaxIdle > 0 && s.Idle > o.MaxIdle || o.MaxIdleBytes > 0 && s.IdleBytes > o.MaxIdleBytes ||
					o.Policy == Refuse && s.Live > o.MaxOutstanding {
					t.Fatalf("%+v\nmodel: %d destroyed", s, len(m.gone))
				}
				if s.Peak < s.Outstanding {
					t.Fatalf("peak %d, outstanding %d", s.Peak, s.Outstanding)
				}
			},
		})
		for len(held) > 0 {
			giveBack(0)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if len(destroyed) != next {
			t.Fatalf("%d were made, %d destroyed", next, len(destroyed))
		}
		for id, n := range destroyed {
			if n != 1 {
				t.Fatalf("%d was destroyed %d times", id, n)
			}
		}
	})
}
