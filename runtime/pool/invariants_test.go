//go:build invariants

package pool

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
)

//go:noinline
func leasedHere[T any](p *Pool[T]) Lease[T] {
	l, err := p.Lease()
	if err != nil {
		panic(err)
	}
	return l
}

// faulty collects faults.
type faulty struct {
	mu     sync.Mutex
	faults []*Fault
}

func (f *faulty) add(e *Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, e)
}

func (f *faulty) want(t *testing.T, kind FaultKind, stack string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.faults) != 1 || f.faults[0].Kind != kind || !strings.Contains(f.faults[0].Leased, stack) {
		t.Errorf("faults %v, want one %s leased in %s", f.faults, kind, stack)
	}
	f.faults = nil
}

// A second return is found even when the object is leased by another by then.
func TestDoubleReturnNamesWhoLeased(t *testing.T) {
	var f faulty
	p := make1(t, Options[thing]{OnFault: f.add})
	old := leasedHere(p)
	old.Return()
	now := lease(t, p)
	old.Return()
	f.want(t, DoubleReturn, "leasedHere")
	if s := p.Stats(); s.Outstanding != 1 || s.Idle != 0 || s.Misused != 1 {
		t.Errorf("%+v", s)
	}
	now.Return()
	if len(f.faults) != 0 {
		t.Errorf("%v", f.faults)
	}
}

func TestHandleOfAnEarlierLease(t *testing.T) {
	var f faulty
	p := make1(t, Options[thing]{OnFault: f.add})
	old := leasedHere(p)
	old.Return()
	old.Value()
	f.want(t, UseAfterReturn, "leasedHere")
	now := lease(t, p)
	old.Value()
	f.want(t, UseAfterReturn, "leasedHere")
	now.Value()
	now.Return()
	if len(f.faults) != 0 {
		t.Errorf("%v", f.faults)
	}
}

// Who kept the memory rather than the handle is found at the next lease.
func TestWriteAfterReturn(t *testing.T) {
	var f faulty
	s := frames(t, SliceOptions{Min: 64, Max: 256, OnFault: f.add})
	b := func() Buf[byte] { l := leasedHere(s.classes[0]); return Buf[byte]{l} }()
	kept := b.Slice()
	b.Return()
	if kept[10] != poison {
		t.Errorf("idle memory holds %#x", kept[10])
	}
	kept[10] = 1
	s.Lease(64).Return()
	f.want(t, UseAfterReturn, "leasedHere")
	s.Lease(64).Return()
	if len(f.faults) != 0 {
		t.Errorf("%v", f.faults)
	}

	m, err := NewMessages(MessageOptions{OnFault: f.add})
	if err != nil {
		t.Fatal(err)
	}
	l := leasedHere(m.Books)
	book := l.Value()
	fill(book)
	levels := book.Asks
	l.Return()
	levels[3].Amount = market.NewDecimal(1, 0)
	lease(t, m.Books).Return()
	f.want(t, UseAfterReturn, "leasedHere")
	book.Checksum = 5 // the object's own words
	lease(t, m.Books).Return()
	f.want(t, UseAfterReturn, "TestWriteAfterReturn")
	l = lease(t, m.Books)
	if b := l.Value(); b.Checksum != 0 || len(b.Bids) != 0 || cap(b.Bids) == 0 {
		t.Errorf("what was written stays: %+v", b)
	}
	l.Return()
}

func TestLeakIsToldByClose(t *testing.T) {
	p := make1(t, Options[thing]{})
	for range 3 {
		leasedHere(p)
	}
	lease(t, p).Return()
	var leak *LeakError
	err := p.Close()
	if !errors.As(err, &leak) || leak.Outstanding != 3 || !strings.Contains(err.Error(), "leasedHere") {
		t.Fatal(err)
	}
	n := 0
	for _, s := range leak.Sites {
		n += s.Outstanding + int(s.Lost)
	}
	if n != 3 {
		t.Errorf("%d are named: %v", n, err)
	}
}

func TestMisusePanicsUnlessToldOtherwise(t *testing.T) {
	p := make1(t, Options[thing]{})
	l := lease(t, p)
	l.Return()
	defer func() {
		if f, ok := recover().(*Fault); !ok || f.Kind != DoubleReturn {
			t.Errorf("recovered %v", f)
		}
	}()
	l.Return()
}
