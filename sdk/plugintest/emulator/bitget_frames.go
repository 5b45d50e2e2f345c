package emulator

import (
	"math"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

var bitgetIntervals = map[string]time.Duration{"1m": time.Minute, "5m": 5 * time.Minute, "15m": 15 * time.Minute, "30m": 30 * time.Minute,
	"1H": time.Hour, "4H": 4 * time.Hour, "6Hutc": 6 * time.Hour, "12Hutc": 12 * time.Hour, "1Dutc": 24 * time.Hour, "3Dutc": 72 * time.Hour,
	"1Wutc": 168 * time.Hour, "1Mutc": 720 * time.Hour}

// product is what the venue has a symbol under.
func (d *bitget) product(s *symbol) string {
	switch {
	case d.market == market.MarketSpot:
		return "SPOT"
	case d.market == market.MarketInverse:
		return "COIN-FUTURES"
	case s.quote == "USDC":
		return "USDC-FUTURES"
	}
	return "USDT-FUTURES"
}

// contracts are those of a product, in either spelling.
func (d *bitget) contracts(product string) (all []*symbol) {
	for _, s := range d.e.mkt.syms {
		if d.market != market.MarketSpot && strings.EqualFold(d.product(s), product) {
			all = append(all, s)
		}
	}
	return all
}

// stream says what a channel shows, or why there is none. A symbol under another
// product than its own is acknowledged, and brings nothing: prepare is nil.
func (d *bitget) stream(a *bitgetArg, unified bool) (prepare func(*stream), why string) {
	if unified {
		if a.Topic != "liquidation" || a.ID != "" || !strings.HasSuffix(a.Product, "-futures") || d.market == market.MarketSpot {
			return nil, "doesn't exist"
		}
		return func(st *stream) { st.kind, st.arg, st.state = ChannelLiquidations, a.Topic, a.Product }, ""
	}
	s := d.e.mkt.byName[a.ID]
	kind, depth, ok := ChannelTicker, 0, s != nil
	native, candles := strings.CutPrefix(a.Channel, "candle")
	switch {
	case candles:
		kind, ok = ChannelCandles, ok && bitgetIntervals[native] > 0
	case a.Channel == "trade":
		kind = ChannelTrades
	case a.Channel == "books":
		kind = ChannelBook
	case a.Channel == "books5":
		kind, depth = ChannelBook, 5
	case a.Channel == "books15":
		kind, depth = ChannelBook, 15
	case a.Channel == "books1":
		kind, depth = ChannelBBO, 1
	case a.Channel == "ticker":
	default:
		ok = false
	}
	switch {
	case !ok:
		return nil, "doesn't exist"
	case a.Product != d.product(s):
		return nil, ""
	}
	return func(st *stream) {
		st.kind, st.sym, st.depth, st.arg = kind, s, depth, a.Channel
		if candles {
			cd := &candle{name: native, every: int64(bitgetIntervals[native]), decimals: s.tick + s.step}
			cd.roll(time.Now().UnixNano(), s.last)
			st.state, s.candles = cd, append(s.candles, cd)
		}
	}, ""
}

// head begins a frame of a stream, up to its data.
func (d *bitget) head(b []byte, st *stream, action string) []byte {
	b = append(append(b, `{"action":"`...), action...)
	if st.sym == nil {
		product, _ := st.state.(string)
		b = append(append(b, `","arg":{"instType":"`...), product...)
		return append(append(append(b, `","topic":"`...), st.arg...), `"},"data":[`...)
	}
	b = append(append(b, `","arg":{"instType":"`...), d.product(st.sym)...)
	b = append(append(b, `","channel":"`...), st.arg...)
	return append(append(append(b, `","instId":"`...), st.sym.native...), `"},"data":[`...)
}

// end closes data and frame.
func (d *bitget) end(b []byte, t int64) []byte {
	return append(appendInt(append(b, `],"ts":`...), t/1_000_000), '}')
}

// bitgetText writes a price or an amount as a member.
func (s *symbol) bitgetText(b []byte, key string, price bool, v int64) []byte {
	b = append(append(b, key...), '"')
	if price {
		b = s.appendTicks(b, v)
	} else {
		b = s.appendQty(b, v)
	}
	return append(b, '"')
}

func (d *bitget) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	switch {
	case st.kind == ChannelTrades:
		b = d.trade(d.head(b, st, "update"), s, pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell}, false)
	case st.depth > 0:
		b = d.book(d.head(b, st, "snapshot"), s, st.depth, ev.now)
	default:
		b = s.bitgetLevels(append(d.head(b, st, "update"), `{"asks":[`...), ev.asks)
		b = s.bitgetLevels(append(b, `],"bids":[`...), ev.bids)
		b = d.bookEnd(b, s.seq, ev.prev, ev.now)
	}
	return d.end(b, ev.now)
}

