package binance

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// answer decodes what the venue says to a request: {"result":null,"id":1},
// {"error":{"code":2,"msg":"…"},"id":1}, {"code":2,"msg":"…","id":1}.
func (d *decoder) answer(out *source.Out) error {
	c := &d.c
	var id, reason []byte
	known, failed := false, false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "id":
			if !c.Null() {
				id = c.NumOrStr()
			}
		case "result":
			known = true
		case "error":
			known, failed = true, true
			reason = c.Raw()
		case "msg":
			known, failed = true, true
			reason = c.Str()
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	switch {
	case !known:
		return fmt.Errorf("neither an event nor an answer")
	case failed:
		out.Rejected(id, reason)
	default:
		out.Subscribed(id)
	}
	return nil
}

// response decodes the body of an HTTP response by the path of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	if in.Status != 200 {
		return d.refusal(in.Status)
	}
	name, query := in.Asked()
	r := response{decoder: d, out: out, query: query}
	if query.Has("symbol") {
		r.symbol = []byte(query.Get("symbol"))
	}
	switch name {
	case "depth":
		return r.depth()
	case "exchangeInfo":
		return d.exchangeInfo(out)
	case "openInterest":
		return r.each(r.openInterest)
	case "24hr":
		return r.each(r.dayTicker)
	case "globalLongShortAccountRatio":
		return r.ratio("accounts")
	case "topLongShortAccountRatio":
		return r.ratio("top_accounts")
	case "topLongShortPositionRatio":
		return r.ratio("top_positions")
	case "trades", "historicalTrades":
		return r.each(r.trade)
	case "aggTrades":
		return r.each(r.aggTrade)
	case "premiumIndex":
		return r.each(r.premiumIndex)
	case "fundingRate":
		return r.each(r.fundingRate)
	case "bookTicker":
		return r.each(r.bookTicker)
	}
	return fmt.Errorf("no such request is known")
}

// refusal is the error of a response that isn't 200: {"code":-1121,"msg":"…"}.
func (d *decoder) refusal(status int) error {
	c := &d.c
	var code int64
	var msg []byte
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "code":
			code = c.Int64()
		case "msg":
			msg = c.Str()
		}
	}
	if c.End() != nil {
		return fmt.Errorf("status %d", status)
	}
	return fmt.Errorf("status %d, code %d: %.200s", status, code, msg)
}

// response is one body that is being decoded; symbol is that of the request,
// which most bodies don't repeat.
type response struct {
	*decoder
	out    *source.Out
	symbol []byte
	query  url.Values
}

// each decodes an object, or each of an array's; one reads the members.
func (r *response) each(one func() error) error {
	c := &r.c
	if c.Kind() != jsonscan.KindArray {
		c.Object()
		if err := one(); err != nil {
			return err
		}
		return c.End()
	}
	asked := r.symbol
	c.Array()
	for c.Elem() {
		r.symbol = asked
		c.Object()
		if err := one(); err != nil {
			return err
		}
	}
	return c.End()
}

// depth decodes a book snapshot.
func (r *response) depth() error {
	r.c.Object()
	b, symbol, whole := r.snapshot()
	if symbol == nil {
		symbol = r.symbol
	}
	if symbol == nil || !whole {
		return source.Lacks(&r.c, "a book", "symbol, lastUpdateId, bids or asks")
	}
	if n, err := strconv.ParseInt(r.query.Get("limit"), 10, 64); err == nil {
		b.Depth = n
	}
	b.Instrument = r.out.Symbol(symbol)
	r.out.Book(&b)
	return r.c.End()
}

// dayTicker decodes the statistics of 24 hours. COIN-M counts volume in contracts.
func (r *response) dayTicker() error {
	c := &r.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			r.symbol = c.Str()
		case "lastPrice":
			t.Last = source.Decimal(c)
		case "openPrice":
			t.Open = source.Decimal(c)
		case "highPrice":
			t.High = source.Decimal(c)
		case "lowPrice":
			t.Low = source.Decimal(c)
		case "lastQty":
			t.LastAmount = source.Decimal(c)
		case "volume":
			t.Volume = source.Decimal(c)
		case "quoteVolume":
			t.QuoteVolume = source.Decimal(c)
		case "weightedAvgPrice":
			t.VWAP = source.Decimal(c)
		case "bidPrice":
			t.BidPrice = source.Decimal(c)
		case "bidQty":
			t.BidAmount = source.Decimal(c)
		case "askPrice":
			t.AskPrice = source.Decimal(c)
		case "askQty":
			t.AskAmount = source.Decimal(c)
		case "count":
			t.Trades = c.Int64()
		case "closeTime":
			t.Ts = source.Millis(c)
		}
	}
	if r.symbol == nil || t.Last.IsNull() {
		return source.Lacks(c, "a ticker", "symbol or lastPrice")
	}
	t.Instrument = r.out.Symbol(r.symbol)
	r.out.Ticker(&t)
	return nil
}

func (r *response) openInterest() error {
	c := &r.c
	t := market.OpenInterest{Header: source.Header(market.ChannelOpenInterest)}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			r.symbol = c.Str()
		case "openInterest":
			t.Amount = source.Decimal(c)
		case "time":
			t.Ts = source.Millis(c)
		}
	}
	if r.symbol == nil || t.Amount.IsNull() {
		return source.Lacks(&r.c, "an open interest", "symbol or openInterest")
	}
	t.Instrument = r.out.Symbol(r.symbol)
	r.out.OpenInterest(&t)
	return nil
}

