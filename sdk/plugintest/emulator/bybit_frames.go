package emulator

import (
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// bybitHead begins a frame up to its data. Spot and level 1 have the time before
// the type, contracts' and options' tickers behind the data.
func (d *bybit) head(b []byte, st *stream, kind string, t int64) []byte {
	topic, _, _ := strings.Cut(st.name, "|")
	b = append(append(append(b, `{"topic":"`...), topic...), '"')
	ms := t / 1_000_000
	switch {
	case st.kind == ChannelCandles || st.kind == ChannelTicker && d.market != market.MarketSpot:
		return append(append(append(b, `,"type":"`...), kind...), `","data":`...)
	case d.market == market.MarketSpot || st.kind == ChannelBBO:
		b = appendInt(append(b, `,"ts":`...), ms)
		return append(append(append(b, `,"type":"`...), kind...), `","data":`...)
	}
	b = append(append(append(b, `,"type":"`...), kind...), `","ts":`...)
	return append(appendInt(b, ms), `,"data":`...)
}

func (s *symbol) appendBybit(b []byte, key string, price bool, v int64) []byte {
	b = append(append(b, key...), '"')
	if price {
		b = s.appendTicks(b, v)
	} else {
		b = s.appendQty(b, v)
	}
	return append(b, '"')
}

func (d *bybit) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	switch st.kind {
	case ChannelTrades:
		b = d.trade(append(d.head(b, st, "snapshot", ev.now), '['), s, pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell}, false)
		return append(b, `]}`...)
	case ChannelBook:
		b = s.appendBybitLevels(append(append(append(d.head(b, st, "delta", ev.now), `{"s":"`...), s.native...), `","b":[`...), ev.bids)
		b = s.appendBybitLevels(append(b, `],"a":[`...), ev.asks)
		return d.bookEnd(b, ev.last, ev.now)
	case ChannelBBO:
		*st.state.(*int64), st.sent = ev.last, ev.now
		return d.whole(b, st, 1, ev.last, ev.now)
	}
	return b[:0]
}

// bookEnd closes a book with its number.
func (d *bybit) bookEnd(b []byte, u, t int64) []byte {
	b = appendInt(append(b, `],"u":`...), u)
	b = appendInt(append(b, `,"seq":`...), 4*u)
	return append(appendInt(append(b, `},"cts":`...), t/1_000_000-2), '}')
}

// whole writes a book of n levels (0: all).
func (d *bybit) whole(b []byte, st *stream, n int, u, t int64) []byte {
	b = append(append(append(d.head(b, st, "snapshot", t), `{"s":"`...), st.sym.native...), '"')
	return d.bookEnd(d.sides(b, st.sym, n), u, t)
}

// sides writes both sides, a ghost bid included; the caller closes the last list.
func (d *bybit) sides(b []byte, s *symbol, n int) []byte {
	var bids, asks []level
	if s.ghost != 0 {
		bids = append(bids, level{s.ghost, 1})
	}
	s.bids(n, func(i int, q int64) {
		if i != s.ghost {
			bids = append(bids, level{i, q})
		}
	})
	s.asks(n, func(i int, q int64) { asks = append(asks, level{i, q}) })
	if n > 0 {
		bids = bids[:min(n, len(bids))]
	}
	b = s.appendBybitLevels(append(b, `,"b":[`...), bids)
	return s.appendBybitLevels(append(b, `],"a":[`...), asks)
}

func (s *symbol) appendBybitLevels(b []byte, ls []level) []byte {
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(s.appendPrice(append(b, `["`...), l.slot), `","`...)
		if l.qty == 0 {
			b = append(b, '0')
		} else {
			b = s.appendQty(b, l.qty)
		}
		b = append(b, `"]`...)
	}
	return b
}

