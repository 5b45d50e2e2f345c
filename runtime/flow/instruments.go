package flow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/wire"
)

// KindDefine is the journal record kind of an instrument's definition in a
// records journal: JSON of market.Instrument, before the first record that uses
// the id. All definitions in force also stand at each segment's start.
const KindDefine uint8 = wire.KindDefine

// Registry gives out instrument ids, one sequence for the whole data directory,
// and persists them before they are used. An id is never used again.
type Registry struct {
	mu    sync.RWMutex
	f     *os.File
	dirty bool // written and not synced
	byID  []*market.Instrument
	byKey map[string]*market.Instrument
}

// OpenRegistry reads path, or makes it. A last line that a crash cut short is
// dropped: its id was never used. Any other line that can't be read is an error.
func OpenRegistry(path string) (*Registry, error) {
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("flow: instrument table: %w", err)
	}
	r := &Registry{byID: make([]*market.Instrument, 1), byKey: map[string]*market.Instrument{}}
	good := int64(0)
	for n := 1; len(b) > 0; n++ {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		if !whole {
			break
		}
		var i market.Instrument
		if err := json.Unmarshal(line, &i); err != nil || i.ID == 0 || int(i.ID) > len(r.byID) {
			return nil, fmt.Errorf("flow: %s:%d: not an instrument (id %d, %v); restore the file from a backup, or move the data directory away to start anew",
				path, n, i.ID, err)
		}
		r.put(&i)
		good += int64(len(line)) + 1
		b = rest
	}
	r.f, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o640)
	if err == nil {
		err = r.f.Truncate(good)
	}
	if err == nil {
		_, err = r.f.Seek(good, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("flow: instrument table: %w", err)
	}
	return r, nil
}

func key(venue string, m market.Market, symbol string) string {
	return venue + "\x00" + string(rune(m)) + symbol
}

func (r *Registry) put(i *market.Instrument) {
	if int(i.ID) == len(r.byID) {
		r.byID = append(r.byID, i)
	} else {
		r.byID[i.ID] = i
	}
	r.byKey[key(i.Venue, i.Market, i.Symbol)] = i
}

// Ensure returns the instrument of i's venue, market and symbol, giving it an
// id if it has none, and updating what is known of it. changed says that its
// definition must be written to the records journal (again).
func (r *Registry) Ensure(i market.Instrument) (out *market.Instrument, changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.byKey[key(i.Venue, i.Market, i.Symbol)]
	if old != nil {
		merged := *old
		if i.Name != "" {
			merged.Name = i.Name
		}
		if i.AmountUnit != market.UnitUnknown {
			merged.AmountUnit = i.AmountUnit
		}
		if !i.ContractSize.IsNull() {
			merged.ContractSize = i.ContractSize
		}
		if i.Precision.Known {
			merged.Precision = i.Precision
		}
		if merged == *old {
			return old, false, nil
		}
		i = merged
	} else {
		i.ID = market.InstrumentID(len(r.byID))
	}
	line, err := json.Marshal(i)
	if err != nil {
		return nil, false, fmt.Errorf("flow: instrument %s: %w", i.Symbol, err)
	}
	if _, err := r.f.Write(append(line, '\n')); err != nil {
		return nil, false, fmt.Errorf("flow: instrument table: %w", err)
	}
	r.dirty = true
	r.put(&i)
	return &i, true, nil
}

// Find looks an instrument up without giving out an id.
func (r *Registry) Find(venue string, m market.Market, symbol string) *market.Instrument {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byKey[key(venue, m, symbol)]
}

// Get looks an instrument up by id; nil if there is none.
func (r *Registry) Get(id market.InstrumentID) *market.Instrument {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if int(id) >= len(r.byID) {
		return nil
	}
	return r.byID[id]
}

// All lists the instruments of a venue and market (of all venues if empty), by id.
func (r *Registry) All(venue string, m market.Market) []market.Instrument {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []market.Instrument
	for _, i := range r.byID[1:] {
		if venue == "" || i.Venue == venue && (m == market.MarketMixed || i.Market == m) {
			out = append(out, *i)
		}
	}
	slices.SortFunc(out, func(a, b market.Instrument) int { return int(a.ID) - int(b.ID) })
	return out
}

// Head is the table that stands at a segment's start.
func (r *Registry) Head(venue string, m market.Market) []byte {
	b, err := json.Marshal(r.All(venue, m))
	if err != nil {
		return []byte("[]")
	}
	return b
}

// Sync makes the table durable. It comes before anything that names its ids is
// made durable: an id that a power failure took would be given out again.
func (r *Registry) Sync() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.dirty {
		return nil
	}
	if err := r.f.Sync(); err != nil {
		return fmt.Errorf("flow: instrument table: %w", err)
	}
	r.dirty = false
	return nil
}

// Close closes the file.
func (r *Registry) Close() error { return r.f.Close() }
