package sched

import (
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// Outcome of a task.
type Outcome uint8

// The outcomes.
const (
	Succeeded      Outcome = iota
	Failed                 // it returned an error
	Panicked               // and the worker went on
	Cancelled              // before it began, or it returned context.Canceled
	DeadlineMissed         // it had to begin earlier, and was not run
	outcomes
)

func (o Outcome) String() string {
	return [...]string{"success", "error", "panic", "cancelled", "deadline"}[o]
}

// kindPart counts for one kind. Workers are dealt to as many parts as there are
// processors, so that counting seldom shares a cache line.
type kindPart struct {
	wait, run telemetry.Histogram
	outcomes  [outcomes]atomic.Uint64
	_         [64]byte
}

func nanos(ns int64) time.Duration { return time.Duration(ns) }

// KindStats is what has become of the tasks of a kind.
type KindStats struct {
	Kind     string
	Outcomes [outcomes]uint64    // by Outcome
	Wait     *telemetry.Snapshot // from submit to begin; of all tasks taken up
	Run      *telemetry.Snapshot // of those that ran
}

// Done is the number of all of them.
func (k *KindStats) Done() (n uint64) {
	for _, o := range k.Outcomes {
		n += o
	}
	return n
}

func (k *Kind) stats() KindStats {
	s := KindStats{Kind: k.name, Wait: new(telemetry.Snapshot), Run: new(telemetry.Snapshot)}
	for i := range k.parts {
		c := &k.parts[i]
		for o := range c.outcomes {
			s.Outcomes[o] += c.outcomes[o].Load()
		}
		s.Wait.Add(&c.wait)
		s.Run.Add(&c.run)
	}
	return s
}

// kindJSON is what the API says of a kind: the outcomes by name, quantiles for the
// histograms.
type kindJSON struct {
	Kind     string            `json:"kind"`
	Outcomes map[string]uint64 `json:"outcomes"`
	TakenUp  uint64            `json:"taken_up"`
	Ran      uint64            `json:"ran"`
	WaitP50  time.Duration     `json:"wait_p50_ns"`
	WaitP99  time.Duration     `json:"wait_p99_ns"`
	RunP50   time.Duration     `json:"run_p50_ns"`
	RunP99   time.Duration     `json:"run_p99_ns"`
}

// MarshalJSON writes kindJSON.
func (k KindStats) MarshalJSON() ([]byte, error) {
	j := kindJSON{k.Kind, make(map[string]uint64, outcomes), k.Wait.Count, k.Run.Count,
		k.Wait.Quantile(0.5), k.Wait.Quantile(0.99), k.Run.Quantile(0.5), k.Run.Quantile(0.99)}
	for o, n := range k.Outcomes {
		j.Outcomes[Outcome(o).String()] = n
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads kindJSON; of the histograms it has the counts alone.
func (k *KindStats) UnmarshalJSON(b []byte) error {
	var j kindJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*k = KindStats{Kind: j.Kind, Wait: &telemetry.Snapshot{Count: j.TakenUp}, Run: &telemetry.Snapshot{Count: j.Ran}}
	for o := range k.Outcomes {
		k.Outcomes[o] = j.Outcomes[Outcome(o).String()]
	}
	return nil
}

// Stats describes the kind's tasks up to now.
func (k *Kind) Stats() KindStats { return k.stats() }

// Stuck is a task, or a lane's turn, that has taken longer than its bound.
type Stuck struct {
	Where  string // "pool NAME", or "lane NAME"
	Kind   string
	Tenant string
	For    time.Duration
	Stack  string // of its goroutine
}

// look is one round of the watch.
func (s *Scheduler) look() {
	pools, lanes := s.parts()
	var all []byte
	now := mono()
	report := func(st Stuck, id uint64) {
		if all == nil {
			all = stacks()
		}
		st.Stack = stackOf(all, id)
		s.count.stuck.Add(1)
		s.set.Logger.Warn().Str("where", st.Where).Str("kind", st.Kind).Str("tenant", st.Tenant).Dur("for", st.For).
			Str("stack", st.Stack).Msg("stuck: it takes longer than its bound")
		if s.set.OnStuck != nil {
			s.set.OnStuck(st)
		}
	}
	for _, p := range pools {
		p.mu.Lock()
		workers := append([]*worker(nil), p.workers...)
		p.mu.Unlock()
		stuck := 0
		for _, w := range workers {
			begun, k := w.begun.Load(), w.doing.Load()
			if begun == 0 || k == nil || now-begun < k.stuck {
				continue
			}
			stuck++
			if w.reported.Swap(begun) == begun {
				continue
			}
			st := Stuck{Where: "pool " + p.set.Name, Kind: k.name, For: nanos(now - begun)}
			if t := w.whose.Load(); t != nil {
				st.Tenant = t.name
			}
			p.stat.stuck.Add(1)
			report(st, w.goid.Load())
		}
		p.stat.stuckNow.Store(int64(stuck))
	}
	for _, l := range lanes {
		begun := l.begun.Load()
		if l.set.StuckAfter <= 0 || begun == 0 || now-begun < int64(l.set.StuckAfter) {
			l.stuckNow.Store(0)
			continue
		}
		l.stuckNow.Store(1)
		if l.reported.Swap(begun) != begun {
			l.stuck.Add(1)
			report(Stuck{Where: "lane " + l.set.Name, Kind: "turn", For: nanos(now - begun)}, l.goid.Load())
		}
	}
}
