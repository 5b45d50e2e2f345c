package bitget

import (
	"bytes"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// API v1, which recordings up to 2023 hold: instType is "sp" for pairs and "mc"
// for contracts, trades are arrays without an id, members of tickers have other
// names, and books have a checksum and no number. The venue's documentation of it
// is https://bitgetlimited.github.io/apidoc/en/spot/ and …/mix/, read 2026-11-23.

// tradeV1 decodes ["time","price","size","side"].
func (d *decoder) tradeV1(out *source.Out) error {
	c := &d.c
	t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
	n := 0
	c.Array()
	for ; c.Elem(); n++ {
		switch n {
		case 0:
			t.Ts = source.Millis(c)
		case 1:
			t.Price = source.Decimal(c)
		case 2:
			t.Amount = source.Decimal(c)
		case 3:
			t.Side = side(c.Str())
		default:
			c.Skip()
		}
	}
	if n < 4 || t.Side == market.SideUnknown || d.m.symbol == nil || string(d.m.channel) != "trade" {
		return source.Lacks(&d.c, "a trade", "time, price, size or side")
	}
	t.Origin, t.Instrument = d.m.origin, d.id(nil, out)
	out.Trade(&t)
	return nil
}

// tickerV1 reads a member of a ticker that later versions don't have.
func (d *decoder) tickerV1(key []byte, t *market.Ticker, s *state) {
	c := &d.c
	switch string(key) {
	case "last":
		t.Last = source.DecimalOrNull(c)
	case "bestBid":
		t.BidPrice = source.DecimalOrNull(c)
	case "bestAsk":
		t.AskPrice = source.DecimalOrNull(c)
	case "systemTime":
		t.Ts = source.Millis(c)
	case "capitalRate":
		s.rate = source.DecimalOrNull(c)
	case "nextSettleTime":
		s.next = source.MillisOrNone(c)
	case "holding":
		s.interest = source.DecimalOrNull(c)
	default:
		c.Skip()
	}
}

// native is a symbol without the product that API v1 names in it:
// BTCUSD_241227 of BTCUSD_DMCBL_241227.
func (d *decoder) native(symbol []byte) []byte {
	pair, rest, _ := bytes.Cut(symbol, []byte{'_'})
	product, day, _ := bytes.Cut(rest, []byte{'_'})
	switch string(product) {
	case "SPBL", "UMCBL", "DMCBL", "CMCBL":
	default:
		return symbol
	}
	if len(day) == 0 {
		return pair
	}
	d.text = append(append(append(d.text[:0], pair...), '_'), day...)
	return d.text
}
