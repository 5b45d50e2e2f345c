package source

import (
	"fmt"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
)

// produced says what kinds of record and signal there are in out.
func produced(t *testing.T, out *Out) string {
	t.Helper()
	var all []string
	for b := out.Bytes(); len(b) > 0; {
		n := market.View(b).Size()
		if IsSignal(b) {
			s, _, err := ParseSignal(b)
			if err != nil {
				t.Fatal(err)
			}
			if s.Kind != SignalDefine {
				all = append(all, fmt.Sprintf("%#x %s", uint8(s.Kind), s.Text))
			}
		} else {
			v := market.View(b[:n])
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s of %s %d", v.Kind(), v.Channel(), v.Flags()&market.FlagEnd)))
		}
		b = b[n:]
	}
	return strings.Join(all, ", ")
}

// TestFeed: what a ticker tells beside the ticker is emitted where it is known
// and its channel in use, under a header of its own.
func TestFeed(t *testing.T) {
	emit := func(s DecoderSettings, known market.Decimal) string {
		f, out := s.Feed(), NewOut(naked{}, market.MarketLinear)
		out.Begin(&Input{Recv: 1})
		h := Header(market.ChannelTicker)
		h.Instrument = out.Symbol([]byte("A-B"))
		f.MarkPrice(out, h, known)
		f.IndexPrice(out, h, known)
		f.OpenInterest(out, h, known, market.Decimal{})
		f.Funding(out, h, market.Funding{Rate: known, NextTs: market.None})
		return produced(t, out)
	}
	one := market.NewDecimal(1, 0)
	for _, c := range []struct {
		channels map[market.Channel]schema.Values
		known    market.Decimal
		want     string
	}{
		{nil, one, "mark_price of mark_price 0, index_price of index_price 0, open_interest of open_interest 0, funding of funding 0"},
		{nil, market.Decimal{}, ""},
		{map[market.Channel]schema.Values{market.ChannelTicker: nil}, one, ""},
		{map[market.Channel]schema.Values{market.ChannelFunding: nil, market.ChannelIndexPrice: nil}, one, "index_price of index_price 0, funding of funding 0"},
	} {
		if got := emit(DecoderSettings{Market: market.MarketLinear, Channels: c.channels}, c.known); got != c.want {
			t.Errorf("%v: %s, want %s", c.channels, got, c.want)
		}
	}
	s := DecoderSettings{Market: market.MarketLinear, Channels: map[market.Channel]schema.Values{market.ChannelTrades: nil}}
	if f := s.Feed(); f.All || f.Mixed() || !f.Uses(market.ChannelTrades) || f.Uses(market.ChannelBook) || !f.Wants(market.MarketLinear) || f.Wants(market.MarketSpot) {
		t.Errorf("%+v", f)
	}
	s = DecoderSettings{Market: market.MarketMixed}
	if f := s.Feed(); !f.All || !f.Mixed() || !f.Uses(market.ChannelBook) || !f.Wants(market.MarketSpot) {
		t.Errorf("%+v", f)
	}
}

func TestEnds(t *testing.T) {
	out := NewOut(naked{}, market.MarketSpot)
	out.Begin(&Input{Recv: 1})
	out.EndBook(out.Symbol([]byte("A-B")))
	out.Subscribed([]byte("7"))
	out.Subscribed(nil)
	want := fmt.Sprintf("book_delta of book %d, %#x 7, %#x ", market.FlagEnd, uint8(SignalSubscribed), uint8(SignalHeartbeat))
	if got := produced(t, out); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestListing: a name tells what a catalogue's entry leaves out, and no more.
func TestListing(t *testing.T) {
	for _, c := range []struct {
		m    market.Market
		name string
		r    market.InstrumentRecord
		want string
	}{
		{market.MarketSpot, "BTC-USDT", market.InstrumentRecord{}, "BTC USDT  none "},
		{market.MarketLinear, "BTC-USDT-PERP", market.InstrumentRecord{}, "BTC USDT USDT none "},
		{market.MarketLinear, "BTC-USDT-PERP", market.InstrumentRecord{Base: []byte("XBT"), Settle: []byte("USDC")}, "XBT USDT USDC none "},
		{market.MarketInverse, "BTC-USD:BTC-PERP", market.InstrumentRecord{}, "BTC USD BTC none "},
		{market.MarketOption, "BTC-USD:BTC-20261225-100000-P", market.InstrumentRecord{}, "BTC USD BTC put 100000"},
		{market.MarketOption, "BTC-USDC-20261225-0.5-C", market.InstrumentRecord{Strike: market.MustDecimal("0.50")}, "BTC USDC USDC call 0.5"},
	} {
		out := NewOut(naked{}, c.m)
		out.Begin(&Input{Recv: 1})
		n, err := market.ParseName(c.name)
		if err != nil {
			t.Fatal(err)
		}
		out.Listing(&c.r, c.m, []byte("X"), n)
		strike := ""
		if !c.r.Strike.IsNull() {
			strike = c.r.Strike.String()
		}
		kind := c.r.OptionType.String()
		if c.r.OptionType == market.OptionNone {
			kind = "none"
		}
		if got := fmt.Sprintf("%s %s %s %s %s", c.r.Base, c.r.Quote, c.r.Settle, kind, strike); got != c.want || string(c.r.Instrument) != c.name {
			t.Errorf("%s is listed as %s, %s, want %s", c.name, c.r.Instrument, got, c.want)
		}
	}
	if OptionType("C") != market.OptionCall || OptionType("P") != market.OptionPut || OptionType("X") != market.OptionNone {
		t.Error("C is a call, P a put, all else no option")
	}
}
