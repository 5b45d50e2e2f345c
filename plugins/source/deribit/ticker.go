package deribit

import (
	"bytes"
	"fmt"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// state is what a ticker's frame holds; null where it doesn't.
type state struct {
	symbol, underlyingIndex                                    []byte
	ts                                                         int64
	bidPrice, bidAmount, askPrice, askAmount                   market.Decimal
	last, high, low, volume, quoteVolume                       market.Decimal
	mark, index, interest, funding                             market.Decimal
	markIV, bidIV, askIV                                       market.Decimal
	underlyingPrice, delta, gamma, vega, theta, rho, dollarVol market.Decimal
	partial                                                    bool // of an incremental ticker: what hasn't changed is left out
}

// tickerState decodes a ticker, which holds all that the venue says about the
// state of an instrument.
func (d *decoder) tickerState(out *source.Out) error {
	c, s := &d.c, &d.s
	*s = state{}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instrument_name":
			s.symbol = c.Str()
		case "timestamp":
			s.ts = source.Millis(c)
		case "type":
			s.partial = string(c.Str()) == "change"
		case "best_bid_price":
			s.bidPrice = source.DecimalOrNull(c)
		case "best_bid_amount":
			s.bidAmount = source.DecimalOrNull(c)
		case "best_ask_price":
			s.askPrice = source.DecimalOrNull(c)
		case "best_ask_amount":
			s.askAmount = source.DecimalOrNull(c)
		case "last_price":
			s.last = source.DecimalOrNull(c)
		case "mark_price":
			s.mark = source.DecimalOrNull(c)
		case "index_price":
			s.index = source.DecimalOrNull(c)
		case "open_interest":
			s.interest = source.DecimalOrNull(c)
		case "current_funding":
			s.funding = source.DecimalOrNull(c)
		case "mark_iv":
			s.markIV = source.DecimalOrNull(c)
		case "bid_iv":
			s.bidIV = source.DecimalOrNull(c)
		case "ask_iv":
			s.askIV = source.DecimalOrNull(c)
		case "underlying_price":
			s.underlyingPrice = source.DecimalOrNull(c)
		case "underlying_index":
			s.underlyingIndex = c.Str()
		case "stats":
			d.stats()
		case "greeks":
			d.greeks()
		default:
			c.Skip()
		}
	}
	if s.symbol == nil || s.ts == 0 {
		return source.Lacks(&d.c, "a ticker", "instrument_name or timestamp")
	}
	if m := marketOf(s.symbol); m != market.MarketNone {
		d.tell(m, out)
	}
	return nil
}

func (d *decoder) stats() {
	c, s := &d.c, &d.s
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "high":
			s.high = source.DecimalOrNull(c)
		case "low":
			s.low = source.DecimalOrNull(c)
		case "volume":
			s.volume = source.DecimalOrNull(c)
		case "volume_notional":
			s.quoteVolume = source.DecimalOrNull(c)
		case "volume_usd":
			s.dollarVol = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
}

func (d *decoder) greeks() {
	c, s := &d.c, &d.s
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "delta":
			s.delta = source.DecimalOrNull(c)
		case "gamma":
			s.gamma = source.DecimalOrNull(c)
		case "vega":
			s.vega = source.DecimalOrNull(c)
		case "theta":
			s.theta = source.DecimalOrNull(c)
		case "rho":
			s.rho = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
}

// fundingPer is what a rate is per, though it is paid all the time.
const fundingPer = 8 // hours

