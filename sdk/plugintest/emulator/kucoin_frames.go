package emulator

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// kucoinHead begins a frame of the classic socket up to its data.
func (st *stream) kucoinHead(b []byte, subject string) []byte {
	b = append(append(b, `{"topic":"`...), st.name...)
	return append(append(append(b, `","type":"message","subject":"`...), subject...), `","data":`...)
}

// product is how the pro socket names a market.
func (d *kucoin) product() string {
	if d.market == market.MarketSpot {
		return "SPOT"
	}
	return "FUTURES"
}

// number writes an amount or a price as the market does: spot as text,
// contracts bare.
func (d *kucoin) number(b []byte, key string, s *symbol, price bool, v int64) []byte {
	b = append(b, key...)
	quote := price || d.market == market.MarketSpot
	if quote {
		b = append(b, '"')
	}
	if price {
		b = s.appendTicks(b, v)
	} else {
		b = s.appendQty(b, v)
	}
	if quote {
		b = append(b, '"')
	}
	return b
}

func (d *kucoin) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	switch st.kind {
	case ChannelTrades:
		subject := "match"
		if d.market == market.MarketSpot {
			subject = "trade.l3match"
		}
		return append(d.trade(st.kucoinHead(b, subject), s, pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell}), '}')
	case ChannelBook:
		return d.obu(b, s, ev.first, ev.last, ev.now, ev)
	case ChannelBBO:
		return append(d.best(b, st, ev), '}')
	}
	return b[:0]
}

// trade writes one; ids and numbers are one.
func (d *kucoin) trade(b []byte, s *symbol, t pastTrade) []byte {
	side := `","side":"buy"`
	if t.sell {
		side = `","side":"sell"`
	}
	b = append(append(append(b, `{"symbol":"`...), s.native...), side...)
	spot := d.market == market.MarketSpot
	if spot {
		b = append(appendInt(append(b, `,"sequence":"`...), t.id), '"')
	} else {
		b = appendInt(append(b, `,"sequence":`...), t.id)
	}
	b = d.number(d.number(b, `,"size":`, s, false, t.qty), `,"price":`, s, true, t.price)
	b = appendInt(append(b, `,"takerOrderId":"66c8a9ed","makerOrderId":"66c8a9ec","tradeId":"`...), t.id)
	if spot {
		return append(appendInt(append(b, `","type":"match","time":"`...), t.now), `"}`...)
	}
	return append(appendInt(append(b, `","ts":`...), t.now), '}')
}

// obu writes changes of a book, or the whole of it, a ghost bid included.
func (d *kucoin) obu(b []byte, s *symbol, first, last, now int64, ev *event) []byte {
	kind := "snapshot"
	var bids, asks []level
	if ev != nil {
		kind, bids, asks = "delta", ev.bids, ev.asks
	} else {
		bids, asks = d.sides(s, 0)
	}
	b = append(append(append(b, `{"T":"obu.`...), d.product()...), `","dp":"increment@10ms","t":"`...)
	b = appendInt(append(append(b, kind...), `","P":`...), now)
	b = s.appendKucoinLevels(append(b, `,"d":{"a":[`...), asks, `"`)
	b = s.appendKucoinLevels(append(b, `],"b":[`...), bids, `"`)
	b = appendInt(append(b, `],"C":`...), last)
	b = appendInt(append(append(append(b, `,"s":"`...), s.native...), `","M":`...), now-now%1_000_000)
	return append(appendInt(append(b, `,"O":`...), first), `}}`...)
}

func (d *kucoin) sides(s *symbol, n int) (bids, asks []level) {
	if s.ghost != 0 {
		bids = append(bids, level{s.ghost, 1})
	}
	s.bids(n, func(i int, q int64) {
		if i != s.ghost {
			bids = append(bids, level{i, q})
		}
	})
	s.asks(n, func(i int, q int64) { asks = append(asks, level{i, q}) })
	return bids, asks
}

func (s *symbol) appendKucoinLevels(b []byte, ls []level, quote string) []byte {
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(s.appendPrice(append(b, `["`...), l.slot), `",`...), quote...)
		if l.qty == 0 {
			b = append(b, '0')
		} else {
			b = s.appendQty(b, l.qty)
		}
		b = append(append(b, quote...), ']')
	}
	return b
}

// best writes the best bid and offer; the caller closes the frame.
func (d *kucoin) best(b []byte, st *stream, ev *event) []byte {
	s := st.sym
	if d.market == market.MarketSpot {
		b = d.number(d.number(st.kucoinHead(b, "level1"), `{"asks":[`, s, true, s.price(s.ba)), `,`, s, false, s.qty[s.ba])
		b = d.number(d.number(b, `],"bids":[`, s, true, s.price(s.bb)), `,`, s, false, s.qty[s.bb])
		return append(appendInt(append(b, `],"timestamp":`...), ev.now/1_000_000), '}')
	}
	b = append(append(append(st.kucoinHead(b, "tickerV2"), `{"symbol":"`...), s.native...), '"')
	b = appendInt(append(b, `,"sequence":`...), ev.last)
	b = d.number(d.number(b, `,"bestBidSize":`, s, false, s.qty[s.bb]), `,"bestBidPrice":`, s, true, s.price(s.bb))
	b = d.number(d.number(b, `,"bestAskPrice":`, s, true, s.price(s.ba)), `,"bestAskSize":`, s, false, s.qty[s.ba])
	return append(appendInt(append(b, `,"ts":`...), ev.now), '}')
}

