package emulator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"
)

// Frame opcodes with the final bit.
const (
	opText   = 0x81
	opBinary = 0x82
	opClose  = 0x88
	opPing   = 0x89
	opPong   = 0x8a
)

// writeTimeout ends a connection that takes nothing from a saturated market.
const writeTimeout = 30 * time.Second

// Conn is one WebSocket connection. Frames are put into out in order and leave
// by one writer at a time: whoever flushes, or the connection's own goroutine
// when the socket's buffer is full.
type Conn struct {
	e      *Emulator
	id     uint32
	ws     *websocket.Conn
	nc     net.Conn
	raw    syscall.RawConn
	sub    []*stream // under Emulator.mu
	how    uint8     // variant of its frames, fixed by its URL
	path   string
	binary bool   // its text goes out in binary frames
	src    string // address without port
	opened time.Time
	gone   bool // under Emulator.mu: streams are given up, none is taken any more

	touched bool // has frames that the market's goroutine has not flushed; under Emulator.mu
	lastIn  []time.Time
	asked   chan struct{} // of a playback: the client has sent something

	mu      sync.Mutex
	index   uint32
	number  int64 // of the next frame, where the venue numbers them
	out     []byte
	spare   []byte
	rest    []byte // what the connection's goroutine writes
	writing bool
	closed  bool
	hangup  bool      // close the socket when out is empty
	mute    time.Time // until then market data is withheld
	dead    time.Time // until then nothing at all is sent
	dribble time.Time // until then bytes are written one by one
	deflate bool

	kick chan struct{}
	done chan struct{}

	lastPing, lastPong atomic.Int64

	wbuf    []byte
	written int
	werr    error
	rawFn   func(uintptr) bool
}

// accept upgrades a request and runs the connection until it ends.
func (e *Emulator) accept(w http.ResponseWriter, r *http.Request) {
	src, _, _ := net.SplitHostPort(r.RemoteAddr)
	if e.gated(w, r) {
		return
	}
	if !e.mayConnect(src) {
		http.Error(w, "too many connections", http.StatusTooManyRequests)
		return
	}
	if e.play == nil && !e.dialect.accepts(r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	if d, ok := e.dialect.(doorman); ok && e.play == nil && !d.admits(w, r) {
		return
	}
	ws, err := e.up.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	c := &Conn{e: e, ws: ws, nc: ws.NetConn(), path: r.URL.Path, src: src, kick: make(chan struct{}, 1), done: make(chan struct{})}
	if sc, ok := c.nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
	}
	c.rawFn = func(fd uintptr) bool {
		for {
			c.written, c.werr = unix.Write(int(fd), c.wbuf)
			if c.werr != unix.EINTR {
				return true
			}
		}
	}
	c.deflate = e.opt.Compression && headerHas(r.Header, "Sec-Websocket-Extensions", "permessage-deflate")
	now := time.Now()
	c.opened = now
	c.lastPing.Store(now.UnixNano())
	c.lastPong.Store(now.UnixNano())

	e.connsMu.Lock()
	if e.stopped {
		e.connsMu.Unlock()
		ws.Close()
		return
	}
	e.wg.Add(2) // this handler and the flusher
	e.nextID++
	c.id = e.nextID
	e.conns[c] = struct{}{}
	e.connsMu.Unlock()
	e.stats.opened.Add(1)
	e.ledger.add(Entry{Kind: EntryOpen, Conn: c.id, Time: now.UnixNano(), Hash: Hash([]byte(r.URL.String())), Size: uint32(len(r.URL.String()))})
	go c.flusher()
	defer e.wg.Done()
	defer e.forget(c)

	if e.play != nil {
		e.play.open(e, c, r)
	} else {
		e.mu.Lock()
		e.dialect.open(c, r)
		e.mu.Unlock()
		c.flush(false)
	}
	e.nudge()
	c.read()
}

// doorman is a dialect that looks at who asks, before the upgrade; it answers
// those whom it doesn't let in.
type doorman interface {
	admits(w http.ResponseWriter, r *http.Request) bool
}

func (e *Emulator) forget(c *Conn) {
	c.drop("closed")
	e.mu.Lock()
	c.gone = true
	for len(c.sub) > 0 {
		e.unsubscribe(c, c.sub[0])
	}
	e.mu.Unlock()
	e.connsMu.Lock()
	delete(e.conns, c)
	e.connsMu.Unlock()
}

