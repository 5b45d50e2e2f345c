package sched

import "slices"

// queue holds the tasks of one tenant and priority. It grows up to its bound
// and stays so: in steady state nothing is allocated. The pool's lock guards it.
type queue struct {
	tenant  *Tenant
	level   Priority
	ring    []Task // a power of two
	head, n int
	bound   int
	deficit int64  // ns of work that it may still begin in its turn
	next    *queue // in the level's round; nil while it is empty
	fresh   bool   // its turn has not begun
	waiters []chan struct{}
}

const firstRing = 16

func (q *queue) push(t *Task) {
	if q.n == len(q.ring) {
		ring := make([]Task, max(firstRing, 2*len(q.ring)))
		k := copy(ring, q.ring[q.head:])
		copy(ring[k:], q.ring[:q.head])
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = *t
	q.n++
}

func (q *queue) front() *Task { return &q.ring[q.head] }

func (q *queue) pop(into *Task) {
	t := q.front()
	*into = *t
	*t = Task{}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
}

// room is at how many tasks those that wait for room are woken: a quarter of the
// bound is free then, so that they need not wake for each task.
func (q *queue) room() int { return q.bound - max(1, q.bound/4) }

// forget takes a waiter off; false if it was woken already.
func (q *queue) forget(w chan struct{}) bool {
	i := slices.Index(q.waiters, w)
	if i < 0 {
		return false
	}
	q.waiters = slices.Delete(q.waiters, i, i+1)
	return true
}

// level is the round of the queues of one priority that have tasks: deficit
// round robin. tail.next is the one whose turn it is.
type level struct {
	tail   *queue
	queued int
	credit int
	served uint64 // tasks that began
}

// quantum is what a tenant of weight 1 may begin in one turn, in ns of work.
const quantum = 250_000

func (l *level) join(q *queue) {
	q.fresh, q.deficit = true, 0
	if l.tail == nil {
		q.next = q
	} else {
		q.next, l.tail.next = l.tail.next, q
	}
	l.tail = q
}

// turn passes the turn on; leave takes the queue whose turn it is out.
func (l *level) turn() {
	l.tail = l.tail.next
	l.tail.fresh = true
}

func (l *level) leave() {
	q := l.tail.next
	if q == l.tail {
		l.tail = nil
	} else {
		l.tail.next = q.next
	}
	q.next = nil
}

// take moves tasks into dst in the order of service: at most limit, and no more
// than budget ns of work beyond the first.
func (p *Pool) take(dst []Task, limit int, budget int64) (n int) {
	defer func() { p.queuedNow.Store(int64(p.queued)) }()
	for n < limit && p.queued > 0 {
		l := p.pick()
		q := l.tail.next
		if q.fresh {
			q.deficit += quantum * q.tenant.weight
			q.fresh = false
		}
		for q.n > 0 && n < limit && l.credit > 0 {
			k := q.front().Kind
			cost := k.estimate()
			if cost > q.deficit {
				break
			}
			if n > 0 && (budget < k.cost.Load() || k.cost.Load() == 0) {
				return n
			}
			budget -= k.cost.Load()
			q.deficit -= cost
			q.pop(&dst[n])
			n++
			p.queued--
			l.queued--
			l.credit--
			l.served++
			q.tenant.served.Add(1)
			if len(q.waiters) > 0 && q.n <= q.room() {
				p.free(q)
			}
		}
		switch {
		case q.n == 0:
			l.leave()
		case q.front().Kind.estimate() > q.deficit:
			l.turn()
		}
	}
	return n
}

// pick chooses the priority: the highest one that has tasks and credit left.
func (p *Pool) pick() *level {
	for {
		for _, s := range shares {
			if l := &p.levels[s.level]; l.queued > 0 && l.credit > 0 {
				return l
			}
		}
		for _, s := range shares {
			p.levels[s.level].credit = s.tasks
		}
	}
}

// free wakes as many waiters as have room now.
func (p *Pool) free(q *queue) {
	p.freed = true
	for k := min(len(q.waiters), q.bound-q.n); k > 0; k-- {
		q.waiters[0] <- struct{}{} // of one; a waiter is woken once
		q.waiters = slices.Delete(q.waiters, 0, 1)
	}
}
