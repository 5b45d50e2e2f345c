// Package replay derives records again from what was recorded: capture files,
// and the frames journals of a data directory. The way is that of a live feed
// (frames journal, the venue's plugin process, lane and books, records journal,
// sinks); only the connections are replaced by the recording, and the clock by
// its times. The same build gives the same bytes every time.
package replay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// Event is one recorded input.
type Event struct {
	Kind    source.InputKind
	Conn    uint32
	Wall    int64  // ns
	Payload []byte // the frames journal's, envelope included; valid until the next event
}

// Input is a recording: of one venue and market.
type Input struct {
	Path   string
	Venue  string
	Market market.Market
	Called string // the market's name in a recording, where it is none of ours: "futures"
	events func(yield func(*Event) error) error
	timed  bool // timers are among the events
}

// Each calls yield for every event in order.
func (in *Input) Each(yield func(*Event) error) error { return in.events(yield) }

// Custom makes an input of events that the caller has.
func Custom(path, venue string, m market.Market, events func(yield func(*Event) error) error) *Input {
	return &Input{Path: path, Venue: venue, Market: m, events: events}
}

// OpenJournal opens a feed's directory, or its frames directory, for replay. A
// runtime may be writing there: what it has committed is read.
func OpenJournal(path string) (*Input, error) {
	dir := filepath.Clean(path)
	if filepath.Base(dir) == "frames" {
		dir = filepath.Dir(dir)
	}
	frames := filepath.Join(dir, "frames")
	if st, err := os.Stat(frames); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("replay: %s: neither a capture file nor a feed's directory (DATA_DIR/feeds/VENUE-MARKET)", path)
	}
	venue, mk, ok := strings.Cut(filepath.Base(dir), "-")
	m, err := market.ParseMarket(mk)
	if !ok || err != nil {
		return nil, fmt.Errorf("replay: %s: the directory's name must be VENUE-MARKET", path)
	}
	return &Input{Path: path, Venue: venue, Market: m, timed: true, events: func(yield func(*Event) error) error {
		r, err := shm.OpenReader(frames, 0, nil)
		if err != nil {
			return fmt.Errorf("replay: %s: %w", path, err)
		}
		defer r.Close()
		var ev Event
		for {
			rec, ok, err := r.Next()
			var lapped shm.ErrLapped
			if errors.As(err, &lapped) { // retention took segments while we read
				continue
			}
			if err != nil || !ok {
				return err
			}
			ev = Event{source.InputKind(rec.Kind), rec.Conn, rec.Wall, rec.Payload}
			if err := yield(&ev); err != nil {
				return err
			}
			r.Release()
		}
	}}, nil
}

// Feed appends an input's events to a frames journal, at speed times the
// recorded pace (0: as fast as they are read), with a timer for each second
// that passed unless the recording has its own. It returns the time of the last
// event.
func Feed(ctx context.Context, in *Input, j *journal.Journal, speed float64, timer time.Duration, frames *Frames) (last int64, err error) {
	var began time.Time
	var first, tick int64
	n := 0
	err = in.Each(func(ev *Event) error {
		if n++; n&1023 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			j.Ring()
		}
		if first == 0 {
			first, began = ev.Wall, time.Now()
		}
		if speed > 0 {
			due := time.Duration(float64(ev.Wall-first) / speed)
			if wait := time.Until(began.Add(due)); wait > 0 {
				j.Ring()
				select {
				case <-time.After(wait):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		if at := ev.Wall / int64(timer); at > tick && !in.timed {
			if tick != 0 {
				if _, err := j.Append(shm.Header{Kind: uint8(source.InputTimer), Wall: at * int64(timer)}, nil); err != nil {
					return err
				}
			}
			tick = at
		}
		frames.Input(ev.Kind)
		last = ev.Wall
		_, err := j.Append(shm.Header{Kind: uint8(ev.Kind), Conn: ev.Conn, Wall: ev.Wall}, ev.Payload)
		return err
	})
	j.Ring()
	if err != nil {
		return last, fmt.Errorf("replay: %s: %w", in.Path, err)
	}
	return last, nil
}