// read handles what the client sends until the connection ends.
func (c *Conn) read() {
	c.ws.SetReadLimit(1 << 20)
	c.ws.SetPingHandler(func(p string) error {
		c.control(opPong, []byte(p))
		return nil
	})
	c.ws.SetPongHandler(func(string) error {
		c.e.stats.pongs.Add(1)
		c.lastPong.Store(time.Now().UnixNano())
		return nil
	})
	c.ws.SetCloseHandler(func(code int, _ string) error {
		c.close(code, "")
		return nil
	})
	for {
		kind, data, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		if kind != websocket.TextMessage {
			continue
		}
		e := c.e
		if e.play != nil {
			e.play.message(e, c, data)
			continue
		}
		e.mu.Lock()
		if e.opt.Limits && !e.mayMessage(c) {
			e.mu.Unlock()
			c.close(websocket.ClosePolicyViolation, "too many messages")
			return
		}
		delay := e.take(FaultSlowAck)
		if delay != nil {
			e.mu.Unlock()
			if !c.pause(delay.For) {
				return
			}
			e.mu.Lock()
		}
		e.dialect.message(c, data)
		e.mu.Unlock()
		c.flush(false)
		e.nudge()
	}
}

// pause delays the handling of a request, on the reader's goroutine.
func (c *Conn) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.done:
		return false
	}
}

// frame enters a frame in the ledger and queues it: a text frame, unless it is
// data of a connection that has it in binary, the connection has all so, or the
// venue's are gzip. now is its time.
func (c *Conn) frame(now int64, about About, flags EntryFlags, p []byte) {
	op := byte(opText)
	if c.binary || c.how&variantBinary != 0 && flags&FlagControl == 0 {
		op = opBinary
	}
	if c.e.gzipped {
		op, p = opBinary, gzipped(p)
	}
	c.put(op, now, about, flags, p)
}

func (c *Conn) put(op byte, now int64, about About, flags EntryFlags, p []byte) {
	c.mu.Lock()
	if c.closed || c.hangup {
		c.mu.Unlock()
		return
	}
	if p = c.numbered(p, &about, flags); !c.dead.IsZero() || !c.mute.IsZero() {
		t := time.Unix(0, now)
		if t.Before(c.dead) || (t.Before(c.mute) && flags&FlagControl == 0) {
			c.mu.Unlock()
			c.e.ledger.add(Entry{now, Hash(p), c.id, 0, uint32(len(p)), EntryFrame, flags | FlagFault | FlagWithheld, about})
			return
		}
	}
	if !c.e.ledger.off {
		c.e.ledger.add(Entry{now, Hash(p), c.id, c.index, uint32(len(p)), EntryFrame, flags, about})
	}
	c.index++
	c.out = append(appendHeader(c.out, op, len(p)), p...)
	over := len(c.out) > c.e.opt.SlowLimit
	c.mu.Unlock()
	c.e.stats.frames.Add(1)
	c.e.stats.bytes.Add(int64(len(p)))
	if over {
		c.e.stats.slow.Add(1)
		c.drop("slow reader")
	}
}

// numbered puts the connection's next number behind the mark of a frame whose
// venue counts them; one that a fault made has that of the right frame behind it. A book's record has this number alone.
// c.mu is held.
func (c *Conn) numbered(p []byte, about *About, flags EntryFlags) []byte {
	mark := c.e.numberMark
	i := bytes.Index(p, mark)
	if len(mark) == 0 || i < 0 || c.e.play != nil {
		return p
	}
	i += len(mark)
	out := append(appendInt(append(make([]byte, 0, len(p)+20), p[:i]...), c.number), p[i:]...)
	if flags&FlagFault != 0 && *about == (About{}) {
		return out
	}
	if about.Channel == ChannelBook {
		about.Seq = c.number
	}
	c.number++
	return out
}

// withhold enters a frame in the ledger that is not sent.
func (c *Conn) withhold(now int64, about About, flags EntryFlags, p []byte) {
	c.mu.Lock()
	p = c.numbered(p, &about, flags)
	c.mu.Unlock()
	c.e.ledger.add(Entry{now, Hash(p), c.id, 0, uint32(len(p)), EntryFrame, flags | FlagWithheld, about})
}

