package ring

import (
	"fmt"
	"os"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
)

// Slots is the number of requests that a mailbox holds unanswered.
const Slots = 64

// A slot is the request's words and, after them, the answer's.
const (
	slotBytes   = 1024
	answerAt    = 128
	textAt      = 192
	maxText     = slotBytes - textAt
	mailboxSize = Slots * slotBytes
)

// Op is what a request asks for.
type Op uint8

// The operations of a sink.
const (
	OpWrite Op = 1 + iota
	OpFlush
)

func (o Op) String() string {
	switch o {
	case OpWrite:
		return "write"
	case OpFlush:
		return "flush"
	}
	return fmt.Sprintf("unknown(%d)", uint8(o))
}

// Request is one batch or roll: positions [From, To) of a journal.
type Request struct {
	Batch      uint64 // the caller's number, given back in the answer
	Op         Op
	Journal    uint32 // index among the journals of Open
	Epoch      uint32
	From, To   uint64
	MaxRecords uint32 // of a write: the batch ends behind that many selected records; 0: at To
}

// Answer says what became of a request.
type Answer struct {
	Batch   uint64
	To      uint64 // where the batch ended; less than the request's To where MaxRecords was reached, or retention took the rest
	Count   int64  // selected records
	Pending int64  // bytes that the next flush of this journal would commit; -1 if the sink doesn't tell
	Failed  bool
	Kind    fault.Kind
	After   time.Duration
	Text    string // the error's, cut at 800 bytes
}

// Err is the answer's error, nil where it succeeded.
func (a *Answer) Err() error {
	if !a.Failed {
		return nil
	}
	return &fault.Error{Kind: a.Kind, After: a.After, Err: fmt.Errorf("%s", a.Text)}
}

// Mailbox is the runtime's end. It belongs to one goroutine.
type Mailbox struct {
	m         memory
	submitted uint64
	taken     uint64
	batches   [Slots]uint64
}

// NewMailbox makes a mailbox.
func NewMailbox() (*Mailbox, error) {
	m, err := create("marketprism-mailbox", mailboxMagic, mailboxSize)
	if err != nil {
		return nil, err
	}
	return &Mailbox{m: m}, nil
}

// File is the memfd for the plugin process; it stays the Mailbox's.
func (b *Mailbox) File() *os.File { return b.m.file }

// Submit puts a request; false if Slots are unanswered. The caller then rings
// the control block on which the sink sleeps.
func (b *Mailbox) Submit(r *Request) bool {
	if b.submitted-b.taken == Slots {
		return false
	}
	s := b.m.slot(b.submitted)
	le.PutUint64(s, r.Batch)
	le.PutUint64(s[8:], uint64(r.Op)|uint64(r.Journal)<<32)
	le.PutUint64(s[16:], uint64(r.Epoch)|uint64(r.MaxRecords)<<32)
	le.PutUint64(s[24:], r.From)
	le.PutUint64(s[32:], r.To)
	b.batches[b.submitted%Slots] = r.Batch
	b.submitted++
	b.m.h.in.Store(b.submitted)
	return true
}

// Unanswered is the number of requests whose answers weren't taken.
func (b *Mailbox) Unanswered() int { return int(b.submitted - b.taken) }

// Progress are the plugin's words as they stand: requests answered and begun.
func (b *Mailbox) Progress() (answered, begun uint64) { return b.m.h.out.Load(), b.m.h.upto.Load() }

// Idle says, to any goroutine, whether every request was answered.
func (b *Mailbox) Idle() bool { return b.m.h.out.Load() == b.m.h.in.Load() }

// Ready says whether an answer waits.
func (b *Mailbox) Ready() bool { return b.m.h.out.Load() != b.taken }

// Wait sleeps on bell until ready says true, an interrupt or the timeout (if
// positive). ready includes Ready.
func (b *Mailbox) Wait(bell *Bell, ready func() bool, timeout time.Duration) bool {
	return bell.wait(&b.m.h.parked, ready, timeout)
}

// Arm asks the plugin to ring at its next answer and says whether there is one
// already.
func (b *Mailbox) Arm() bool {
	b.m.h.parked.Store(1)
	return b.Ready()
}

