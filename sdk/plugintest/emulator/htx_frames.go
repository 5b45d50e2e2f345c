package emulator

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// head begins a push up to its tick.
func (d *htx) head(b []byte, st *stream, t int64) []byte {
	b = append(append(append(b, `{"ch":"`...), st.name...), `","ts":`...)
	return append(appendInt(b, t/1_000_000), `,"tick":{`...)
}

func (s *symbol) htxPrice(b []byte, key string, ticks int64) []byte {
	return s.appendTicks(append(b, key...), ticks)
}

// htxQty writes an amount; none of zero has decimals.
func (s *symbol) htxQty(b []byte, key string, q int64) []byte {
	if b = append(b, key...); q == 0 {
		return append(b, '0')
	}
	return s.appendQty(b, q)
}

func htxInt(b []byte, key string, v int64) []byte { return appendInt(append(b, key...), v) }

func (d *htx) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	switch st.kind {
	case ChannelTrades:
		return d.tradeFrame(b, st, pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell})
	case ChannelBook:
		if d.market == market.MarketSpot {
			b = htxInt(htxInt(d.head(b, st, ev.now), `"seqNum":`, ev.last), `,"prevSeqNum":`, ev.prev)
			if len(ev.bids) > 0 {
				b = d.levels(b, `,"bids":[`, s, ev.bids)
			}
			if len(ev.asks) > 0 {
				b = d.levels(b, `,"asks":[`, s, ev.asks)
			}
			return append(b, `}}`...)
		}
		b = append(append(append(b, `{"ch":"`...), st.name...), `","tick":{`...)
		b = d.levels(d.levels(b, `"asks":[`, s, ev.asks), `,"bids":[`, s, ev.bids)
		return d.tail(b, st, "update", ev.last, ev.now)
	case ChannelBBO:
		b = d.head(b, st, ev.now)
		if d.market == market.MarketSpot {
			b = s.htxQty(s.htxPrice(htxInt(b, `"seqId":`, ev.last), `,"ask":`, s.price(s.ba)), `,"askSize":`, s.qty[s.ba])
			b = s.htxQty(s.htxPrice(b, `,"bid":`, s.price(s.bb)), `,"bidSize":`, s.qty[s.bb])
			return append(append(append(htxInt(b, `,"quoteTime":`, ev.now/1_000_000), `,"symbol":"`...), s.native...), `"}}`...)
		}
		b = d.quotes(htxInt(htxInt(b, `"mrid":`, ev.last), `,"id":`, ev.now/1_000_000_000), s)
		return append(htxInt(htxInt(b, `,"ts":`, ev.now/1_000_000), `,"version":`, ev.last), `}}`...)
	}
	return b[:0]
}

// quotes writes the best bid and ask of a contract.
func (d *htx) quotes(b []byte, s *symbol) []byte {
	b = s.htxQty(s.htxPrice(b, `,"bid":[`, s.price(s.bb)), `,`, s.qty[s.bb])
	return append(s.htxQty(s.htxPrice(b, `],"ask":[`, s.price(s.ba)), `,`, s.qty[s.ba]), ']')
}

// tail ends a contract's book behind its levels.
func (d *htx) tail(b []byte, st *stream, event string, seq, t int64) []byte {
	b = append(append(append(b, `,"ch":"`...), st.name...), `","event":"`+event+`"`...)
	b = htxInt(htxInt(htxInt(htxInt(b, `,"id":`, seq), `,"mrid":`, seq), `,"ts":`, t/1_000_000), `,"version":`, seq)
	return append(htxInt(b, `},"ts":`, t/1_000_000), '}')
}

// tradeFrame writes a push of one trade.
func (d *htx) tradeFrame(b []byte, st *stream, t pastTrade) []byte {
	b = htxInt(htxInt(d.head(b, st, t.now), `"id":`, t.id), `,"ts":`, t.now/1_000_000)
	return append(d.trade(append(b, `,"data":[`...), st.sym, t), `]}}`...)
}

func (d *htx) trade(b []byte, s *symbol, t pastTrade) []byte {
	if d.market == market.MarketSpot {
		b = htxInt(htxInt(b, `{"id":`, t.id), "236887569077664", t.id%7) // of 26 digits
		b = htxInt(htxInt(b, `,"ts":`, t.now/1_000_000), `,"tradeId":`, t.id)
		b = s.htxPrice(s.htxQty(b, `,"amount":`, t.qty), `,"price":`, t.price)
	} else {
		b = append(s.htxQty(b, `{"amount":`, t.qty), `,"quantity":0.0031859832031779545255059460801016711`...)
		b = s.htxPrice(htxInt(htxInt(b, `,"ts":`, t.now/1_000_000), `,"id":`, t.id), `,"price":`, t.price)
	}
	if t.sell {
		return append(b, `,"direction":"sell"}`...)
	}
	return append(b, `,"direction":"buy"}`...)
}

func (d *htx) levels(b []byte, key string, s *symbol, ls []level) []byte {
	b = append(b, key...)
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(s.htxQty(s.htxPrice(b, `[`, s.price(l.slot)), `,`, l.qty), ']')
	}
	return append(b, ']')
}

// sides writes a whole book, a ghost bid included.
func (d *htx) sides(b []byte, s *symbol) []byte {
	var bids, asks []level
	if s.ghost != 0 {
		bids = append(bids, level{s.ghost, 1})
	}
	s.bids(0, func(i int, q int64) {
		if i != s.ghost {
			bids = append(bids, level{i, q})
		}
	})
	s.asks(0, func(i int, q int64) { asks = append(asks, level{i, q}) })
	return d.levels(d.levels(b, `,"bids":[`, s, bids), `,"asks":[`, s, asks)
}