// tell emits the records of a ticker that are in use.
func (d *decoder) tell(m market.Market, out *source.Out) {
	s := &d.s
	id := out.SymbolIn(m, s.symbol)
	head := func(c market.Channel) market.Header {
		h := source.Header(c)
		h.Ts, h.Origin, h.Instrument = s.ts, d.origin, id
		return h
	}
	if d.tickerBBO && !s.partial {
		t := market.BBO{Header: head(market.ChannelBBO), BidPrice: s.bidPrice, BidAmount: s.bidAmount, AskPrice: s.askPrice, AskAmount: s.askAmount}
		out.BBO(&t)
	}
	if d.Uses(market.ChannelTicker) && !s.partial && !s.last.IsNull() { // what never traded has no ticker
		t := market.Ticker{Header: head(market.ChannelTicker), Last: s.last, High: s.high, Low: s.low, Volume: s.volume, QuoteVolume: s.quoteVolume,
			BidPrice: s.bidPrice, BidAmount: s.bidAmount, AskPrice: s.askPrice, AskAmount: s.askAmount, Trades: market.None}
		if m == market.MarketInverse {
			t.QuoteVolume = s.dollarVol
		}
		out.Ticker(&t)
	}
	h := head(market.ChannelNone)
	d.MarkPrice(out, h, s.mark)
	d.IndexPrice(out, h, s.index)
	d.OpenInterest(out, h, s.interest, market.Decimal{})
	d.Funding(out, h, market.Funding{Rate: s.funding, NextTs: market.None, Interval: source.Hours(fundingPer)})
	if d.Uses(market.ChannelOptions) && m == market.MarketOption && !s.partial {
		t := market.OptionSummary{Header: head(market.ChannelOptions), BidPrice: s.bidPrice, BidAmount: s.bidAmount, BidIV: s.bidIV,
			AskPrice: s.askPrice, AskAmount: s.askAmount, AskIV: s.askIV, MarkPrice: s.mark, MarkIV: s.markIV, Last: s.last, OpenInterest: s.interest,
			UnderlyingIndex: s.underlyingIndex, UnderlyingPrice: s.underlyingPrice, Delta: s.delta, Gamma: s.gamma, Vega: s.vega, Theta: s.theta, Rho: s.rho}
		out.OptionSummary(&t)
	}
}

// volatility decodes the volatility index of a currency, which is recorded with
// its inverse perpetual: btc_usd with BTC-PERPETUAL.
func (d *decoder) volatility(out *source.Out) error {
	c := &d.c
	t := market.VolatilityIndex{Header: source.Header(market.ChannelVolatilityIndex)}
	var name []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "index_name":
			name = c.Str()
		case "volatility":
			t.Value = source.Decimal(c)
		case "timestamp":
			t.Ts = source.Millis(c)
		default:
			c.Skip()
		}
	}
	base, quote, _ := bytes.Cut(name, []byte{'_'})
	if len(base) == 0 || t.Value.IsNull() {
		return source.Lacks(&d.c, "a volatility index", "index_name or volatility")
	}
	m := market.MarketInverse
	d.symbol = append(d.symbol[:0], base...)
	if string(quote) != "usd" {
		m = market.MarketLinear
		d.symbol = append(append(d.symbol, '_'), quote...)
	}
	upper(d.symbol)
	d.symbol = append(d.symbol, "-PERPETUAL"...)
	t.Instrument = out.SymbolIn(m, d.symbol)
	out.VolatilityIndex(&t)
	return nil
}

func upper(b []byte) {
	for i, ch := range b {
		if 'a' <= ch && ch <= 'z' {
			b[i] = ch - 'a' + 'A'
		}
	}
}

// candle decodes a candle of chart.trades.BTC-PERPETUAL.1. It says neither when
// it changed nor whether it is complete; volume counts the base currency, cost
// the currency of the price.
func (d *decoder) candle(out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), OpenTs: market.None, Trades: market.None}
	rest := d.channel[len("chart.trades."):]
	at := bytes.LastIndexByte(rest, '.')
	if at < 0 {
		return fmt.Errorf("at byte %d: channel %.60q names no length", c.Offset(), d.channel)
	}
	symbol, native := rest[:at], rest[at+1:]
	i := intervals.Native(native)
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "tick":
			t.OpenTs = source.Millis(c)
		case "open":
			t.Open = source.Decimal(c)
		case "high":
			t.High = source.Decimal(c)
		case "low":
			t.Low = source.Decimal(c)
		case "close":
			t.Close = source.Decimal(c)
		case "volume":
			t.Volume = source.DecimalOrNull(c)
		case "cost":
			t.QuoteVolume = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	if t.OpenTs == market.None || i == nil || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(&d.c, "a candle", "a known length, tick or prices")
	}
	if m := marketOf(symbol); m != market.MarketNone {
		i.Put(&t, 0)
		t.Instrument = out.SymbolIn(m, symbol)
		out.Candle(&t)
	}
	return nil
}
