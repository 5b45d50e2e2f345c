package conn

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// board remembers how the endpoints of one class have behaved, over all
// connections of the process to them, and says where to dial. It is shared by
// the slots of all feeds that have the same endpoints and way out.
//
// An endpoint's cost is what went wrong there (a dial that failed, a connection
// that ended early), halved every minute, its ping time in seconds, and its
// place in the manifest. A new connection goes where it costs least. A
// connection that lives is moved only when the difference is clear, and less
// readily away from the manifest's order than back to it. An endpoint that
// failed rests for a time that doubles with each bad end in a row, and is tried
// by one connection before others follow: an endpoint that comes and goes moves
// nobody for long.
type board struct {
	times boardTimes

	mu  sync.Mutex
	all []standing
}

// standing is what is known of an endpoint.
type standing struct {
	url    string
	bad    float64 // went wrong, halved every times.half
	at     time.Time
	streak int       // bad ends since a connection held
	rest   time.Time // nothing is sent there before, if there is a choice
	trial  time.Time // until then one connection tries it for all
	rtt    time.Duration
	opened int
	failed int
	ended  int
}

type boardTimes struct {
	half   time.Duration // of what went wrong
	hold   time.Duration // a connection that lived as long has held
	rest   time.Duration // after the first bad end
	most   time.Duration // of rest
	trial  time.Duration
	review time.Duration // how often a connection asks for a better place
}

var defaultBoard = boardTimes{half: time.Minute, hold: time.Minute, rest: 10 * time.Second, most: 30 * time.Minute, trial: 2 * time.Minute, review: 10 * time.Second}

const (
	placeCost  = 0.25 // of each place down the manifest's list
	mostBad    = 6.0
	backMargin = 0.2 // to an endpoint that the manifest prefers
	awayMargin = 0.5 // from it
	mostRTT    = 4.0 // seconds that count
)

// board gives the standing of a class of endpoints.
func (b *Budgets) board(key string, urls []string) *board {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.boards[key]
	if x == nil {
		x = &board{times: b.times}
		for _, u := range urls {
			x.all = append(x.all, standing{url: u})
		}
		b.boards[key] = x
	}
	return x
}

// cost of the endpoint i. b.mu is held.
func (b *board) cost(i int, now time.Time) float64 {
	s := &b.all[i]
	return s.left(now, b.times.half) + min(s.rtt.Seconds(), mostRTT) + placeCost*float64(i)
}

// left is what went wrong and is not forgotten.
func (s *standing) left(now time.Time, half time.Duration) float64 {
	return s.bad * math.Exp2(-float64(now.Sub(s.at))/float64(half))
}

// choose says where to dial. avoid, if there is another, is left out: a spare
// has little worth at the endpoint that it is to stand in for.
func (b *board) choose(now time.Time, avoid string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	best, soonest := -1, -1
	for i := range b.all {
		s := &b.all[i]
		if s.url == avoid && len(b.all) > 1 {
			continue
		}
		if soonest < 0 || s.rest.Before(b.all[soonest].rest) {
			soonest = i
		}
		if !s.rest.After(now) && (best < 0 || b.cost(i, now) < b.cost(best, now)) {
			best = i
		}
	}
	if best < 0 {
		best = soonest
	}
	return b.all[best].url
}

// left says that an endpoint rests while another one does not.
func (b *board) left(now time.Time, url string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	here, there := false, false
	for i := range b.all {
		rests := b.all[i].rest.After(now)
		here = here || rests && b.all[i].url == url
		there = there || !rests
	}
	return here && there
}

// better names an endpoint that is clearly better than that of a connection.
func (b *board) better(now time.Time, than string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.index(than)
	if at < 0 || len(b.all) < 2 {
		return "", false
	}
	best, cost := -1, b.cost(at, now)
	for i := range b.all {
		s, margin := &b.all[i], awayMargin
		if i < at {
			margin = backMargin
		}
		if i == at || s.rest.After(now) || s.trial.After(now) || b.cost(i, now)+margin >= cost {
			continue
		}
		if best < 0 || b.cost(i, now) < b.cost(best, now) {
			best = i
		}
	}
	if best < 0 {
		return "", false
	}
	if b.all[best].streak > 0 {
		b.all[best].trial = now.Add(b.times.trial)
	}
	return b.all[best].url, true
}

func (b *board) index(url string) int {
	for i := range b.all {
		if b.all[i].url == url {
			return i
		}
	}
	return -1
}

// change calls f with the standing of an endpoint.
func (b *board) change(url string, f func(*standing)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.index(url); i >= 0 {
		f(&b.all[i])
	}
}

// failed is a dial that did not come through.
func (b *board) failed(url string, now time.Time) {
	b.change(url, func(s *standing) {
		s.failed++
		b.blame(s, now, 1, true)
	})
}

// opened is one that did.
func (b *board) opened(url string) { b.change(url, func(s *standing) { s.opened++ }) }

// ended is a connection that was lost, or given up for its state, after a life.
func (b *board) ended(url string, now time.Time, lived time.Duration) {
	weight := 0.1
	switch {
	case lived < b.times.hold:
		weight = 1
	case lived < 10*b.times.hold:
		weight = 0.3
	}
	b.change(url, func(s *standing) {
		s.ended++
		b.blame(s, now, weight, lived < b.times.hold)
	})
}

func (b *board) blame(s *standing, now time.Time, weight float64, rest bool) {
	s.bad, s.at = min(s.left(now, b.times.half)+weight, mostBad), now
	if !rest {
		return
	}
	d := min(b.times.rest<<min(s.streak, 10), b.times.most)
	s.streak++
	s.rest, s.trial = now.Add(d/2+rand.N(d/2)), time.Time{}
}

// held says that a connection has lived for times.hold.
func (b *board) held(url string) {
	b.change(url, func(s *standing) { s.streak, s.trial = 0, time.Time{} })
}

// ping takes a ping's time.
func (b *board) ping(url string, d time.Duration) {
	b.change(url, func(s *standing) {
		if s.rtt == 0 {
			s.rtt = d
		}
		s.rtt += (d - s.rtt) / 8
	})
}
