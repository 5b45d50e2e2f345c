package shm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	ctlMagic = 0x314c54434d50524d
	ctlBytes = 64 << 10 // a page wherever pages are up to 64 KiB
)

// page is a control block as both processes see it. Each group that one side
// writes has cache lines of its own.
type page struct {
	magic   atomic.Uint64
	version atomic.Uint64
	_       [112]byte
	// The reader's.
	pin    atomic.Uint64 // it may still touch bytes from here on
	cursor atomic.Uint64 // the next position that it will read
	waits  atomic.Uint64 // times that it slept
	_      [104]byte
	// The host's.
	committed atomic.Uint64 // everything below is committed
	stop      atomic.Uint32
	_         [116]byte
	// The reader's to set, the host's to clear.
	parked atomic.Uint32
	_      [124]byte
}

// How a reader sleeps, as its parked word says.
const (
	awake      = 0
	parkedRaw  = 1 // on the word itself, holding its processor
	parkedBell = 2 // on the doorbell, its processor free for others
)

// rawSlice is the longest time that a sleeper holds its processor. It bounds
// how late the other goroutines of a one-processor process can run.
const rawSlice = 8 * time.Millisecond

// rawSlices is how many such sleeps in a row may pass in vain before it gives
// its processor up. To do so costs far more than a slice: the Go runtime's
// monitor then looks every 20 µs for a while, each time the processor is taken
// again.
const rawSlices = 10

// Control is the control block of one reader and its doorbell. The host makes
// it (NewControl for a reader in another process, NewLocal for one in its
// own), registers it with the journal and rings it; the reader waits on it.
// It isn't bound to journals: a consumer of any ring can wait on one.
//
// Ring and Stop may be called by several goroutines, Wait by one at a time.
type Control struct {
	p    *page
	mem  []byte // the mapping of p; nil for a local one
	file *os.File
	// The doorbell: a channel within one process, else a pipe, of which the
	// host has the ringer's end and the reader the sleeper's.
	ch      chan struct{}
	timer   *time.Timer
	sleeper *os.File
	ringer  int

	mayHold bool // one processor: sleeping on the word is cheaper
	hold    bool // the last sleeps were short enough for it
	short   int
	vain    int         // raw sleeps in a row that nobody ended
	broken  atomic.Bool // interrupted
	buf     [64]byte
}

// NewControl makes a control block and a doorbell for a reader in another
// process. Its files go to that process, which calls MapControl with their
// descriptors there.
func NewControl() (*Control, error) {
	file, err := newControlFile(ctlBytes)
	if err != nil {
		return nil, err
	}
	mem, err := mapControl(int(file.Fd()), ctlBytes)
	if err != nil {
		file.Close()
		return nil, err
	}
	sleeper, ringer, err := newBell()
	if err != nil {
		unmap(mem)
		file.Close()
		return nil, err
	}
	c := &Control{p: (*page)(unsafe.Pointer(&mem[0])), mem: mem, file: file, sleeper: sleeper, ringer: ringer}
	c.p.magic.Store(ctlMagic)
	c.p.version.Store(LayoutVersion)
	return c, nil
}

// NewLocal makes a control block for a reader in this process.
func NewLocal() *Control {
	return &Control{p: new(page), ch: make(chan struct{}, 1), ringer: -1}
}

// MapControl opens, in the reader's process, the control block and doorbell
// that the host handed over as two descriptors. It owns both from here on.
func MapControl(ctlFd, bellFd int) (*Control, error) {
	mem, err := mapControl(ctlFd, ctlBytes)
	if err != nil {
		return nil, err
	}
	p := (*page)(unsafe.Pointer(&mem[0]))
	if p.magic.Load() != ctlMagic || p.version.Load() != LayoutVersion {
		unmap(mem)
		return nil, fmt.Errorf("shm: descriptor %d is no control block of version %d", ctlFd, LayoutVersion)
	}
	sleeper, err := openBell(bellFd)
	if err != nil {
		unmap(mem)
		return nil, err
	}
	closeFd(ctlFd)
	one := runtime.GOMAXPROCS(0) == 1
	return &Control{p: p, mem: mem, sleeper: sleeper, ringer: -1, mayHold: one, hold: one}, nil
}

// Files returns the control block's memfd and the sleeper's end of the
// doorbell, for exec.Cmd.ExtraFiles. They stay the Control's. Both are nil
// for a local one.
func (c *Control) Files() (ctl, bell *os.File) { return c.file, c.sleeper }

// Close unmaps the block and closes its descriptors. The side that calls it
// uses the Control no more.
func (c *Control) Close() error {
	var err error
	if c.file != nil {
		err = c.file.Close()
	}
	if c.sleeper != nil {
		err = errors.Join(err, c.sleeper.Close())
	}
	if c.ringer >= 0 {
		closeFd(c.ringer)
		c.ringer = -1
	}
	if c.mem != nil {
		unmap(c.mem)
		c.mem = nil
	}
	c.p = new(page) // a late call finds an empty block, not a fault
	return err
}

// Pin is the reader's pin as it stands in the block: not to be trusted when
// the reader is another process.
func (c *Control) Pin() Position { return c.p.pin.Load() }

// Cursor is the position that the reader reads next, as it says: its progress.
func (c *Control) Cursor() Position { return c.p.cursor.Load() }

