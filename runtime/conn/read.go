package conn

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/source"
)

// read takes frames into a leased buffer and appends each to the journal
// when its last byte is parsed. It allocates nothing beside gorilla's reader.
func (l *link) read() {
	defer close(l.done)
	l.readErr = l.readFrames()
	l.burst()
	nudge(l.wake)
}

func (l *link) readFrames() error {
	limit := l.ep.MaxFrame
	if limit <= 0 {
		limit = defaultMaxFrame
	}
	buffers := l.f.set.Buffers
	l.lent = buffers.Lease(min(readBuffer, limit+1))
	l.buf = l.lent.Slice()
	defer func() {
		l.buf = nil
		l.lent.Return()
	}()
	// The library's own limit counts what is on the wire; it spares reading a
	// frame that says it is too large. What is inflated is counted below.
	l.ws.SetReadLimit(int64(limit))
	frames := l.f.set.Frames
	for {
		mt, r, err := l.ws.NextReader()
		if err != nil {
			if errors.Is(err, websocket.ErrReadLimit) {
				return l.tooLarge("a frame of more than %d bytes", limit)
			}
			return err
		}
		l.inFrame = true
		n, wire := 0, l.sock.taken
		for {
			if n == len(l.buf) {
				if n > limit {
					return l.tooLarge("a frame inflates to more than %d bytes", limit)
				}
				l.lent = buffers.Grow(l.lent, n, min(2*n, limit+1))
				l.buf, l.quiet = l.lent.Slice(), 0
			}
			m, err := r.Read(l.buf[n:])
			n += m
			if err == io.EOF {
				break
			}
			if err != nil {
				if errors.Is(err, websocket.ErrReadLimit) {
					return l.tooLarge("a frame of more than %d bytes", limit)
				}
				return err
			}
			// What was read ahead before this frame counts for it: a bomb gains 64 KiB by that.
			if n > ratioFloor && bomb(n, l.sock.taken-wire+readBuffer) {
				return l.tooLarge("%d bytes of a frame were inflated from less than a %dth", n, maxRatio)
			}
		}
		l.inFrame = false
		if n > limit {
			return l.tooLarge("a frame inflates to more than %d bytes", limit)
		}
		kind := source.InputText
		if mt == websocket.BinaryMessage {
			kind = source.InputBinary
		}
		if l.waits.Load() {
			l.wait()
		}
		if kind == source.InputText { // no venue logs in with binary frames, which may be compressed
			l.login.Mask(l.buf[:n])
		}
		now := time.Now()
		mono := Mono(now)
		if _, err := frames.Append(kind, l.num, now.UnixNano(), mono, l.buf[:n], nil); err != nil {
			if err := l.f.appendFailed(l.num, err); err != nil {
				return err
			}
			continue
		}
		l.frames++
		l.bytes += uint64(n)
		l.readStamp = mono
		l.parsed++
		if l.quiet++; l.quiet > 1024 && len(l.buf) > 4*readBuffer {
			l.lent.Return() // a snapshot was large once
			l.lent = buffers.Lease(readBuffer)
			l.buf = l.lent.Slice()
		}
	}
}

// hold makes the reader wait for the connection that goes on beside this one,
// once, when the first subscription is about to be sent.
func (l *link) hold() {
	if !l.settling && l.beside != nil {
		l.settling = true
		l.waits.Store(true)
	}
}

// wait lets the connection beside this one journal what the venue sent on it
// before it subscribed this one; else what comes here would seem to have left
// that out. The socket keeps what comes meanwhile.
func (l *link) wait() {
	l.waits.Store(false)
	defer func() { l.beside = nil }() // and what was beside that
	t := time.NewTimer(l.f.set.Settle)
	defer t.Stop()
	for at := int64(0); ; t.Reset(time.Millisecond) {
		select {
		case <-t.C:
		case <-l.beside.done:
			return
		case <-l.ctx.Done():
			return
		}
		now := Mono(time.Now())
		if at == 0 {
			at = now
		}
		if l.beside.sock.caughtUp(at) || now-at > int64(settleMost) {
			return
		}
	}
}

func (l *link) tooLarge(format string, args ...any) error {
	l.f.count.refused.Add(1)
	err := l.endf(closeFrame, "%s: %w", fmt.Sprintf(format, args...), errTooLarge)
	l.f.event(Event{Kind: EventFrame, Conn: l.num, Detail: err.Error(), Err: err})
	l.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseMessageTooBig, ""), time.Now().Add(time.Second))
	return err
}

// burst runs on the reader's goroutine when everything that was read is parsed
// and the socket is next: it publishes the counters and rings once.
func (l *link) burst() int {
	n := l.parsed
	l.f.count.bursts.Add(1)
	l.bursts.Add(1)
	if n > 0 {
		l.parsed = 0
		l.f.count.frames.Add(uint64(n))
		l.f.count.bytes.Add(l.bytes - l.pubBytes.Load())
		l.lastLife.Store(l.readStamp) // first: whoever sees the frames sees their time
		l.pubFrames.Store(l.frames)
		l.pubBytes.Store(l.bytes)
		l.f.set.Frames.Ring()
	}
	if l.inFrame != (l.began.Load() != 0) || n > 0 {
		at := int64(0)
		if l.inFrame {
			at = Mono(time.Now())
		}
		l.began.Store(at)
	}
	return n
}
