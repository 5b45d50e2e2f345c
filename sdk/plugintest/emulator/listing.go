package emulator

import (
	"errors"
	"slices"
)

// Listing changes what the venue lists while it runs: POST /_list.
type Listing struct {
	Symbol   string `json:"symbol"`             // native, or the canonical name of a new one
	Hidden   bool   `json:"hidden,omitempty"`   // not in the catalogue any more
	Status   string `json:"status,omitempty"`   // in the venue's words; empty: as at the start
	Turnover int64  `json:"turnover,omitempty"` // of 24 hours, before what the market has turned over
}

// List changes one instrument, or lists a new one. Streams of a hidden one go on:
// it is for the catalogue alone.
func (e *Emulator) List(l Listing) error {
	if l.Symbol == "" {
		return errors.New("emulator: a listing names its symbol")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.mkt.byName[l.Symbol]
	if s == nil {
		var err error
		if s, err = e.mkt.add(e.opt, l.Symbol, venues[e.opt.Venue].symbols); err != nil {
			return err
		}
	}
	s.hidden, s.status = l.Hidden, l.Status
	if l.Turnover > 0 {
		s.turnover.whole += l.Turnover - s.day
		s.day = l.Turnover
	}
	return nil
}

// listed are the instruments of the catalogue.
func (m *synthetic) listed() []*symbol {
	return slices.DeleteFunc(slices.Clone(m.syms), func(s *symbol) bool { return s.hidden })
}

// statusOr is the venue's word for a state.
func (s *symbol) statusOr(traded string) string {
	if s.status != "" {
		return s.status
	}
	return traded
}