func (d *bitget) trade(b []byte, s *symbol, t pastTrade, named bool) []byte {
	side := "buy"
	if t.sell {
		side = "sell"
	}
	b = append(appendInt(append(b, `{"ts":"`...), t.now/1_000_000), '"')
	b = s.bitgetText(s.bitgetText(b, `,"price":`, true, t.price), `,"size":`, false, t.qty)
	b = append(appendInt(append(append(append(b, `,"side":"`...), side...), `","tradeId":"`...), t.id), '"')
	if named {
		b = append(append(append(b, `,"symbol":"`...), s.native...), '"')
	}
	return append(b, '}')
}

// trades writes the last n trades between two times in ms, newest first.
func (d *bitget) trades(b []byte, s *symbol, n int, from, to int64, named bool) []byte {
	for id := s.trade; id > max(s.trade-recentTrades, 0) && n > 0; id-- {
		if t := s.recent[id%recentTrades]; t.id == id && t.now/1_000_000 >= from && t.now/1_000_000 <= to {
			b = append(d.trade(b, s, t, named), ',')
			n--
		}
	}
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	return b
}

func (s *symbol) bitgetLevels(b []byte, ls []level) []byte {
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(s.appendPrice(append(b, `["`...), l.slot), `","`...)
		b = append(s.appendQty(b, l.qty), `"]`...)
	}
	return b
}

// book writes both sides to n levels (0: all), a ghost bid included.
func (d *bitget) book(b []byte, s *symbol, n int, t int64) []byte {
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
	b = s.bitgetLevels(append(b, `{"asks":[`...), asks)
	b = s.bitgetLevels(append(b, `],"bids":[`...), bids)
	return d.bookEnd(b, s.seq, 0, t)
}

// bookEnd writes what stands behind the levels; prev is 0 in snapshots.
func (d *bitget) bookEnd(b []byte, seq, prev, t int64) []byte {
	b = appendInt(append(b, `],"ts":"`...), t/1_000_000)
	b = appendInt(append(b, `","seq":`...), seq)
	return append(appendInt(append(b, `,"pseq":`...), prev), '}')
}

// first is what the venue sends on subscribing: trades and candles of before.
func (d *bitget) first(st *stream, now time.Time) []byte {
	s, t := st.sym, now.UnixNano()
	switch st.kind {
	case ChannelTrades:
		return d.end(d.trades(d.head(nil, st, "snapshot"), s, 50, 0, math.MaxInt64, false), t)
	case ChannelBook, ChannelBBO:
		return d.end(d.book(d.head(nil, st, "snapshot"), s, st.depth, t), t)
	case ChannelLiquidations:
		return nil
	}
	return d.timed(nil, st, "snapshot", now, false)
}

