package flow

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// Output appends records to a journal, except those that a run before this one
// already journalled: after Resume they are recognised in their order.
type Output struct {
	Journal  Journal
	Records  int64 // emitted, journalled before or now
	Diverged int64 // journalled before with other bytes: another build decodes differently
	Err      error // of the journal; sticky
	Marks    Marks

	appended int64
	wall     int64
	pos      uint64 // of the last record, or behind it where a run before this one journalled it

	prior   *shm.Reader
	defined map[market.InstrumentID]*market.Instrument
}

// Resume makes the output recognise the records in [from, to) of the journal in dir.
func (o *Output) Resume(dir string, from, to uint64) error {
	r, err := shm.OpenRange(dir, from, to, nil)
	if err != nil {
		return fmt.Errorf("flow: records journal: %w", err)
	}
	o.prior = r
	return nil
}

// Position is where the next record to be emitted is, or will be: what a
// checkpoint holds. While records are recognised it lies before the tail.
func (o *Output) Position() uint64 {
	if o.prior != nil {
		return o.prior.Cursor()
	}
	return o.Journal.Tail()
}

// Emit journals one record.
func (o *Output) Emit(v market.View) {
	if o.Err != nil {
		return
	}
	o.Records++
	if o.prior != nil && o.known(v) {
		return
	}
	o.append(uint8(v.Kind()), v.Conn(), v.TsRecv(), v)
}

// EmitOf journals a record of i, and before its first one the instrument's definition.
func (o *Output) EmitOf(i *market.Instrument, v market.View) {
	if o.defined[i.ID] != i {
		if o.defined == nil {
			o.defined = map[market.InstrumentID]*market.Instrument{}
		}
		o.defined[i.ID] = i
		if err := o.Define(i, v.TsRecv()); err != nil {
			o.Err = err
			return
		}
	}
	o.Emit(v)
}

// Define journals an instrument's definition.
func (o *Output) Define(i *market.Instrument, recv int64) error {
	b, err := json.Marshal(i)
	if err != nil {
		return err
	}
	if o.Err == nil {
		o.append(KindDefine, 0, recv, b)
	}
	return o.Err
}

func (o *Output) append(kind uint8, conn uint32, wall int64, payload []byte) {
	pos, err := o.Journal.Append(shm.Header{Kind: kind, Conn: conn, Wall: wall}, payload)
	if err != nil {
		o.Err = fmt.Errorf("flow: records journal: %w", err)
		return
	}
	o.pos = pos
	if o.wall = wall; kind < KindDefine {
		o.appended++
	}
}

// Mark notes the end of a burst for the sinks.
func (o *Output) Mark() {
	o.Marks.Add(Mark{o.Journal.Tail(), o.appended, o.wall})
}

func (o *Output) known(v market.View) bool {
	for {
		rec, ok, err := o.prior.Next()
		if err != nil || !ok {
			_ = o.prior.Close()
			o.prior = nil
			return false
		}
		if rec.Kind >= KindDefine {
			continue
		}
		if !bytes.Equal(rec.Payload, v) {
			o.Diverged++
		}
		o.pos = rec.Pos
		return true
	}
}