// ratio decodes the longs and shorts of a population. COIN-M states them by
// pair: they are recorded with the pair's perpetual.
func (r *response) ratio(population string) error {
	c := &r.c
	return r.each(func() error {
		t := market.LongShortRatio{Header: source.Header(market.ChannelLongShortRatio), Population: []byte(population)}
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "symbol":
				r.symbol = c.Str()
			case "pair":
				r.symbol = r.perpetual(c.Str())
			case "longShortRatio":
				t.Ratio = source.Decimal(c)
			case "longAccount", "longPosition":
				t.Long = source.Decimal(c)
			case "shortAccount", "shortPosition":
				t.Short = source.Decimal(c)
			case "timestamp":
				t.Ts = source.Millis(c)
			}
		}
		if r.symbol == nil || t.Ratio.IsNull() {
			return source.Lacks(&r.c, "a long/short ratio", "symbol, pair or longShortRatio")
		}
		t.Instrument = r.out.Symbol(r.symbol)
		r.out.LongShortRatio(&t)
		return nil
	})
}

// trade decodes one of the trades that were asked for after a gap.
func (r *response) trade() error {
	c := &r.c
	t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "id":
			t.Seq = c.Int64()
			t.ID = c.Lexeme()
		case "price":
			t.Price = source.Decimal(c)
		case "qty":
			t.Amount = source.Decimal(c)
		case "time":
			t.Ts = source.Millis(c)
		case "isBuyerMaker":
			t.Side = taker(c.Bool())
		}
	}
	return r.backfill(&t)
}

func (r *response) aggTrade() error {
	c := &r.c
	t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
	t.Flags = market.FlagAggregate
	for c.Key() {
		switch c.Key1() {
		case 'a':
			t.Seq = c.Int64()
			t.ID = c.Lexeme()
		case 'p':
			t.Price = source.Decimal(c)
		case 'q':
			t.Amount = source.Decimal(c)
		case 'f':
			t.FirstID = c.Int64()
		case 'l':
			t.LastID = c.Int64()
		case 'T':
			t.Ts = source.Millis(c)
		case 'm':
			t.Side = taker(c.Bool())
		}
	}
	return r.backfill(&t)
}

func (r *response) backfill(t *market.Trade) error {
	if r.symbol == nil || t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(&r.c, "a trade", "symbol, id, price, amount or side")
	}
	t.Origin = market.OriginBackfill
	t.Instrument = r.out.Symbol(r.symbol)
	r.out.Trade(t)
	return nil
}

func (r *response) premiumIndex() error {
	c := &r.c
	h := source.Header(market.ChannelMarkPrice)
	var mark, index, rate market.Decimal
	next := market.None
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			r.symbol = c.Str()
		case "markPrice":
			mark = source.Decimal(c)
		case "indexPrice":
			index = source.DecimalOrNull(c)
		case "lastFundingRate":
			rate = source.DecimalOrNull(c)
		case "nextFundingTime":
			next = source.Millis(c)
		case "time":
			h.Ts = source.Millis(c)
		}
	}
	if r.symbol == nil || mark.IsNull() {
		return source.Lacks(&r.c, "a premium index", "symbol or markPrice")
	}
	r.prices(r.out, h, r.symbol, mark, index, rate, next)
	return nil
}

// fundingRate decodes a rate that was paid.
func (r *response) fundingRate() error {
	c := &r.c
	t := market.Funding{Header: source.Header(market.ChannelFunding), NextTs: market.None}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			r.symbol = c.Str()
		case "fundingRate":
			t.Rate = source.Decimal(c)
		case "fundingTime":
			t.Ts = source.Millis(c)
		}
	}
	if r.symbol == nil || t.Rate.IsNull() {
		return source.Lacks(&r.c, "a funding rate", "symbol or fundingRate")
	}
	t.Origin = market.OriginBackfill
	t.Instrument = r.out.Symbol(r.symbol)
	r.out.Funding(&t)
	return nil
}

func (r *response) bookTicker() error {
	c := &r.c
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			r.symbol = c.Str()
		case "lastUpdateId":
			t.Seq = c.Int64()
		case "bidPrice":
			t.BidPrice = source.Decimal(c)
		case "bidQty":
			t.BidAmount = source.Decimal(c)
		case "askPrice":
			t.AskPrice = source.Decimal(c)
		case "askQty":
			t.AskAmount = source.Decimal(c)
		case "time":
			t.Ts = source.Millis(c)
		}
	}
	if r.symbol == nil || t.BidPrice.IsNull() || t.AskPrice.IsNull() {
		return source.Lacks(&r.c, "a bookTicker", "symbol, bidPrice or askPrice")
	}
	t.Instrument = r.out.Symbol(r.symbol)
	r.out.BBO(&t)
	return nil
}

// taker is the side that took, of a trade whose buyer made or not.
func taker(buyerMade bool) market.Side {
	if buyerMade {
		return market.SideSell
	}
	return market.SideBuy
}
