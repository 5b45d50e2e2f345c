package conn

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

// Budgets is what all feeds of a process share at a venue, by egress address
// and host: request weight, connects, open connections, the ban after a 429,
// and the HTTP connections themselves. One per process.
type Budgets struct {
	mu       sync.Mutex
	windows  map[string]*window
	opens    map[string]*opens
	egresses map[string]*egress
	pools    map[poolKey]*HTTPPool
	queues   map[string]*admission
	boards   map[string]*board
	times    boardTimes
}

// NewBudgets starts with nothing used.
func NewBudgets() *Budgets {
	return &Budgets{windows: make(map[string]*window), opens: make(map[string]*opens),
		egresses: make(map[string]*egress), pools: make(map[poolKey]*HTTPPool),
		queues: make(map[string]*admission), boards: make(map[string]*board), times: defaultBoard}
}

// Close drops HTTP connections; feeds have ended before.
func (b *Budgets) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pools {
		p.Close()
	}
}

// window gives the shared window of a key. Where feeds disagree about the
// limit, the stricter rate holds.
func (b *Budgets) window(key string, r source.Rate) *window {
	if r.N <= 0 || r.Per <= 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.windows[key]
	if w == nil {
		w = newWindow(r)
		b.windows[key] = w
		return w
	}
	w.mu.Lock()
	if float64(r.N)*float64(w.per) < float64(w.n)*float64(r.Per) {
		w.n, w.per = r.N, r.Per
	}
	w.mu.Unlock()
	return w
}

func (b *Budgets) open(key string, n int) *opens {
	if n <= 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.opens[key]
	if o == nil {
		o = &opens{free: make(chan struct{}, n)}
		b.opens[key] = o
	}
	return o
}

// window allows at most n units in any interval of per, exactly: it remembers
// what was used when. A token bucket would let twice as much through after a
// pause, and venues count windows.
type window struct {
	mu   sync.Mutex
	n    int
	per  time.Duration
	used []usage // oldest first
	sum  int
	turn [3]chan struct{} // waiters stand in line, by priority
}

type usage struct {
	at time.Time
	n  int
}

// Priorities of waiters. What is soon leaves a tenth of the budget to what is
// urgent, what is later a fifth to both.
const (
	urgent = iota
	soon
	later
)

func newWindow(r source.Rate) *window {
	return &window{n: r.N, per: r.Per, turn: [3]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)}}
}

func (w *window) expire(now time.Time) {
	i := 0
	// A twentieth is added since frames may arrive closer together than they left.
	for ; i < len(w.used) && now.Sub(w.used[i].at) >= w.per+w.per/20; i++ {
		w.sum -= w.used[i].n
	}
	if i > 0 {
		w.used = w.used[:copy(w.used, w.used[i:])]
	}
}

// take uses n units and returns 0, or returns how long to wait before asking again.
func (w *window) take(now time.Time, n, priority int) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, d := w.wanting(now, n, priority)
	if d == 0 {
		w.add(now, n)
	}
	return d
}

