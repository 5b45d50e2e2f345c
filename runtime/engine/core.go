package engine

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/memory"
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/runtime/sched"
)

// trimEvery is how often pools look for what lay idle.
const trimEvery = time.Minute

// core is what all parts of an engine run on: the scheduler that lists its
// goroutines, and the pools that lend its buffers.
type core struct {
	sched     *sched.Scheduler
	pools     *pool.Registry
	messages  *pool.Messages
	levels    *book.Levels
	inflaters *conn.Inflaters
	requests  *sched.Pool // HTTP requests of all feeds
}

func (e *Engine) openCore() (err error) {
	e.sched = sched.New(sched.Settings{Logger: e.log, MonitorOff: e.opt.Unmonitored})
	e.requests = e.sched.NewPool(sched.PoolSettings{Name: "requests", Workers: maxRequests, Queue: maxQueued})
	e.pools = new(pool.Registry)
	o := pool.MessageOptions{Registry: e.pools}
	if e.opt.Unmonitored {
		o.Sample = -1
	}
	if e.messages, err = pool.NewMessages(o); err != nil {
		return err
	}
	if e.levels, err = book.NewLevels(o); err != nil {
		return err
	}
	e.inflaters, err = conn.NewInflaters(o)
	return err
}

// HTTP requests of all feeds together, and how many of a feed and priority wait
// for a worker. A feed has six under way at most, so that none waits in vain.
const (
	maxRequests = 32
	maxQueued   = 64
)

// runCore watches the scheduler and trims the pools until its group ends.
func (e *Engine) runCore(g *sched.Group) {
	g.Go("watch", e.sched.Run)
	g.Go("requests", e.requests.Run)
	g.Every("trim", sched.Every{Interval: trimEvery}, func(context.Context) error {
		e.pools.Trim(time.Now())
		return nil
	})
}

// closeCore is called when all users have ended: what is leased still is a
// defect, told with the place that leased it, and no reason to fail.
func (e *Engine) closeCore() {
	var errs []error
	if e.messages != nil {
		errs = append(errs, e.messages.Close())
	}
	if e.levels != nil {
		errs = append(errs, e.levels.Close())
	}
	if e.inflaters != nil {
		errs = append(errs, e.inflaters.Close())
	}
	err := errors.Join(errs...)
	if err == nil {
		return
	}
	e.log.Error().Err(err).Msg("leases were not returned")
	if e.opt.Unreturned != nil {
		e.opt.Unreturned(err)
	}
}

// Scheduler lists the engine's goroutines.
func (e *Engine) Scheduler() *sched.Scheduler { return e.sched }

// Pools lists the engine's pools.
func (e *Engine) Pools() *pool.Registry { return e.pools }

func (e *Engine) goroutineList(url.Values) (any, error) {
	return struct {
		Goroutines []sched.Status    `json:"goroutines"`
		Pools      []sched.PoolStats `json:"pools"`
		Lanes      []sched.LaneStats `json:"lanes"`
	}{append([]sched.Status{}, e.sched.List()...), append([]sched.PoolStats{}, e.sched.Pools()...), append([]sched.LaneStats{}, e.sched.Lanes()...)}, nil
}

func (e *Engine) poolList(url.Values) (any, error) {
	return map[string]any{"pools": append([]pool.Stats{}, e.pools.Stats()...)}, nil
}

// memoryPools are the pools as the memory monitor sees them: those that were
// used.
func (e *Engine) memoryPools() (all []memory.Pool) {
	for _, s := range e.pools.Stats() {
		if s.Leases == 0 && s.Idle == 0 {
			continue
		}
		p := memory.Pool{Name: s.Name, Outstanding: int64(s.Outstanding), Idle: int64(s.Idle), Limit: int64(s.Capacity), Peak: int64(s.Peak),
			Bytes: int64(s.IdleBytes)}
		if s.Class != "" {
			p.Name += " " + s.Class
		}
		switch {
		case s.ObjectBytes > 0:
			p.Bytes += int64(s.Outstanding) * int64(s.ObjectBytes)
		case s.Idle > 0: // what is leased is as large as what isn't, as far as is known
			p.Bytes += int64(s.Outstanding) * int64(s.IdleBytes/s.Idle)
		}
		for _, t := range s.Sites {
			p.Leases = append(p.Leases, memory.Lease{Site: leaseSite(t.Stack), Count: int64(t.Outstanding)})
		}
		all = append(all, p)
	}
	if e.opt.Memory.Pools != nil {
		all = append(all, e.opt.Memory.Pools()...)
	}
	return all
}

// leaseSite is the innermost function of a stack, and where in it.
func leaseSite(stack string) string {
	fn, rest, _ := strings.Cut(strings.TrimSpace(stack), "\n")
	at, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	if i := strings.LastIndexByte(at, '/'); i >= 0 {
		at = at[i+1:]
	}
	return strings.TrimSpace(fn[strings.LastIndexByte(fn, '/')+1:] + " " + at)
}
