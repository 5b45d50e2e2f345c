package sched

import (
	"context"
	"time"
)

// Tuner is the pool's, to pin the number of workers; nil if that is fixed.
func (p *Pool) Tuner() *Tuner { return p.tuner }

// SetWorkers changes how many workers may run, between 1 and the settings'
// number. Those that are too many end when their tasks have.
func (p *Pool) SetWorkers(n int) {
	p.mu.Lock()
	p.target = min(max(n, 1), p.set.Workers)
	var end []*worker
	for len(p.idle) > 0 && len(p.workers)-len(end) > p.target {
		k := len(p.idle) - 1
		end = append(end, p.idle[k])
		p.idle = p.idle[:k]
		p.searching++
	}
	h := p.helper(p.queued > 0)
	p.mu.Unlock()
	if h != nil {
		end = append(end, h)
	}
	for _, w := range end {
		w.wake <- struct{}{}
	}
}

// totals are sums over all kinds.
type totals struct {
	done, ran uint64
	wait, run time.Duration
	waited    uint64
}

func (p *Pool) totals() (t totals) {
	p.mu.Lock()
	kinds := append([]*Kind(nil), p.kinds...)
	p.mu.Unlock()
	for _, k := range kinds {
		s := k.stats()
		t.done += s.Done()
		t.wait, t.waited = t.wait+s.Wait.Sum, t.waited+s.Wait.Count
		t.run, t.ran = t.run+s.Run.Sum, t.ran+s.Run.Count
	}
	return t
}

// tune sets the number of workers by what was measured, until ctx ends. A task's
// latency is its wait and its run. A period with few tasks is measured on with
// the next.
func (p *Pool) tune(ctx context.Context) {
	t := time.NewTicker(p.set.TuneEvery)
	defer t.Stop()
	last, from := p.totals(), mono()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if v := p.tuner.Value(); p.tuner.Pinned() {
			p.SetWorkers(v)
			last, from = p.totals(), mono()
			continue
		}
		now, at := p.totals(), mono()
		ran, waited := now.ran-last.ran, now.waited-last.waited
		if ran < leastMeasured {
			continue
		}
		latency := (now.run-last.run)/time.Duration(ran) + (now.wait-last.wait)/time.Duration(max(waited, 1))
		p.SetWorkers(p.tuner.Observe(float64(ran)/nanos(at-from).Seconds(), max(latency, 1)))
		last, from = now, at
	}
}

// leastMeasured is how many tasks a measure needs.
const leastMeasured = 20