// trade writes one, as a stream does or as a response does.
func (d *bybit) trade(b []byte, s *symbol, t pastTrade, past bool) []byte {
	side := `"Buy"`
	if t.sell {
		side = `"Sell"`
	}
	ms := t.now / 1_000_000
	if past {
		b = appendInt(append(b, `{"execId":"`...), t.id)
		b = append(append(append(b, `","symbol":"`...), s.native...), '"')
		b = s.appendBybit(s.appendBybit(b, `,"price":`, true, t.price), `,"size":`, false, t.qty)
		b = append(append(append(b, `,"side":`...), side...), `,"time":"`...)
		return append(appendInt(b, ms), `","isBlockTrade":false,"isRPITrade":false}`...)
	}
	if d.market == market.MarketSpot {
		b = appendInt(append(b, `{"i":"`...), t.id)
		b = appendInt(append(b, `","T":`...), ms)
		b = s.appendBybit(s.appendBybit(b, `,"p":`, true, t.price), `,"v":`, false, t.qty)
		b = appendInt(append(append(append(b, `,"S":`...), side...), `,"seq":`...), 4*s.seq)
		return append(append(append(b, `,"s":"`...), s.native...), `","BT":false,"RPI":false}`...)
	}
	b = appendInt(append(b, `{"T":`...), ms)
	b = append(append(append(b, `,"s":"`...), s.native...), `","S":`...)
	b = s.appendBybit(s.appendBybit(append(b, side...), `,"v":`, false, t.qty), `,"p":`, true, t.price)
	b = appendInt(append(b, `,"L":"PlusTick","i":"`...), t.id)
	return append(appendInt(append(b, `","BT":false,"RPI":false,"seq":`...), 4*s.seq), '}')
}

// first is what the venue sends on subscribing.
func (d *bybit) first(st *stream, now time.Time) []byte {
	t := now.UnixNano()
	switch st.kind {
	case ChannelBook:
		return d.whole(nil, st, 0, st.sym.seq, t)
	case ChannelBBO:
		*st.state.(*int64), st.sent = st.sym.seq, t
		return d.whole(nil, st, 1, st.sym.seq, t)
	case ChannelTicker:
		return d.ticker(nil, st, t, true)
	case ChannelCandles:
		return d.candles(nil, st, t)
	}
	return nil
}

// ticker writes a ticker; a contract's is whole at first and then states what
// changes.
func (d *bybit) ticker(b []byte, st *stream, t int64, whole bool) []byte {
	kind := "snapshot"
	if d.market == market.MarketOption || d.market == market.MarketSpot {
		whole = true
	} else if !whole {
		kind = "delta"
	}
	b = d.stated(append(d.head(b, st, kind, t), '{'), st.sym, t, whole, false)
	if d.market == market.MarketSpot {
		return append(b, `}}`...)
	}
	b = appendInt(append(b, `},"cs":`...), 4*st.sym.seq)
	return append(appendInt(append(b, `,"ts":`...), t/1_000_000), '}')
}