// Take reads the next answer; ok is false if there is none. An error wraps
// ErrGarbage, and the mailbox is of no use then.
func (b *Mailbox) Take() (a Answer, ok bool, err error) {
	out := b.m.h.out.Load()
	if out == b.taken {
		return a, false, nil
	}
	if out-b.taken > b.submitted-b.taken {
		return a, false, fmt.Errorf("ring: %w: %d requests were answered of %d made", ErrGarbage, out, b.submitted)
	}
	s := b.m.slot(b.taken)[answerAt:]
	w := le.Uint64(s[40:])
	n := uint32(w >> 32)
	a = Answer{
		Batch:   le.Uint64(s),
		To:      le.Uint64(s[8:]),
		Count:   int64(le.Uint64(s[16:])),
		Pending: int64(le.Uint64(s[24:])),
		After:   time.Duration(le.Uint64(s[32:])),
		Failed:  w&1 != 0,
		Kind:    fault.Kind(w >> 8),
	}
	if want := b.batches[b.taken%Slots]; a.Batch != want || n > maxText || a.Kind > fault.Stop || a.Count < 0 || a.Pending < -1 || a.After < 0 {
		return a, false, fmt.Errorf("ring: %w: answer to batch %d names batch %d, fault kind %d, count %d, text of %d bytes",
			ErrGarbage, want, a.Batch, a.Kind, a.Count, n)
	}
	if n > 0 {
		a.Text = string(b.m.slot(b.taken)[textAt : textAt+n])
	}
	b.taken++
	return a, true, nil
}

// Close unmaps the mailbox.
func (b *Mailbox) Close() { b.m.close() }

// Server is the sink's end of a mailbox. It belongs to one goroutine.
type Server struct {
	m    memory
	done uint64
	bell ringer
}

// OpenServer maps the mailbox in descriptor fd and takes the doorbell in bellFd.
func OpenServer(fd, bellFd int) (*Server, error) {
	m, err := attach(fd, mailboxMagic)
	if err != nil {
		return nil, err
	}
	if len(m.data) != mailboxSize {
		m.close()
		return nil, fmt.Errorf("ring: mailbox of %d bytes, not %d", len(m.data), mailboxSize)
	}
	return &Server{m: m, bell: ringer{parked: &m.h.parked, fd: bellFd}}, nil
}

// Ready says whether a request waits.
func (s *Server) Ready() bool { return s.m.h.in.Load() != s.done }

// Next reads the next request and says that it was begun; ok is false if there
// is none.
func (s *Server) Next() (r Request, ok bool) {
	if !s.Ready() {
		return r, false
	}
	q := s.m.slot(s.done)
	op, max := le.Uint64(q[8:]), le.Uint64(q[16:])
	r = Request{Batch: le.Uint64(q), Op: Op(op), Journal: uint32(op >> 32), Epoch: uint32(max), MaxRecords: uint32(max >> 32),
		From: le.Uint64(q[24:]), To: le.Uint64(q[32:])}
	s.m.h.upto.Store(s.done + 1)
	return r, true
}

// Answer answers the request that Next returned last.
func (s *Server) Answer(a *Answer) {
	q := s.m.slot(s.done)
	text := a.Text[:min(len(a.Text), maxText)]
	w := uint64(a.Kind)<<8 | uint64(len(text))<<32
	if a.Failed {
		w |= 1
	}
	b := q[answerAt:]
	le.PutUint64(b, a.Batch)
	le.PutUint64(b[8:], a.To)
	le.PutUint64(b[16:], uint64(a.Count))
	le.PutUint64(b[24:], uint64(a.Pending))
	le.PutUint64(b[32:], uint64(a.After))
	le.PutUint64(b[40:], w)
	copy(q[textAt:], text)
	s.done++
	s.m.h.out.Store(s.done)
	s.bell.ring()
}

// Close unmaps the mailbox.
func (s *Server) Close() { s.m.close() }

func (m *memory) slot(n uint64) []byte {
	at := n % Slots * slotBytes
	return m.data[at : at+slotBytes : at+slotBytes]
}
