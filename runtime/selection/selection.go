// Package selection says which of a venue's instruments a source collects: what
// a venue lists (Listing), what a pipeline wants of it (Selector), and what is
// chosen now (State), which follows listings, delistings, expiries and volumes
// with hysteresis.
//
// It is pure: no clock, no I/O, no random number. The same catalogues at the
// same times give the same choices.
//
// Order: State.Step is called once for each catalogue, oldest first.
// Ownership: a Selector is immutable once it was made. A State belongs to one
// goroutine; what its methods return is the caller's.
// Nothing waits here, so nothing can be slow for somebody else.
package selection

import (
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Listing is what a venue says of one instrument.
type Listing struct {
	Name         string            `json:"instrument"` // canonical; empty where the venue's names give none
	Symbol       string            `json:"symbol"`     // the venue's own
	Market       market.Market     `json:"market"`
	Status       market.Status     `json:"status"`
	Base         string            `json:"base,omitempty"`
	Quote        string            `json:"quote,omitempty"`
	Settle       string            `json:"settle,omitempty"`
	TickSize     market.Decimal    `json:"tick_size,omitzero"`
	LotSize      market.Decimal    `json:"lot_size,omitzero"`
	ContractSize market.Decimal    `json:"contract_size,omitzero"`
	AmountUnit   market.Unit       `json:"amount_unit,omitempty"`
	Expiry       time.Time         `json:"expiry,omitzero"`
	Strike       market.Decimal    `json:"strike,omitzero"`
	Option       market.OptionType `json:"option_type,omitempty"`
	// Turnover is that of 24 hours in the quote currency, as far as it can be
	// told; it ranks instruments and says nothing exact. Zero: none is known.
	Turnover float64 `json:"turnover,omitzero"`
}

// Ended says whether the instrument is no longer traded, nor will be.
func (l *Listing) Ended(now time.Time) bool {
	return l.Status == market.StatusDelisted || l.Status == market.StatusExpired || l.Expired(now)
}

// Expired says whether the expiry has passed.
func (l *Listing) Expired(now time.Time) bool { return !l.Expiry.IsZero() && !l.Expiry.After(now) }

// Matches says whether a glob takes the canonical name or the venue's symbol. A
// star stands for any text, a question mark for one character; case is ignored.
func (l *Listing) Matches(pattern string) bool {
	return Glob(pattern, l.Name) || Glob(pattern, l.Symbol)
}

// Is says whether a text is the canonical name or the venue's symbol.
func (l *Listing) Is(name string) bool {
	return name != "" && (strings.EqualFold(l.Name, name) || strings.EqualFold(l.Symbol, name))
}

// Glob says whether a pattern takes all of s; nothing takes an empty text.
func Glob(pattern, s string) bool {
	if s == "" {
		return false
	}
	pattern, s = strings.ToUpper(pattern), strings.ToUpper(s)
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0: // the last star takes one more
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// IsGlob says whether a pattern may take more than one name.
func IsGlob(pattern string) bool { return strings.ContainsAny(pattern, "*?") }
