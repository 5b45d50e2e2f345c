package kraken

import (
	"bytes"
	"fmt"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// tick is what the venue says of a product each second; null where it doesn't.
type tick struct {
	feed, symbol                                     []byte
	ts, nextFunding                                  int64
	bidPrice, bidAmount, askPrice, askAmount         market.Decimal
	last, lastAmount, open, high, low, volume, quote market.Decimal
	mark, index, interest                            market.Decimal
	absolute, rate, prediction                       market.Decimal
	iv, delta, gamma, vega, theta, rho               market.Decimal
}

// tick reads a ticker of the stream, its lite sister, or one of the list of all.
func (d *contractDecoder) tick() {
	c, s := &d.c, &d.s
	*s = tick{nextFunding: market.None}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "feed":
			s.feed = c.Str()
		case "product_id", "symbol":
			s.symbol = c.Str()
		case "time":
			s.ts = source.Millis(c)
		case "bid":
			s.bidPrice = source.DecimalOrNull(c)
		case "bid_size", "bidSize":
			s.bidAmount = source.DecimalOrNull(c)
		case "ask":
			s.askPrice = source.DecimalOrNull(c)
		case "ask_size", "askSize":
			s.askAmount = source.DecimalOrNull(c)
		case "last":
			s.last = source.DecimalOrNull(c)
		case "lastSize":
			s.lastAmount = source.DecimalOrNull(c)
		case "open", "open24h":
			s.open = source.DecimalOrNull(c)
		case "high", "high24h":
			s.high = source.DecimalOrNull(c)
		case "low", "low24h":
			s.low = source.DecimalOrNull(c)
		case "volume", "vol24h":
			s.volume = source.DecimalOrNull(c)
		case "volumeQuote":
			s.quote = source.DecimalOrNull(c)
		case "markPrice":
			s.mark = source.DecimalOrNull(c)
		case "index", "indexPrice":
			s.index = source.DecimalOrNull(c)
		case "openInterest":
			s.interest = source.DecimalOrNull(c)
		case "funding_rate":
			s.absolute = source.DecimalOrNull(c)
		case "relative_funding_rate":
			s.rate = source.DecimalOrNull(c)
		case "relative_funding_rate_prediction":
			s.prediction = source.DecimalOrNull(c)
		case "next_funding_rate_time":
			s.nextFunding = source.Millis(c)
		case "greeks":
			d.greeks()
		default:
			c.Skip()
		}
	}
}

func isTicker(feed []byte) bool { return string(feed) == feedTicker || string(feed) == "ticker_lite" }

// told ends a frame that is a ticker.
func (d *contractDecoder) told(out *source.Out) error {
	if err := d.tell(out); err != nil {
		return err
	}
	return d.c.End()
}

func (d *contractDecoder) greeks() {
	c, s := &d.c, &d.s
	if c.Null() {
		return
	}
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "iv":
			s.iv = source.DecimalOrNull(c)
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

// fundingPer is what a rate is per: positions roll each hour.
const fundingPer = 1 // hour

// tell emits the records of a ticker that are in use.
func (d *contractDecoder) tell(out *source.Out) error {
	s := &d.s
	if err := d.c.Err(); err != nil || len(s.symbol) == 0 {
		return source.Lacks(&d.c, "a ticker", "product_id")
	}
	m := contractMarket(s.symbol)
	if m == market.MarketNone {
		return nil
	}
	id := out.SymbolIn(m, s.symbol)
	head := func(c market.Channel) market.Header {
		h := source.Header(c)
		h.Ts, h.Instrument = s.ts, id
		return h
	}
	if d.Uses(market.ChannelTicker) {
		t := market.Ticker{Header: head(market.ChannelTicker), Last: s.last, LastAmount: s.lastAmount, Open: s.open, High: s.high, Low: s.low,
			Volume: s.volume, QuoteVolume: s.quote, BidPrice: s.bidPrice, BidAmount: s.bidAmount, AskPrice: s.askPrice, AskAmount: s.askAmount, Trades: market.None}
		out.Ticker(&t)
	}
	h := head(market.ChannelNone)
	d.MarkPrice(out, h, s.mark)
	d.IndexPrice(out, h, s.index)
	d.OpenInterest(out, h, s.interest, market.Decimal{})
	if s.nextFunding != market.None {
		d.fund(h, out)
	}
	if d.Uses(market.ChannelOptions) && m == market.MarketOption {
		t := market.OptionSummary{Header: head(market.ChannelOptions), BidPrice: s.bidPrice, BidAmount: s.bidAmount, AskPrice: s.askPrice, AskAmount: s.askAmount,
			MarkPrice: s.mark, MarkIV: s.iv, Last: s.last, OpenInterest: s.interest, UnderlyingPrice: s.index,
			Delta: s.delta, Gamma: s.gamma, Vega: s.vega, Theta: s.theta, Rho: s.rho}
		out.OptionSummary(&t)
	}
	return nil
}

// fund emits a funding rate. "If zero, field is not populated": a perpetual
// without a rate has one of zero. Where only the absolute rate is given, which is
// in currency, the relative one isn't known.
func (d *contractDecoder) fund(h market.Header, out *source.Out) {
	t := market.Funding{Rate: d.s.rate, PredictedRate: d.s.prediction, NextTs: d.s.nextFunding, Interval: source.Hours(fundingPer)}
	if t.Rate.IsNull() {
		if d.s.absolute.Sign() != 0 {
			return
		}
		t.Rate = market.NewDecimal(0, 0)
	}
	d.Funding(out, h, t)
}

// candles decodes those of …/trade/PF_XBTUSD/1m, oldest first. One that another
// follows is final.
func (d *contractDecoder) candles(path []byte, out *source.Out) error {
	c := &d.c
	parts := bytes.Split(path, []byte{'/'})
	if len(parts) < 3 || string(parts[len(parts)-3]) != "trade" {
		return fmt.Errorf("candles of another price than trades'")
	}
	symbol, name := d.upper(parts[len(parts)-2]), parts[len(parts)-1]
	i := contractIntervals.Native(name)
	m := contractMarket(symbol)
	if m == market.MarketNone || i == nil {
		return fmt.Errorf("candles of the unknown product %.40q or length %.40q", symbol, name)
	}
	id := out.SymbolIn(m, symbol)
	var before market.Candle
	have := false
	one := func(d *contractDecoder, out *source.Out) error {
		t := market.Candle{Header: source.Header(market.ChannelCandles), OpenTs: market.None, Trades: market.None}
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "time":
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
			}
		}
		if t.OpenTs == market.None || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
			return source.Lacks(c, "a candle", "time or prices")
		}
		i.Put(&t, 0)
		t.Instrument = id
		if have {
			before.Flags |= market.FlagClosed
			out.Candle(&before)
		}
		before, have = t, true
		return nil
	}
	err := source.Each(c, d, out, one)
	if err == nil && have {
		out.Candle(&before)
	}
	return err
}
