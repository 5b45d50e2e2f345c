package pool

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type thing struct {
	id    int
	dirty int
	held  atomic.Bool
	bad   bool
}

func make1[T any](t testing.TB, o Options[T]) *Pool[T] {
	t.Helper()
	if o.Name == "" {
		o.Name = "things"
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func lease[T any](t testing.TB, p *Pool[T]) Lease[T] {
	t.Helper()
	l, err := p.Lease()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLeaseGivesBackWhatWasReturned(t *testing.T) {
	made := 0
	p := make1(t, Options[thing]{New: func() (thing, error) { made++; return thing{id: made}, nil }, Reset: func(x *thing) { x.dirty = 0 }})
	for i := range 100 {
		l := lease(t, p)
		// One object for each processor that the goroutine ran on.
		if l.Value().id > runtime.GOMAXPROCS(0) || l.Value().dirty != 0 {
			t.Fatalf("lease %d: %+v", i, l.Value())
		}
		l.Value().dirty = i
		l.Return()
		if i%10 == 0 {
			runtime.GC()
		}
	}
	n := uint64(made)
	if s := p.Stats(); s.Leases != 100 || s.Hits != 100-n || s.Misses != n || s.Returns != 100 || s.Outstanding != 0 || s.Idle != made || s.Live != made || s.Peak != 1 {
		t.Errorf("stats %+v", s)
	}
	Lease[thing]{}.Return() // does nothing
	if (Lease[thing]{}).Valid() || (Lease[thing]{}).Value() != nil {
		t.Error("the zero Lease holds something")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options[int]{
		"needs a name":         {},
		"policy 9":             {Name: "x", Policy: 9},
		"needs MaxOutstanding": {Name: "x", Policy: Refuse},
		"is negative":          {Name: "x", MaxIdle: -1},
		"needs either Size":    {Name: "x", MaxIdleBytes: 1},
		"instead of Reset":     {Name: "x", Reset: func(*int) {}, Recycle: func(*int) int { return 0 }},
		"no power of two":      {Name: "x", Sample: 3},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o.Name, err, want)
		}
	}
}

func TestNewFails(t *testing.T) {
	broken := errors.New("no memory left on the device")
	fail := true
	p := make1(t, Options[thing]{MaxOutstanding: 1, Policy: Refuse, New: func() (thing, error) {
		if fail {
			return thing{}, broken
		}
		return thing{}, nil
	}})
	if _, err := p.Lease(); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if err := p.Warm(1); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	fail = false
	lease(t, p).Return() // the place was given up
	if s := p.Stats(); s.Leases != 1 || s.Created != 1 || s.Live != 1 {
		t.Errorf("stats %+v", s)
	}
}

// A pool that refuses is exact, even if idle objects lie in magazines of other
// processors.
func TestRefuseIsExact(t *testing.T) {
	const most = 64
	p := make1(t, Options[thing]{MaxOutstanding: most, Policy: Refuse})
	for round := range 4 {
		scatter(p, most)
		var held []Lease[thing]
		for range most {
			held = append(held, lease(t, p))
		}
		if _, err := p.Lease(); !errors.Is(err, ErrEmpty) {
			t.Fatalf("round %d: lease %d: %v", round, most+1, err)
		}
		if s := p.Stats(); s.Outstanding != most || s.Idle != 0 || s.Live != most || s.Peak != most || s.Refused != uint64(round+1) {
			t.Fatalf("round %d: %+v", round, s)
		}
		for _, l := range held {
			l.Return()
		}
		for range DefaultWindows + 1 { // at ease again
			p.Trim(time.Now())
		}
		if !invariants && p.mode.Load() != fast {
			t.Fatal("the magazines are not in use again")
		}
	}
}

// scatter leases n objects and returns them from several goroutines.
func scatter(p *Pool[thing], n int) {
	var held []Lease[thing]
	for range n {
		if l, err := p.Lease(); err == nil {
			held = append(held, l)
		}
	}
	var wg sync.WaitGroup
	for _, l := range held {
		wg.Go(func() {
			runtime.Gosched()
			l.Return()
		})
	}
	wg.Wait()
}

func TestOverflowIsCountedAndNotKept(t *testing.T) {
	p := make1(t, Options[thing]{MaxOutstanding: 8})
	var held []Lease[thing]
	for range 12 {
		held = append(held, lease(t, p))
	}
	if s := p.Stats(); s.Overflow != 4 || s.Outstanding != 12 || s.Live != 12 {
		t.Fatalf("%+v", s)
	}
	for i := range held {
		held[len(held)-1-i].Return()
	}
	if s := p.Stats(); s.Live != 8 || s.Idle != 8 || s.Destroyed[Surplus] != 4 {
		t.Fatalf("%+v", s)
	}
}

func TestBlockServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := make1(t, Options[thing]{MaxOutstanding: 2, Policy: Block})
		a, b := lease(t, p), lease(t, p)
		if _, err := p.Lease(); !errors.Is(err, ErrEmpty) {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		for i := range 3 {
			go func() {
				l, err := p.LeaseContext(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Second)
				l.Return()
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := p.LeaseContext(ctx); !errors.Is(err, ErrEmpty) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if s := p.Stats(); s.Waiting != 3 || s.Waits != 4 || s.Refused != 2 {
			t.Fatalf("%+v", s)
		}
		time.Sleep(time.Second)
		a.Return()
		time.Sleep(2 * time.Second)
		b.Return()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := fmt.Sprint(order); s != "[0 1 2]" {
			t.Errorf("served %s", s)
		}
		// 1 ms and three times 1.001 s, 2.001 s, and 3.001 s: while one held a's for 1 s each.
		if s := p.Stats(); s.WaitTime < 6*time.Second || s.WaitTime > 7*time.Second || s.Live != 2 || s.Outstanding != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// An object that is destroyed leaves its place to who waits, and Close ends waits.
func TestBlockIsWokenByDestroyAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := make1(t, Options[thing]{MaxOutstanding: 1, Policy: Block, Validate: func(x *thing) bool { return !x.bad }})
		a := lease(t, p)
		got := make(chan Lease[thing], 1)
		go func() {
			l, err := p.LeaseContext(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
		synctest.Wait()
		a.Value().bad = true
		a.Return()
		l := <-got
		if l.Value().bad {
			t.Fatal("an object that is invalid was leased")
		}
		closed := make(chan error, 1)
		go func() {
			_, err := p.LeaseContext(t.Context())
			closed <- err
		}()
		synctest.Wait()
		var leak *LeakError
		if err := p.Close(); !errors.As(err, &leak) || leak.Outstanding != 1 {
			t.Errorf("close: %v", err)
		}
		if err := <-closed; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		l.Return()
		if s := p.Stats(); s.Live != 0 || s.Destroyed[Invalid] != 1 || s.Destroyed[Shut] != 1 {
			t.Errorf("%+v", s)
		}
		if _, err := p.Lease(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestLifeCycle(t *testing.T) {
	destroyed := 0
	size := 10
	p := make1(t, Options[thing]{MaxUses: 3, MaxAge: time.Minute, Size: func(*thing) int { return size }, MaxIdleBytes: 4000, MaxObjectBytes: 100,
		Destroy: func(*thing) { destroyed++ }})
	for range 3 {
		lease(t, p).Return()
	}
	if s := p.Stats(); s.Destroyed[Worn] != 1 || s.Live != 0 {
		t.Fatalf("%+v", s)
	}
	lease(t, p).Return()
	if s := p.Stats(); s.IdleBytes != 10 || s.Idle != 1 {
		t.Fatalf("%+v", s)
	}
	l := lease(t, p)
	p.Trim(time.Now().Add(2 * time.Minute))
	l.Return()
	if s := p.Stats(); s.Destroyed[Aged] != 1 || s.IdleBytes != 0 {
		t.Fatalf("%+v", s)
	}
	l, size = lease(t, p), 101
	p.Trim(time.Now())
	l.Return()
	if s := p.Stats(); s.Destroyed[Large] != 1 || s.Live != 0 {
		t.Fatalf("%+v", s)
	}
	if err := p.Close(); err != nil || destroyed != 3 {
		t.Errorf("%v, %d destroyed", err, destroyed)
	}
}

func TestValidateOnLease(t *testing.T) {
	next := 0
	refuse := map[int]bool{}
	p := make1(t, Options[thing]{ValidateOnLease: true, Validate: func(x *thing) bool { return !refuse[x.id] },
		New: func() (thing, error) { next++; return thing{id: next}, nil }})
	lease(t, p).Return()
	refuse[1] = true
	l := lease(t, p)
	if l.Value().id != 2 {
		t.Fatalf("object %d", l.Value().id)
	}
	l.Return()
	if s := p.Stats(); s.Leases != 2 || s.Returns != 2 || s.Misses != 2 || s.Hits != 0 || s.Destroyed[Invalid] != 1 || s.Live != 1 || s.Traced != 0 {
		t.Errorf("%+v", s)
	}
}

func TestIdleBoundHoldsEverywhere(t *testing.T) {
	for _, most := range []int{1, 3, 40, 200} {
		destroyed := atomic.Int64{}
		p := make1(t, Options[thing]{MaxIdle: most, Destroy: func(*thing) { destroyed.Add(1) }})
		scatter(p, 500)
		s := p.Stats()
		if s.Idle > most || s.Live != s.Idle || s.Destroyed[Full] != uint64(500-s.Idle) || int(destroyed.Load()) != 500-s.Idle {
			t.Errorf("most %d: %+v", most, s)
		}
		if err := p.Close(); err != nil || destroyed.Load() != 500 {
			t.Errorf("most %d: %v, %d destroyed", most, err, destroyed.Load())
		}
	}
}

func TestTrimKeepsThePeak(t *testing.T) {
	p := make1(t, Options[thing]{Windows: 3, MinIdle: 5})
	now := time.Now()
	for range 10 { // 40 at a time, again and again, of 200 once
		scatter(p, 40)
		p.Trim(now)
	}
	if s := p.Stats(); s.Destroyed[Trimmed] != 0 && s.Idle < 40 {
		t.Fatalf("what the peak needs was trimmed: %+v", s)
	}
	scatter(p, 400)
	for range 4 {
		scatter(p, 40)
		p.Trim(now)
	}
	away := magazine * len(p.shards)
	if s := p.Stats(); s.Idle < 40 || s.Idle > 40+2*away || s.Destroyed[Trimmed] == 0 {
		t.Fatalf("%+v, magazines hold %d at most", s, away)
	}
	for range 12 { // nobody comes: magazines are emptied, too
		p.Trim(now)
	}
	if s := p.Stats(); s.Idle != 5 || s.Live != 5 {
		t.Fatalf("%+v", s)
	}
	before := p.Stats().Misses
	var held []Lease[thing]
	for range 5 {
		held = append(held, lease(t, p))
	}
	if s := p.Stats(); s.Misses != before {
		t.Errorf("what Trim left isn't found: %+v", s)
	}
	for _, l := range held {
		l.Return()
	}
}

func TestWarm(t *testing.T) {
	p := make1(t, Options[thing]{MinIdle: 30, MaxIdle: 300})
	if err := p.Warm(0); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		lease(t, p)
	}
	if s := p.Stats(); s.Misses != 0 || s.Created != 30 {
		t.Fatalf("%+v", s)
	}
	if err := p.Warm(1000); err == nil || !strings.Contains(err.Error(), "can't be kept ready") {
		t.Error(err)
	}
	q := make1(t, Options[thing]{MaxOutstanding: 3})
	if err := q.Warm(4); err == nil || q.Stats().Idle != 3 {
		t.Error(err, q.Stats())
	}
}

// In steady state, with collections running beside, every lease finds an object.
func TestHitRateThroughCollections(t *testing.T) {
	p := make1(t, Options[thing]{})
	stop := make(chan struct{})
	var collector, users sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	for range 8 {
		users.Go(func() {
			var held [20]Lease[thing]
			for range 2000 {
				for i := range held {
					held[i] = lease(t, p)
				}
				for _, l := range held {
					l.Return()
				}
			}
		})
	}
	users.Wait()
	close(stop)
	collector.Wait()
	s := p.Stats()
	if s.HitRate() < 0.999 || s.Outstanding != 0 || s.Live != s.Idle {
		t.Errorf("hit rate %.5f: %+v", s.HitRate(), s)
	}
}

// Many users of one pool never hold the same object, whatever the policy, while
// modes change, objects are destroyed, and processors are added.
func TestNoObjectIsLeasedTwice(t *testing.T) {
	for _, policy := range []Policy{Overflow, Refuse, Block} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			was := runtime.GOMAXPROCS(0)
			defer runtime.GOMAXPROCS(was)
			const most, users, rounds = 96, 12, 1500
			var made, gone atomic.Int64
			p := make1(t, Options[thing]{MaxOutstanding: most, Policy: policy, MaxUses: 50, Windows: 2,
				Validate: func(x *thing) bool { return !x.held.Load() }, Destroy: func(*thing) { gone.Add(1) },
				New: func() (thing, error) {
					if n := made.Add(1) - gone.Load(); policy != Overflow && n > most {
						t.Errorf("%d objects exist, %d may", n, most)
					}
					return thing{}, nil
				}})
			runtime.GOMAXPROCS(was + 3)
			var wg sync.WaitGroup
			for u := range users {
				wg.Go(func() {
					held := make([]Lease[thing], 0, 10)
					for r := range rounds {
						for range 1 + (u+r)%10 {
							ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
							l, err := p.LeaseContext(ctx)
							cancel()
							if err != nil {
								if !errors.Is(err, ErrEmpty) {
									t.Error(err)
								}
								continue
							}
							if !l.Value().held.CompareAndSwap(false, true) {
								t.Error("an object is held by two")
							}
							held = append(held, l)
						}
						for _, l := range held {
							l.Value().held.Store(false)
							if r%3 == 0 {
								wg.Go(l.Return)
							} else {
								l.Return()
							}
						}
						held = held[:0]
						if r%200 == 0 && u == 0 {
							p.Trim(time.Now())
						}
					}
				})
			}
			wg.Wait()
			s := p.Stats()
			if s.Outstanding != 0 || s.Live != s.Idle || s.Waiting != 0 || s.Leases != s.Returns || s.Destroyed[Invalid] != 0 {
				t.Errorf("%+v", s)
			}
			if err := p.Close(); err != nil || made.Load() != gone.Load() {
				t.Errorf("%v; %d made, %d destroyed", err, made.Load(), gone.Load())
			}
		})
	}
}

// Under Block, more users than objects are all served: no object lies where
// those who wait don't find it.
func TestBlockServesAll(t *testing.T) {
	p := make1(t, Options[thing]{MaxOutstanding: 64, Policy: Block})
	scatter(p, 64)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for range 300 {
				l, err := p.LeaseContext(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched()
				l.Return()
			}
		})
	}
	wg.Wait()
	if s := p.Stats(); s.Leases != 64+100*300 || s.Outstanding != 0 || s.Refused != 0 || s.Live > 64 {
		t.Errorf("%+v", s)
	}
}

//go:noinline
func leaks(p *Pool[thing]) { _, _ = p.Lease() }

// A lease that is dropped is found by a collection and named with its stack.
func TestLostLeaseIsNamed(t *testing.T) {
	faults := make(chan *Fault, 16)
	p := make1(t, Options[thing]{Sample: 1, OnFault: func(f *Fault) { faults <- f }})
	leaks(p)
	if s := p.Stats(); s.Traced != 1 || s.Oldest.IsZero() || s.Outstanding != 1 || len(s.Sites) != 1 || !strings.Contains(s.Sites[0].Stack, "pool.leaks") {
		t.Fatalf("%+v", s)
	}
	var f *Fault
	for f == nil {
		runtime.GC()
		select {
		case f = <-faults:
		default:
			runtime.Gosched()
		}
	}
	if f.Kind != Lost || !strings.Contains(f.Error(), "pool.leaks") || strings.Contains(f.Leased, "pool.(*Pool") {
		t.Errorf("%v", f)
	}
	s := p.Stats()
	if s.Lost != 1 || s.Traced != 0 || len(s.Sites) != 1 || s.Sites[0].Lost != 1 || s.Outstanding != 1 {
		t.Errorf("%+v", s)
	}
	l := lease(t, p)
	var leak *LeakError
	if err := p.Close(); !errors.As(err, &leak) || leak.Outstanding != 2 || !strings.Contains(err.Error(), "pool.leaks") || !strings.Contains(err.Error(), "TestLostLeaseIsNamed") {
		t.Errorf("%v", err)
	}
	l.Return()
}

// In the normal build one lease in Sample is traced, and of the first ones more.
func TestSampling(t *testing.T) {
	if invariants {
		t.Skip("the invariants build traces all")
	}
	p := make1(t, Options[thing]{Sample: 64})
	for range 64 * 100 {
		lease(t, p).Return()
	}
	s := p.Stats()
	traced := uint64(0)
	for _, site := range p.traces.sites {
		traced += site.traced
	}
	if traced < 90 || traced > 130 || s.Traced != 0 || len(s.Sites) != 0 {
		t.Errorf("%d traced: %+v", traced, s)
	}
	off := make1(t, Options[thing]{Sample: -1})
	for range 100 {
		lease(t, off)
	}
	if s := off.Stats(); s.Traced != 0 || s.Outstanding != 100 {
		t.Errorf("%+v", s)
	}
}

func TestDoubleReturnIsRefused(t *testing.T) {
	var faults []*Fault
	p := make1(t, Options[thing]{OnFault: func(f *Fault) { faults = append(faults, f) }})
	l := lease(t, p)
	l.Return()
	l.Return()
	if s := p.Stats(); s.Misused != 1 || s.Idle != 1 || s.Returns != 1 || s.Outstanding != 0 || len(faults) != 1 || faults[0].Kind != DoubleReturn {
		t.Errorf("%v: %+v", faults, s)
	}
}

// While the magazines are gathered, nobody takes from them: an object that is
// leased lies nowhere else.
func TestGatheringExcludesLeases(t *testing.T) {
	p := make1(t, Options[thing]{Sample: -1})
	if p.keep == 0 {
		t.Skip("this build keeps no magazines")
	}
	var stop atomic.Bool
	var users sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		users.Go(func() {
			var held [3]Lease[thing]
			for !stop.Load() {
				for i := range held {
					held[i], _ = p.Lease()
					if !held[i].Value().held.CompareAndSwap(false, true) {
						t.Error("an object is held by two")
						stop.Store(true)
						return
					}
				}
				for _, l := range held {
					l.Value().held.Store(false)
					l.Return()
				}
			}
		})
	}
	inside := func() (all []int) {
		for _, s := range p.shards {
			n, _, _, _ := s.look()
			all = append(all, n)
		}
		return all
	}
	gathering = func() {
		before := inside()
		time.Sleep(100 * time.Microsecond) // time for others to come
		if after := inside(); !slices.Equal(before, after) {
			t.Errorf("the magazines held %v, and then %v", before, after)
		}
	}
	defer func() { gathering = nil }()
	for range 100 {
		p.mu.Lock()
		p.share(shared)
		p.open()
		p.mu.Unlock()
	}
	stop.Store(true)
	users.Wait()
	if s := p.Stats(); s.Outstanding != 0 || s.Live != s.Idle || s.Leases != s.Returns {
		t.Errorf("%+v", s)
	}
}