// whole is the book that a contract's stream begins with.
func (d *htx) whole(st *stream, now time.Time) []byte {
	b := append(append([]byte(`{"ch":"`), st.name...), `","tick":{"mrid":1`...)
	return d.tail(d.sides(b, st.sym), st, "snapshot", st.sym.seq, now.UnixNano())
}

// timed writes what is sent by the clock: one frame, of liquidations one for each
// symbol; closed is the candle before, if it ended.
func (d *htx) timed(st *stream, now time.Time, closed *candle) (frames [][]byte) {
	t, s := now.UnixNano(), st.sym
	switch st.arg {
	case "liquidation_orders":
		for _, s := range d.e.mkt.syms {
			b := htxInt(append(append([]byte(`{"op":"notify","topic":"`), st.name...), '"'), `,"ts":`, t/1_000_000)
			b = append(append(append(b, `,"data":[{"symbol":"`+s.base+`","contract_code":"`...), s.native...), `","direction":"sell","offset":"close"`...)
			b = s.htxPrice(s.htxQty(b, `,"volume":`, s.lastQty+1), `,"price":`, s.last)
			frames = append(frames, append(htxInt(b, `,"created_at":`, t/1_000_000), `,"amount":0.17}]}`...))
		}
		return frames
	case "funding_rate":
		every := int64(8 * time.Hour)
		b := htxInt(append(append([]byte(`{"op":"notify","topic":"`), st.name...), '"'), `,"ts":`, t/1_000_000)
		b = append(append(append(b, `,"data":[{"symbol":"`+s.base+`","contract_code":"`...), s.native...), `","fee_asset":"USDT"`...)
		b = append(htxInt(b, `,"funding_time":"`, t/1_000_000), `","funding_rate":"0.000064355479737646","estimated_rate":null`...)
		return append(frames, append(htxInt(b, `,"settlement_time":"`, (t-t%every+every)/1_000_000), `"}]}`...))
	case "mark_price", "index":
		b := htxInt(append(append([]byte(`{"ch":"`), st.name...), `","tick":{`...), `"id":`, t/60_000_000_000*60)
		b = s.htxPrice(s.htxPrice(b, `,"open":"`, s.last), `","close":"`, s.last)
		b = s.htxPrice(s.htxPrice(b, `","high":"`, s.last), `","low":"`, s.last)
		return append(frames, append(htxInt(b, `","amount":"0","vol":"0","count":"0"},"ts":`, t/1_000_000), '}'))
	}
	if cd, ok := st.state.(*candle); ok {
		if closed != nil {
			frames = append(frames, d.candle(st, closed, t))
		}
		return append(frames, d.candle(st, cd, t))
	}
	return append(frames, d.ticker(d.head(nil, st, t), s, st.arg == "ticker", t))
}

func (d *htx) candle(st *stream, c *candle, t int64) []byte {
	s := st.sym
	b := htxInt(d.head(nil, st, t), `"id":`, c.start/1_000_000_000)
	b = s.htxPrice(s.htxPrice(b, `,"open":`, c.open), `,"close":`, c.close)
	b = s.htxPrice(s.htxPrice(b, `,"low":`, c.low), `,"high":`, c.high)
	return append(htxInt(d.volumes(b, s, c.volume, c.turnover), `,"count":`, c.trades), `}}`...)
}

// volumes writes what was traded: spot's vol is in the quote currency.
func (d *htx) volumes(b []byte, s *symbol, volume int64, t turnover) []byte {
	if d.market == market.MarketSpot {
		return t.append(append(s.htxQty(b, `,"amount":`, volume), `,"vol":`...))
	}
	b = s.htxQty(append(b, `,"amount":12397.7225650589211059171392145260319091988`...), `,"vol":`, volume)
	if d.market == market.MarketLinear {
		b = t.append(append(b, `,"trade_turnover":`...))
	}
	return b
}

func (d *htx) ticker(b []byte, s *symbol, quoted bool, t int64) []byte {
	b = s.htxPrice(s.htxPrice(htxInt(b, `"id":`, t/1_000_000_000), `,"open":`, s.open), `,"close":`, s.last)
	b = s.htxPrice(s.htxPrice(b, `,"high":`, s.high), `,"low":`, s.low)
	b = htxInt(d.volumes(b, s, s.volume, s.turnover), `,"count":`, s.trades)
	switch {
	case d.market != market.MarketSpot:
		b = d.quotes(b, s)
	case quoted:
		b = s.htxQty(s.htxPrice(b, `,"bid":`, s.price(s.bb)), `,"bidSize":`, s.qty[s.bb])
		b = s.htxQty(s.htxPrice(b, `,"ask":`, s.price(s.ba)), `,"askSize":`, s.qty[s.ba])
		b = s.htxQty(s.htxPrice(b, `,"lastPrice":`, s.last), `,"lastSize":`, s.lastQty)
	}
	return append(b, `}}`...)
}

// tick sends what is due by the clock.
func (d *htx) tick(now time.Time) {
	d.ping(now)
	for _, st := range d.e.streams {
		cd, candles := st.state.(*candle)
		switch {
		case st.kind == ChannelTrades || st.kind == ChannelBook || st.kind == ChannelBBO:
			continue
		case candles && cd.closed != nil:
		case now.UnixNano()-st.sent < int64(time.Second):
			continue
		}
		st.sent = now.UnixNano()
		var closed *candle
		if candles {
			closed, cd.closed = cd.closed, nil
		}
		f := d.e.faultFor(st)
		for _, p := range d.timed(st, now, closed) {
			for _, c := range st.subs[0] {
				if f != nil {
					d.e.mangle(f, st.about(), c, now.UnixNano(), p)
				} else {
					c.frame(now.UnixNano(), st.about(), 0, p)
				}
				d.e.touch(c)
			}
		}
	}
}
