package emulator

import (
	"maps"
	"slices"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// venue is what a dialect's file registers.
type venue struct {
	markets  []market.Market
	new      func(*Emulator) dialect
	symbols  func(o Options, name market.Name, price float64) naming
	defaults func(market.Market) []string // canonical names
	limits   limits
	single   bool // an update has one number, not one for each level
	clock    bool // an update's number is its time in microseconds
}

// limits of a venue, in force with Options.Limits.
type limits struct {
	messages    int // a second from a client, on a connection
	streams     int // of a connection
	connects    int // of an address in connectsPer
	connectsPer time.Duration
	weight      int // of requests in a minute; 0: none
}

func (v venue) has(m market.Market) bool { return slices.Contains(v.markets, m) }

// venues by name; each dialect's file adds its own.
var venues = map[string]venue{}

// Venues lists the venues that can be emulated.
func Venues() []string { return slices.Sorted(maps.Keys(venues)) }

// tickDecimals is how many decimals give a price at least 50,000 ticks.
func tickDecimals(price float64) uint8 {
	d := uint8(0)
	for price*float64(pow10[d]) < 50_000 && d < 8 {
		d++
	}
	return d
}

// DefaultSymbols are the canonical names that an emulator has without
// Options.Symbols; none if the venue is unknown.
func DefaultSymbols(name string, m market.Market) []string {
	v, ok := venues[name]
	if !ok {
		return nil
	}
	return v.defaults(m)
}

// Symbols are the native symbols, in the order of Options.Symbols.
func (e *Emulator) Symbols() []string { return e.mkt.names() }

// Markets are those that a venue is emulated on; none if it is unknown.
func Markets(name string) []market.Market { return slices.Clone(venues[name].markets) }