// stated writes a ticker's members, by a stream's names or a response's.
func (d *bybit) stated(b []byte, s *symbol, t int64, whole, response bool) []byte {
	b = append(append(append(b, `"symbol":"`...), s.native...), '"')
	b = s.appendBybit(b, `,"lastPrice":`, true, s.last)
	b = s.appendBybit(s.appendBybit(b, `,"highPrice24h":`, true, s.high), `,"lowPrice24h":`, true, s.low)
	b = quoted(s.appendBybit(b, `,"volume24h":`, false, s.volume), `,"turnover24h":`, s.turnover.append)
	if whole {
		b = s.appendBybit(b, `,"prevPrice24h":`, true, s.open)
	}
	option := d.market == market.MarketOption
	if d.market != market.MarketSpot || response {
		names := [4]string{`,"bid1Price":`, `,"bid1Size":`, `,"ask1Price":`, `,"ask1Size":`}
		if option && !response {
			names = [4]string{`,"bidPrice":`, `,"bidSize":`, `,"askPrice":`, `,"askSize":`}
		}
		b = s.appendBybit(s.appendBybit(b, names[0], true, s.price(s.bb)), names[1], false, s.qty[s.bb])
		b = s.appendBybit(s.appendBybit(b, names[2], true, s.price(s.ba)), names[3], false, s.qty[s.ba])
	}
	if d.market == market.MarketSpot {
		return append(b, `,"price24hPcnt":"0.0015"`...)
	}
	b = s.appendBybit(s.appendBybit(b, `,"markPrice":`, true, s.last), `,"indexPrice":`, true, s.last-1)
	b = append(b, `,"openInterest":"20000"`...)
	switch {
	case option:
		b = append(b, `,"bidIv":"0.54","askIv":"0.56","markPriceIv":"0.55","delta":"0.75","gamma":"0.00002","vega":"61.2","theta":"-25.1"`...)
		b = s.appendBybit(b, `,"underlyingPrice":`, true, s.last)
	case whole:
		b = append(b, `,"openInterestValue":"2000000","fundingIntervalHour":"8","fundingRate":"0.0001","nextFundingTime":"`...)
		b = append(appendInt(b, (t-t%int64(8*time.Hour)+int64(8*time.Hour))/1_000_000), '"')
	}
	return b
}

// candles writes a candle's state, behind that of the one before which has ended.
func (d *bybit) candles(b []byte, st *stream, t int64) []byte {
	cd := st.state.(*candle)
	b = append(d.head(b, st, "snapshot", t), '[')
	if cd.closed != nil {
		b = append(st.sym.appendBybitCandle(b, cd.closed, t, "true"), ',')
		cd.closed = nil
	}
	b = st.sym.appendBybitCandle(b, cd, t, "false")
	return append(appendInt(append(b, `],"ts":`...), t/1_000_000), '}')
}

func (s *symbol) appendBybitCandle(b []byte, c *candle, t int64, closed string) []byte {
	b = appendInt(append(b, `{"start":`...), c.start/1_000_000)
	b = appendInt(append(b, `,"end":`...), (c.start+c.every)/1_000_000-1)
	b = append(append(append(b, `,"interval":"`...), c.name...), '"')
	b = s.appendBybit(s.appendBybit(b, `,"open":`, true, c.open), `,"close":`, true, c.close)
	b = s.appendBybit(s.appendBybit(b, `,"high":`, true, c.high), `,"low":`, true, c.low)
	b = quoted(s.appendBybit(b, `,"volume":`, false, c.volume), `,"turnover":`, c.turnover.append)
	b = append(append(append(b, `,"confirm":`...), closed...), `,"timestamp":`...)
	return append(appendInt(b, t/1_000_000), '}')
}

// tick sends what is due by the clock: tickers and candles each second, level 1
// again after three without a change.
func (d *bybit) tick(now time.Time) {
	t := now.UnixNano()
	for _, st := range d.e.streams {
		every := time.Second
		cd, candles := st.state.(*candle)
		switch {
		case st.kind == ChannelTrades || st.kind == ChannelBook:
			continue
		case st.kind == ChannelBBO:
			every = 3 * time.Second
		case candles && cd.closed != nil:
			every = 0
		}
		if t-st.sent < int64(every) {
			continue
		}
		st.sent = t
		var p []byte
		switch st.kind {
		case ChannelBBO:
			p = d.whole(nil, st, 1, *st.state.(*int64), t)
		case ChannelCandles:
			p = d.candles(nil, st, t)
		case ChannelLiquidations:
			s := st.sym
			p = appendInt(append(d.head(nil, st, "snapshot", t), `[{"T":`...), t/1_000_000)
			p = append(append(append(p, `,"s":"`...), s.native...), `","S":"Sell"`...)
			p = append(s.appendBybit(s.appendBybit(p, `,"v":`, false, s.lastQty+1), `,"p":`, true, s.last), `}]}`...)
		default:
			p = d.ticker(nil, st, t, false)
		}
		f := d.e.faultFor(st)
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