// ask is take that uses nothing; left is what the budget has for this priority.
func (w *window) ask(now time.Time, n, priority int) (d time.Duration, left int) {
	if w == nil {
		return 0, 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, d = w.wanting(now, n, priority)
	return d, w.limit(priority) - w.sum
}

func (w *window) limit(priority int) int {
	switch priority {
	case soon:
		return max(w.n*9/10, 1)
	case later:
		return max(w.n*4/5, 1)
	}
	return w.n
}

// wanting says how much n units use, and how long they must wait. w.mu is held.
func (w *window) wanting(now time.Time, n, priority int) (int, time.Duration) {
	w.expire(now)
	limit := w.limit(priority)
	n = min(n, limit) // what is heavier than the whole budget goes alone
	if w.sum+n <= limit {
		return n, 0
	}
	over := w.sum + n - limit
	for _, u := range w.used {
		if over -= u.n; over <= 0 {
			return n, max(w.per+w.per/20-now.Sub(u.at), time.Millisecond)
		}
	}
	return n, w.per
}

func (w *window) add(now time.Time, n int) {
	if n <= 0 {
		return
	}
	w.used = append(w.used, usage{now, n})
	w.sum += n
}

// force uses n units without asking: a pong can't wait.
func (w *window) force(now time.Time, n int) {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.expire(now)
	w.add(now, n)
	w.mu.Unlock()
}

// observe corrects the budget by what the venue says was used.
func (w *window) observe(now time.Time, used int) {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.expire(now)
	w.add(now, used-w.sum)
	w.mu.Unlock()
}

func (w *window) inUse(now time.Time) int {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
	return w.sum
}

// wait blocks until n units were taken.
func (w *window) wait(ctx context.Context, n, priority int) error {
	if w == nil {
		return ctx.Err()
	}
	select {
	case w.turn[priority] <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-w.turn[priority] }()
	for {
		d := w.take(time.Now(), n, priority)
		if d == 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
	}
}

// opens counts open connections.
type opens struct{ free chan struct{} }

func (o *opens) acquire(ctx context.Context) error {
	if o == nil {
		return ctx.Err()
	}
	select {
	case o.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *opens) release() {
	if o != nil {
		<-o.free
	}
}

// gate is shut while a venue asked us to be silent.
type gate struct {
	until   atomic.Int64 // ns since processStart, as Mono; 0: it was never shut
	sending sync.RWMutex // held for reading while a request is written
}

var errShut = fault.New(fault.Wait, errors.New("conn: the venue asked for silence"))

// shut keeps the gate shut for d from now, never shorter than it was. When it
// returns, no request is being written, and none begins to be.
func (g *gate) shut(now time.Time, d time.Duration) time.Time {
	t := Mono(now.Add(d))
	for {
		old := g.until.Load()
		if old != 0 && t <= old {
			return processStart.Add(time.Duration(old))
		}
		if g.until.CompareAndSwap(old, t) {
			break
		}
	}
	g.sending.Lock()
	g.sending.Unlock() //nolint:staticcheck // who writes has finished, who comes later sees until
	return processStart.Add(time.Duration(t))
}

// enter asks whether a request may be written now; who may calls leave afterwards.
func (g *gate) enter() bool {
	g.sending.RLock()
	if g.left(time.Now()) > 0 {
		g.sending.RUnlock()
		return false
	}
	return true
}

func (g *gate) leave() { g.sending.RUnlock() }

func (g *gate) left(now time.Time) time.Duration {
	u := g.until.Load()
	if u == 0 {
		return 0
	}
	return time.Duration(u - Mono(now))
}

func (g *gate) wait(ctx context.Context) error {
	for {
		d := g.left(time.Now())
		if d <= 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
	}
}

// admit blocks until the gate is open and the budget was taken. The gate may
// shut while the budget is waited for, so it is asked last.
func admit(ctx context.Context, g *gate, w *window, n, priority int) error {
	for {
		if err := g.wait(ctx); err != nil {
			return err
		}
		if err := w.wait(ctx, n, priority); err != nil {
			return err
		}
		if g.left(time.Now()) <= 0 {
			return nil
		}
	}
}

// retryAfter reads the header in seconds or as a date. Without one a 418 (an
// address that was banned) waits two minutes, a 403 for the same reason ten, a
// 429 one.
func retryAfter(status int, header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if s, err := strconv.ParseFloat(header, 64); err == nil && s >= 0 && s < 1e8 {
		return max(time.Duration(s*float64(time.Second)), time.Millisecond)
	}
	if t, err := http.ParseTime(header); err == nil {
		return max(t.Sub(now), time.Second)
	}
	switch status {
	case http.StatusTeapot:
		return 2 * time.Minute
	case http.StatusForbidden:
		return 10 * time.Minute
	}
	return time.Minute
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