// timed writes what is sent by the clock.
func (d *kucoin) timed(st *stream, t int64) []byte {
	s, ms := st.sym, t/1_000_000
	bare := func(b []byte, key string, ticks int64) []byte { return s.appendTicks(append(b, key...), ticks) }
	text := func(b []byte, key string, ticks int64) []byte {
		return append(s.appendTicks(append(append(b, key...), '"'), ticks), '"')
	}
	var b []byte
	switch st.arg {
	case "mark-price":
		b = appendInt(append(b, `{"T":"mark-price","P":`...), t)
		b = append(append(append(b, `,"d":{"s":"`...), s.native...), '"')
		b = text(text(b, `,"mp":`, s.last), `,"ip":`, s.last-1)
		return append(appendInt(append(b, `,"oi":"20000","ts":`...), ms), `}}`...)
	case "funding-fee":
		every := int64(8 * time.Hour)
		begun := t - t%every
		b = appendInt(append(b, `{"T":"funding-fee","P":`...), t)
		b = append(append(append(b, `,"d":{"s":"`...), s.native...), `","fr":"0.0001","ft":`...)
		b = appendInt(append(appendInt(b, begun/1_000_000), `,"lfr":"0.00009","nt":`...), (begun+every)/1_000_000)
		return append(b, `,"gl":28800000,"fc":"0.003","ff":"-0.003"}}`...)
	case "/indicator/markPrice", "/indicator/index":
		b = append(append(append(st.kucoinHead(b, "tick"), `{"symbol":"`...), s.native...), `","granularity":1000`...)
		return append(appendInt(append(bare(b, `,"value":`, s.last), `,"timestamp":`...), ms), `}}`...)
	case "/market/snapshot":
		b = appendInt(append(st.kucoinHead(b, "trade.snapshot"), `{"sequence":"`...), s.seq)
		b = s.appendQty(append(b, `","data":{"askSize":`...), s.qty[s.ba])
		b = append(append(append(b, `,"baseCurrency":"`...), s.base...), `","bidSize":`...)
		b = bare(bare(s.appendQty(b, s.qty[s.bb]), `,"buy":`, s.price(s.bb)), `,"close":`, s.last)
		b = bare(appendInt(append(b, `,"datetime":`...), ms), `,"high":`, s.high)
		b = bare(bare(bare(b, `,"lastTradedPrice":`, s.last), `,"low":`, s.low), `,"open":`, s.open)
		b = append(append(append(bare(b, `,"sell":`, s.price(s.ba)), `,"symbol":"`...), s.native...), `","trading":true,"vol":`...)
		return append(s.turnover.append(append(s.appendQty(b, s.volume), `,"volValue":`...)), `}}}`...)
	case "/contractMarket/snapshot":
		b = append(append(append(st.kucoinHead(b, "snapshot.24h"), `{"symbol":"`...), s.native...), `","volume":`...)
		b = s.turnover.append(append(s.appendQty(b, s.volume), `,"turnover":`...))
		b = bare(bare(bare(b, `,"lastPrice":`, s.last), `,"lowPrice":`, s.low), `,"highPrice":`, s.high)
		return append(appendInt(append(b, `,"priceChgPct":0.0043,"ts":`...), t), `}}`...)
	}
	return d.candle(st, t)
}

// candle writes the state of one; when the next has begun its end was never said.
func (d *kucoin) candle(st *stream, t int64) []byte {
	s, c := st.sym, st.state.(*candle)
	c.closed = nil
	subject := "candle.stick"
	if d.market == market.MarketSpot {
		subject = "trade.candles.update"
	}
	b := append(append(append(st.kucoinHead(nil, subject), `{"symbol":"`...), s.native...), `","candles":["`...)
	b = append(appendInt(b, c.start/1_000_000_000), '"')
	for _, p := range []int64{c.open, c.close, c.high, c.low} {
		b = append(s.appendTicks(append(b, `,"`...), p), '"')
	}
	first, second := s.appendQty(nil, c.volume), c.turnover.append(nil)
	if d.market != market.MarketSpot { // contracts' first volume is wrong
		first, second = []byte("21.0"), first
	}
	b = append(append(append(append(append(b, `,"`...), first...), `","`...), second...), `"],"time":`...)
	if d.market == market.MarketSpot {
		return append(appendInt(b, t), `}}`...)
	}
	return append(appendInt(b, t/1_000_000), `}}`...)
}

// tick sends what is due by the clock: each second, funding rates, which the
// venue sends each minute, each fifth.
func (d *kucoin) tick(now time.Time) {
	t := now.UnixNano()
	for _, st := range d.e.streams {
		every := time.Second
		switch {
		case st.kind == ChannelTrades || st.kind == ChannelBook || st.kind == ChannelBBO:
			continue
		case st.arg == "funding-fee":
			every = 5 * time.Second
		}
		if t-st.sent < int64(every) {
			continue
		}
		st.sent = t
		p, f := d.timed(st, t), d.e.faultFor(st)
		for _, c := range st.subs[0] {
			if f != nil {
				d.e.mangle(f, st.about(), c, t, p)
			} else {
				c.frame(t, st.about(), 0, p)
			}
			d.e.touch(c)
		}
	}
}