// control queues a control frame, which is no part of the ledger, and flushes.
func (c *Conn) control(op byte, p []byte) {
	c.mu.Lock()
	if !c.closed && !c.hangup && !time.Now().Before(c.dead) {
		c.out = append(appendHeader(c.out, op, len(p)), p...)
	}
	c.mu.Unlock()
	c.flush(false)
}

// close sends a close frame after what is queued, then ends the connection.
func (c *Conn) close(code int, reason string) {
	p := append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
	c.mu.Lock()
	if !c.hangup && !c.closed {
		c.out = append(appendHeader(c.out, opClose, len(p)), p...)
		c.hangup = true
	}
	c.mu.Unlock()
	c.flush(false)
}

// drop ends the connection without a close frame.
func (c *Conn) drop(reason string) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	c.mu.Unlock()
	close(c.done)
	c.nc.Close()
	c.e.stats.closed.Add(1)
	c.e.ledger.add(Entry{Kind: EntryClose, Conn: c.id, Time: time.Now().UnixNano(), Hash: Hash([]byte(reason)), Size: uint32(len(reason))})
}

// flush writes what is queued. It takes what the socket takes at once and hands
// the rest to the connection's goroutine; with wait it writes all of it itself.
func (c *Conn) flush(wait bool) {
	c.mu.Lock()
	for !c.writing && len(c.out) > 0 && !c.closed {
		c.writing = true
		buf := c.out
		c.out, c.spare = c.spare[:0], nil
		slow := !c.dribble.IsZero() && time.Now().Before(c.dribble)
		c.mu.Unlock()
		n, err := 0, error(nil)
		switch {
		case slow || c.raw == nil:
		case wait:
			_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
			n, err = c.nc.Write(buf)
			_ = c.nc.SetWriteDeadline(time.Time{}) // or it would fail a later try
		default:
			n, err = c.try(buf)
		}
		if err != nil {
			c.drop(err.Error())
			return
		}
		c.mu.Lock()
		if n < len(buf) {
			c.rest, c.spare = buf[n:], nil
			c.kick <- struct{}{} // has room: writing was false, so none is pending
			break
		}
		c.spare, c.writing = buf[:0], false
	}
	end := c.hangup && !c.writing && len(c.out) == 0
	c.mu.Unlock()
	if end {
		c.finish()
	}
}

// finish half-closes, so that the peer reads what was sent before the end, and
// leaves the rest to the reader, which ends when the peer does.
func (c *Conn) finish() {
	if t, ok := c.nc.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
}

// try writes without waiting.
func (c *Conn) try(buf []byte) (int, error) {
	c.wbuf = buf
	err := c.raw.Write(c.rawFn)
	c.wbuf = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(c.werr, unix.EAGAIN):
		return 0, nil
	case c.werr != nil:
		return 0, fmt.Errorf("emulator: write: %w", c.werr)
	}
	return c.written, nil
}

// flusher writes what a full socket has left over, waiting for the reader.
func (c *Conn) flusher() {
	defer c.e.wg.Done()
	for {
		select {
		case <-c.done:
			return
		case <-c.kick:
		}
		c.mu.Lock()
		buf := c.rest
		for {
			until := c.dribble
			c.mu.Unlock()
			if err := c.drain(buf, until); err != nil {
				c.drop(err.Error())
				return
			}
			c.mu.Lock()
			if len(c.out) == 0 {
				break
			}
			buf, c.out = c.out, nil
		}
		c.rest, c.writing = nil, false
		end := c.hangup
		c.mu.Unlock()
		if end {
			c.finish()
		}
	}
}

// drain writes buf, byte by byte at ten a second until the given time.
func (c *Conn) drain(buf []byte, until time.Time) error {
	for len(buf) > 0 && time.Now().Before(until) {
		if _, err := c.nc.Write(buf[:1]); err != nil {
			return err
		}
		buf = buf[1:]
		t := time.NewTimer(100 * time.Millisecond)
		select {
		case <-t.C:
		case <-c.done:
			t.Stop()
			return net.ErrClosed
		}
	}
	_, err := c.nc.Write(buf)
	return err
}

// waiting is the number of bytes queued.
func (c *Conn) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out)
}

// appendHeader writes the header of an unmasked frame.
func appendHeader(b []byte, op byte, n int) []byte {
	switch {
	case n < 126:
		return append(b, op, byte(n))
	case n < 1<<16:
		return append(b, op, 126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(b, op, 127), uint64(n))
}
