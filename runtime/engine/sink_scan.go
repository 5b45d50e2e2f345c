package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// scan extends the batch being gathered over what the journal has, up to the
// batch's size.
func (d *sinkDriver) scan(t *track, now time.Time, limit shm.Position) error {
	t.seen = t.marks.Last()
	if d.draining {
		limit = min(limit, t.stopAt)
	}
	if t.hole != 0 || t.end >= limit {
		return nil
	}
	if limit == noLimit {
		if m, n, ok := t.marks.After(t.end, int64(d.p.Batch.MaxRecords-t.count)); ok {
			if t.count == 0 && n > 0 {
				t.first = now
			}
			if t.oldest == 0 && n > 0 {
				t.oldest = t.marks.WallAfter(t.end)
			}
			t.end, t.count, t.wall = m.Pos, t.count+int(n), m.Wall
			return nil
		}
	}
	// Read to the next mark at most, so that the marks serve from there on.
	if next := t.marks.Next(t.end); next != 0 {
		limit = min(limit, next)
	}
	if err := t.reader.Reset(t.end, limit); err != nil {
		return err
	}
	for t.count < d.p.Batch.MaxRecords && t.end < limit {
		rec, ok, err := t.reader.Next()
		if err == nil && ok {
			t.take(&rec, now)
			continue
		}
		var lapped shm.ErrLapped
		switch {
		case errors.As(err, &lapped):
			t.end, t.hole = lapped.From, lapped.To // the batch ends before it
			return nil
		case err != nil:
			return fmt.Errorf("engine: sink %s: journal %s: %w", d.p.Name, t.name, err)
		default: // everything below the newest mark was read
			t.end = max(t.end, min(t.seen, limit))
			return nil
		}
	}
	return nil
}

// probe looks whether the journal still holds what stands at pos. It opens the
// journal anew: what a reader has mapped it reads even if it is gone.
func (t *track) probe(pos shm.Position) error {
	r, err := shm.OpenReader(t.j.Dir(), pos, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	var lapped shm.ErrLapped
	if _, _, err = r.Next(); errors.As(err, &lapped) {
		t.hole, err = lapped.To, nil
	}
	return err
}

// drop moves the cursor behind what retention took: the sink's policy is
// drop_oldest. If the store may hold the batch that was under way, what is left
// of it is dropped as well, since under another name it could be there twice.
func (d *sinkDriver) drop(t *track) error {
	from, to := t.st.Cursor, t.hole
	if t.unsure {
		to = max(to, t.st.IntentTo)
	}
	d.lost(t, from, to)
	t.st.Cursor, t.st.IntentFrom, t.st.IntentTo, t.unsure = to, 0, 0, false
	t.rewind()
	if err := d.keep(t); err != nil {
		return err
	}
	t.j.Hold("sink "+d.p.Name, t.st.Cursor)
	return nil
}

// lost tells of records that this sink never gets.
func (d *sinkDriver) lost(t *track, from, to shm.Position) {
	d.Passed.Add(1)
	d.log.Error().Str("journal", t.name).Uint64("from", from).Uint64("to", to).Msg("records were dropped for this sink: retention passed its cursor; raise max_size, or mend the store")
}

// take counts a record into the batch being gathered.
func (t *track) take(rec *shm.Record, now time.Time) {
	if t.end = rec.End(); rec.Kind >= flow.KindDefine {
		return
	}
	if t.count == 0 {
		t.first = now
	}
	if t.oldest == 0 {
		t.oldest = rec.Wall
	}
	t.count++
	t.wall = rec.Wall
}