// timed writes what is sent by the clock.
func (d *bitget) timed(b []byte, st *stream, action string, now time.Time, closed bool) []byte {
	s, t := st.sym, now.UnixNano()
	b = d.head(b, st, action)
	switch st.kind {
	case ChannelTicker:
		b = d.ticker(b, s, t, false)
	case ChannelLiquidations:
		for i, s := range d.contracts(st.state.(string)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, `{"symbol":"`...), s.native...), '"')
			if d.market == market.MarketInverse { // API v3 spells them so
				b = append(b[:len(b)-1], `_CM"`...)
			}
			b = s.bitgetText(append(b, `,"side":"buy"`...), `,"price":`, true, s.last)
			b = append(appendInt(append(b, `,"amount":"1500.25","ts":"`...), t/1_000_000), `"}`...)
		}
	default:
		cd := st.state.(*candle)
		if closed {
			cd = cd.closed
		}
		b = append(appendInt(append(b, `["`...), cd.start/1_000_000), '"')
		for _, p := range []int64{cd.open, cd.high, cd.low, cd.close} {
			b = s.bitgetText(b, ",", true, p)
		}
		b = quoted(quoted(s.bitgetText(b, ",", false, cd.volume), ",", cd.turnover.append), ",", cd.turnover.append)
		b = append(b, ']')
	}
	return d.end(b, t)
}

// ticker writes one; answers to requests name the symbol otherwise.
func (d *bitget) ticker(b []byte, s *symbol, t int64, asked bool) []byte {
	b = append(append(append(b, `{"symbol":"`...), s.native...), '"')
	if !asked {
		b = append(append(append(b, `,"instId":"`...), s.native...), '"')
	}
	b = s.bitgetText(b, `,"lastPr":`, true, s.last)
	b = s.bitgetText(s.bitgetText(b, `,"askPr":`, true, s.price(s.ba)), `,"askSz":`, false, s.qty[s.ba])
	b = s.bitgetText(s.bitgetText(b, `,"bidPr":`, true, s.price(s.bb)), `,"bidSz":`, false, s.qty[s.bb])
	b = s.bitgetText(s.bitgetText(s.bitgetText(b, `,"open24h":`, true, s.open), `,"high24h":`, true, s.high), `,"low24h":`, true, s.low)
	b = quoted(s.bitgetText(b, `,"baseVolume":`, false, s.volume), `,"quoteVolume":`, s.turnover.append)
	b = append(b, `,"change24h":"0.01","openUtc":"0","changeUtc24h":"0"`...)
	if d.market != market.MarketSpot {
		b = s.bitgetText(s.bitgetText(b, `,"markPrice":`, true, s.last), `,"indexPrice":`, true, s.last-1)
		next := t - t%int64(8*time.Hour) + int64(8*time.Hour)
		b = appendInt(append(b, `,"fundingRate":"0.0001","nextFundingTime":"`...), next/1_000_000)
		b = append(b, `","holdingAmount":"20000.5","deliveryPrice":"0","symbolType":"1"`...)
	}
	return append(appendInt(append(b, `,"ts":"`...), t/1_000_000), `"}`...)
}

// tick sends what is due by the clock.
func (d *bitget) tick(now time.Time) {
	for _, st := range d.e.streams {
		cd, candles := st.state.(*candle)
		every := time.Second
		switch {
		case st.kind == ChannelTicker:
			every = 300 * time.Millisecond
		case st.kind == ChannelLiquidations:
			if len(d.contracts(st.state.(string))) == 0 {
				continue
			}
		case !candles:
			continue
		}
		if now.UnixNano()-st.sent < int64(every) && (!candles || cd.closed == nil) {
			continue
		}
		st.sent = now.UnixNano()
		action := "update"
		if st.kind == ChannelTicker {
			action = "snapshot"
		}
		frames := [][]byte{d.timed(nil, st, action, now, false)}
		if candles && cd.closed != nil {
			frames = [][]byte{d.timed(nil, st, action, now, true), frames[0]}
			cd.closed = nil
		}
		f := d.e.faultFor(st)
		for _, c := range st.subs[0] {
			for _, p := range frames {
				if f != nil {
					d.e.mangle(f, st.about(), c, now.UnixNano(), p)
				} else {
					c.frame(now.UnixNano(), st.about(), 0, p)
				}
			}
			d.e.touch(c)
		}
	}
}
