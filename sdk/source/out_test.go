package source

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
)

// naked is a source whose books have neither numbers nor checksums.
type naked struct{ Source }

func (naked) Describe() Manifest { return Manifest{Venue: "fake"} }
func (naked) Identify(m market.Market, symbol string) market.Instrument {
	return market.Instrument{Market: m, Symbol: symbol}
}

// TestBookKeys: changes of a book that happen at one time are told apart by what
// they change, and a change that comes twice has one key.
func TestBookKeys(t *testing.T) {
	out := NewOut(naked{}, market.MarketSpot)
	key := func(bids, asks []market.Level) uint64 {
		b := market.Book{Header: Header(market.ChannelBook), Bids: bids, Asks: asks, Depth: market.None, FirstSeq: market.None, Checksum: market.None}
		b.Kind, b.Ts = market.KindBookDelta, 1_700_000_000_000_000_000
		out.Begin(&Input{Recv: 1})
		b.Instrument = out.Symbol([]byte("A-B"))
		out.Book(&b)
		return b.Key
	}
	one := []market.Level{{Price: market.NewDecimal(100, 0), Amount: market.NewDecimal(0, 0)}}
	two := []market.Level{{Price: market.NewDecimal(100, 0), Amount: market.NewDecimal(5, 0)}}
	seen := map[uint64]string{}
	for what, k := range map[string]uint64{"a bid goes": key(one, nil), "an ask goes": key(nil, one), "a bid": key(two, nil), "an ask": key(nil, two), "both": key(two, two)} {
		if other := seen[k]; other != "" {
			t.Errorf("%s and %s have one key", what, other)
		}
		seen[k] = what
	}
	if key(two, one) != key(two, one) {
		t.Error("one change has two keys")
	}
}