// Waits counts the times that the reader slept.
func (c *Control) Waits() uint64 { return c.p.waits.Load() }

// Parked says whether the reader sleeps.
func (c *Control) Parked() bool { return c.p.parked.Load() != awake }

// SetPin and SetCursor are the reader's, and the host's before the reader
// starts.
func (c *Control) SetPin(pos Position)    { c.p.pin.Store(pos) }
func (c *Control) SetCursor(pos Position) { c.p.cursor.Store(pos) }

// SetCommitted is the host's word that everything below pos is committed.
func (c *Control) SetCommitted(pos Position) { c.p.committed.Store(pos) }

// Committed returns it.
func (c *Control) Committed() Position { return c.p.committed.Load() }

// Stop tells the reader to end and wakes it.
func (c *Control) Stop() {
	c.p.stop.Store(1)
	c.Ring()
}

// Stopped says whether Stop was called on either side.
func (c *Control) Stopped() bool { return c.p.stop.Load() != 0 }

// Ring wakes the reader if it sleeps and says whether it did. It costs one
// load while the reader is awake.
func (c *Control) Ring() bool {
	how := c.p.parked.Load()
	if how == awake || !c.p.parked.CompareAndSwap(how, awake) {
		return false
	}
	switch {
	case c.ch != nil:
		select {
		case c.ch <- struct{}{}:
		default:
		}
	case how == parkedRaw:
		futexWake(unsafe.Pointer(&c.p.parked))
	case c.ringer >= 0:
		ringBell(c.ringer)
	}
	return true
}

// Interrupt ends the Wait under way, or the next one, on the reader's side.
func (c *Control) Interrupt() {
	c.broken.Store(true)
	if c.ch != nil {
		c.Ring()
	} else if c.sleeper != nil {
		_ = c.sleeper.SetReadDeadline(time.Unix(1, 0))
	}
}

// Wait sleeps until ready says true, the block is stopped or interrupted, or
// the timeout has passed (none if it isn't positive), and returns what ready
// says then. ready is called by this goroutine only and must be cheap; the
// host must ring after what makes it true.
func (c *Control) Wait(ready func() bool, timeout time.Duration) bool {
	if ready() {
		return true
	}
	var end time.Time
	if timeout > 0 {
		end = time.Now().Add(timeout)
	}
	for !c.Stopped() {
		left := time.Duration(0)
		if timeout > 0 {
			if left = time.Until(end); left <= 0 {
				return ready()
			}
		}
		how := uint32(parkedBell)
		if c.hold {
			how = parkedRaw
		}
		// Say so first, then look again: the host commits first and looks
		// at the word then, so one of the two sees the other.
		c.p.parked.Store(how)
		if ready() || c.Stopped() || c.broken.Swap(false) {
			c.p.parked.Store(awake)
			return ready()
		}
		c.p.waits.Add(1)
		c.sleep(how, left)
		c.p.parked.Store(awake)
		if ready() {
			return true
		}
		if c.broken.Swap(false) {
			return false
		}
	}
	return ready()
}

func (c *Control) sleep(how uint32, left time.Duration) {
	if c.ch != nil {
		c.sleepLocal(left)
		return
	}
	if how == parkedRaw {
		d := rawSlice
		if left > 0 {
			d = min(d, left)
		}
		if !futexWait(unsafe.Pointer(&c.p.parked), parkedRaw, d) {
			c.vain = 0
		} else if c.vain++; c.vain >= rawSlices {
			c.hold, c.short, c.vain = false, 0, 0
		} else {
			runtime.Gosched() // others had to wait for this slice
		}
		return
	}
	if left > 0 {
		_ = c.sleeper.SetReadDeadline(time.Now().Add(left))
	}
	var began time.Time
	if c.mayHold {
		began = time.Now()
	}
	if c.broken.Load() {
		return // the deadline that Interrupt set may have been set over
	}
	_, err := c.sleeper.Read(c.buf[:])
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = c.sleeper.SetReadDeadline(time.Time{})
		} else if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
			c.p.stop.Store(1) // the host is gone, nobody will ring
		}
		return
	}
	if left > 0 {
		_ = c.sleeper.SetReadDeadline(time.Time{})
	}
	if !c.mayHold {
		return
	}
	if time.Since(began) >= rawSlices*rawSlice/3 {
		c.short = 0
	} else if c.short++; c.short >= 4 {
		c.hold = true
	}
}

func (c *Control) sleepLocal(left time.Duration) {
	if left <= 0 {
		<-c.ch
		return
	}
	if c.timer == nil {
		c.timer = time.NewTimer(left)
	} else {
		c.timer.Reset(left)
	}
	select {
	case <-c.ch:
		c.timer.Stop()
	case <-c.timer.C:
	}
}

// WaitContext is Wait until ctx ends. It allocates; a loop that waits often
// calls Interrupt or Stop from one context.AfterFunc of its own instead.
func (c *Control) WaitContext(ctx context.Context, ready func() bool) bool {
	if ready() {
		return true
	}
	for ctx.Err() == nil && !c.Stopped() {
		cancel := context.AfterFunc(ctx, c.Interrupt)
		ok := c.Wait(ready, 0)
		cancel()
		if ok {
			return true
		}
	}
	return ready()
}
