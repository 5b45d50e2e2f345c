package flow_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// TestSelected: what a selector takes and leaves out stands in the data, as the
// catalogue states it.
func TestSelected(t *testing.T) {
	b := newBench(t, nil)
	expiry := time.Unix(1_900_000_000, 0).UTC()
	b.note(0, flow.Note{Note: flow.NoteSelected, Listings: []selection.Listing{
		{Name: "BTC-USDT", Symbol: "btc", Market: market.MarketSpot, Status: market.StatusTrading, Base: "BTC", Quote: "USDT", TickSize: market.MustDecimal("0.010"), AmountUnit: market.UnitBase},
		{Name: "ETH-USDT-20300317", Symbol: "eth", Market: market.MarketSpot, Status: market.StatusTrading, Settle: "USDT", ContractSize: market.MustDecimal("0.1"), Expiry: expiry},
	}})
	b.subscribed(1, "btc")
	b.frame(1, trade("btc", 1))
	b.note(0, flow.Note{Note: flow.NoteSelected, Listings: []selection.Listing{{Name: "BTC-USDT", Symbol: "btc", Market: market.MarketSpot, Status: market.StatusDelisted}}})
	var got []string
	for _, r := range b.read(b.records) {
		if r.Kind() != market.KindInstrument {
			continue
		}
		if r.Origin() != market.OriginDerived || r.Channel() != market.ChannelInstruments || r.Ts() == 0 {
			t.Errorf("origin %s, channel %s, time %d", r.Origin(), r.Channel(), r.Ts())
		}
		s := r.symbol
		for _, f := range market.Fields(market.KindInstrument) {
			switch f.Name {
			case "instrument", "settle":
				s += " " + string(r.Text(f.Offset))
			case "tick_size", "contract_size":
				s += " " + r.Dec(f.Offset).Text()
			case "status":
				s += " " + market.Status(r.Int(f.Offset)).String()
			case "expiry":
				s += " " + fmt.Sprint(r.Int(f.Offset) == market.None || r.Int(f.Offset) == expiry.UnixNano())
			}
		}
		got = append(got, s)
	}
	want := []string{"btc BTC-USDT   0.010 true trading", "eth ETH-USDT-20300317 USDT 0.1  true trading", "btc BTC-USDT    true delisted"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if i := b.registry.Find("test", market.MarketSpot, "eth"); i == nil || i.Name != "ETH-USDT-20300317" || i.ContractSize.Text() != "0.1" {
		t.Errorf("the table has %+v", i)
	}
}

// TestListed: instrument records are told to who follows catalogues, but not
// those of an earlier run.
func TestListed(t *testing.T) {
	var told []string
	b := newBench(t, func(s *flow.Settings) {
		s.Listed = func(symbol string, st market.Status) { told = append(told, symbol+" "+st.String()) }
	})
	instrument := func(symbol string, s market.Status) func(*source.Out) {
		return func(o *source.Out) {
			r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), Instrument: []byte(symbol), Expiry: market.None, Status: s}
			r.Header.Instrument = o.Symbol([]byte(symbol))
			o.Instrument(&r)
		}
	}
	b.frame(1, instrument("btc", market.StatusTrading))
	b.frame(1, trade("btc", 1))
	b.frame(1, instrument("btc", market.StatusHalted))
	if want := []string{"btc trading", "btc halted"}; !slices.Equal(told, want) {
		t.Errorf("%q, want %q", told, want)
	}
	told = nil
	b.settings.LiveFrom = b.frames.Tail() + 1<<20
	b.lane = flow.New(b.settings)
	b.plugin()
	b.frame(1, instrument("btc", market.StatusTrading))
	if len(told) > 0 {
		t.Errorf("of an earlier run: %q", told)
	}
}
