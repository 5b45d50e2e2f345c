package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"unsafe"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// maxInstruments bounds the table of one journal: ids are handed out by the
// runtime one after another.
const maxInstruments = 1 << 24

// journalReader reads selected records of ranges of one records journal, and
// keeps the instruments that the journal itself defines: in the table at each
// segment's start and in records between.
type journalReader struct {
	name      string
	dir       string
	feed      market.Instrument // instrument 0
	selection []wire.Select
	ctl       *shm.Control
	r         *shm.Reader

	table []entry // by id
	head  *byte   // of the segment table that was read last
	// All that records in [since, known) define is in table; since is a
	// segment's start, or the range is empty.
	since, known uint64

	to     uint64
	lapped bool // retention took what stands at to and behind it: the batch ends there
	rec    shm.Record
	peek   market.View
	inst   *market.Instrument
	err    error
}

type entry struct {
	inst     *market.Instrument
	kinds    uint64 // that the selection admits
	channels uint64 // whose quality and coverage it admits
}

func openJournal(j *wire.SinkJournal, selection []wire.Select, skipped func(from, to shm.Position)) (*journalReader, error) {
	ctl, err := shm.MapControl(j.ControlFd, j.BellFd)
	if err != nil {
		return nil, err
	}
	// The pin stands where the runtime put it until the first batch.
	pin := ctl.Pin()
	r, err := shm.OpenRange(j.Dir, pin, pin, ctl)
	if err != nil {
		return nil, err
	}
	r.OnSkip(skipped)
	var mine []wire.Select
	for _, sel := range selection {
		if sel.Journal == "" || sel.Journal == j.Name {
			mine = append(mine, sel)
		}
	}
	if len(mine) == 0 && len(selection) > 0 {
		// Others are selected from, this one isn't: an empty selection would admit all.
		mine = []wire.Select{{Kinds: []market.Kind{market.KindInvalid}}}
	}
	jr := &journalReader{name: j.Name, dir: j.Dir, selection: mine, ctl: ctl, r: r,
		feed: market.Instrument{Venue: j.Venue, Market: j.Market}}
	jr.set(jr.feed)
	return jr, nil
}

func (j *journalReader) set(i market.Instrument) {
	if i.ID >= maxInstruments {
		return
	}
	for int(i.ID) >= len(j.table) {
		j.table = append(j.table, entry{})
	}
	j.table[i.ID] = entry{&i, wire.Admits(j.selection, &i), wire.Channels(j.selection, &i)}
}

// begin prepares to read [from, to), cut behind max selected records.
func (j *journalReader) begin(from, to uint64, max uint32) error {
	j.to, j.lapped, j.peek, j.err = to, false, nil, nil
	if from < j.since || from > j.known || j.known == 0 {
		if err := j.prime(from); err != nil {
			return err
		}
	}
	if max > 0 {
		if err := j.r.Reset(from, to); err != nil {
			return fault.New(fault.Stop, err)
		}
		for n := uint32(0); ; {
			v, _, err := j.read()
			if err != nil {
				return err
			}
			if v == nil {
				j.lapped = j.lapped && j.to == from // what stands before is read first
				break
			}
			if n++; n == max {
				j.to = j.r.Cursor()
				break
			}
		}
	}
	if err := j.r.Reset(from, j.to); err != nil {
		return fault.New(fault.Stop, err)
	}
	return nil
}

// prime reads the definitions that stand in from's segment before it.
func (j *journalReader) prime(from uint64) error {
	names, err := os.ReadDir(j.dir)
	if err != nil {
		return fmt.Errorf("serve: journal %s: %w", j.name, err)
	}
	var base uint64
	for _, n := range names {
		if b, ok := shm.ParseSegmentName(n.Name()); ok && b <= from {
			base = max(base, b)
		}
	}
	j.since, j.known = min(base+shm.SegmentHeaderBytes, from), from
	if j.since == from {
		return nil // nothing before it; the table at the start is read on the way
	}
	if err := j.r.Reset(base+shm.SegmentHeaderBytes, from); err != nil {
		return fault.New(fault.Stop, err)
	}
	for {
		ok, err := j.r.Read(&j.rec)
		if errors.As(err, new(shm.ErrLapped)) {
			j.since = math.MaxUint64 // the batch is lapped as well, and says where
			break
		}
		if err != nil {
			return j.lost(err)
		}
		if !ok {
			break
		}
		if j.rec.Kind == wire.KindDefine {
			j.define(&j.rec)
		}
	}
	j.tables()
	return nil
}

// some says whether the range has a selected record.
func (j *journalReader) some() bool {
	j.peek, j.inst, j.err = j.read()
	return j.peek != nil
}

// next is the iterator behind a sink.Batch.
func (j *journalReader) next() (market.View, *market.Instrument, error) {
	if v := j.peek; v != nil {
		j.peek = nil
		return v, j.inst, nil
	}
	return j.read()
}

func (j *journalReader) read() (market.View, *market.Instrument, error) {
	for {
		if j.lapped {
			return nil, nil, nil
		}
		ok, err := j.r.Read(&j.rec)
		if err != nil {
			return nil, nil, j.lost(err)
		}
		if !ok {
			return nil, nil, nil
		}
		if j.rec.Kind >= wire.KindDefine {
			if j.rec.Kind == wire.KindDefine {
				j.define(&j.rec)
			}
			continue
		}
		v := market.View(j.rec.Payload)
		if len(v) < market.HeaderSize || v.Size() != len(v) {
			return nil, nil, fault.Errorf(fault.Skip, "serve: journal %s at %d: %d bytes are no record", j.name, j.rec.Pos, len(v))
		}
		id := v.Instrument()
		if int(id) >= len(j.table) || j.table[id].inst == nil {
			if j.tables(); int(id) >= len(j.table) || j.table[id].inst == nil {
				return nil, nil, fault.Errorf(fault.Stop, "serve: journal %s at %d: nothing defines instrument %d", j.name, j.rec.Pos, id)
			}
		}
		e := &j.table[id]
		if e.kinds>>j.rec.Kind&1 == 0 {
			continue
		}
		if k := v.Kind(); (k == market.KindQuality || k == market.KindCoverage) && e.channels>>v.Channel()&1 == 0 {
			continue
		}
		return v, e.inst, nil
	}
}

// lost ends the batch where retention took what follows: no retry brings it
// back, and the runtime finds out where the next batch begins.
func (j *journalReader) lost(err error) error {
	j.since = math.MaxUint64 // what was defined in between is unknown
	var lapped shm.ErrLapped
	if errors.As(err, &lapped) {
		j.to, j.lapped = min(lapped.From, j.to), true
		return nil
	}
	return fmt.Errorf("serve: journal %s: %w", j.name, err)
}

func (j *journalReader) define(rec *shm.Record) {
	var i market.Instrument
	if json.Unmarshal(rec.Payload, &i) == nil {
		j.set(i)
	}
}

// tables takes over the table at the current segment's start.
func (j *journalReader) tables() {
	b := j.r.Head()
	if len(b) == 0 || unsafe.SliceData(b) == j.head {
		return
	}
	j.head = unsafe.SliceData(b)
	var list []market.Instrument
	if json.Unmarshal(b, &list) != nil {
		return
	}
	for _, i := range list {
		// What came later in a record is newer than a table read late.
		if int(i.ID) >= len(j.table) || j.table[i.ID].inst == nil {
			j.set(i)
		}
	}
}

// release ends a batch: its records are no longer used.
func (j *journalReader) release() {
	j.known = max(j.known, j.r.Cursor())
	j.peek = nil
	j.r.Release()
}
