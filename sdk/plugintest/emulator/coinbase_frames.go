package emulator

import (
	"strings"
	"time"
)

// prepare fills a new stream.
func (d *coinbase) prepare(st *stream, channel string, s *symbol) {
	st.sym, st.arg = s, channel
	switch channel {
	case "market_trades", "old:matches", "old:full":
		st.kind = ChannelTrades
	case "level2", "old:level2", "old:level2_batch":
		st.kind = ChannelBook
	case "ticker", "ticker_batch", "old:ticker":
		st.kind = ChannelTicker
	case "candles":
		st.kind = ChannelCandles
		cd := &candle{name: "5m", every: int64(5 * time.Minute), decimals: s.tick + s.step}
		cd.roll(time.Now().UnixNano(), s.last)
		st.state, s.candles = cd, append(s.candles, cd)
	}
}

// coinbaseHead begins a frame; its number is put in when it is sent.
func coinbaseHead(b []byte, channel string, ns int64) []byte {
	b = append(append(append(b, `{"channel":"`...), channel...), `","timestamp":"`...)
	b = time.Unix(0, ns).UTC().AppendFormat(b, "2006-01-02T15:04:05.000000000Z")
	return append(append(append(b, `",`...), coinbaseNumber...), `,"events":[`...)
}

func appendMicros(b []byte, key string, ns int64) []byte {
	b = time.Unix(0, ns).UTC().AppendFormat(append(append(b, key...), '"'), "2006-01-02T15:04:05.000000Z")
	return append(b, '"')
}

func (d *coinbase) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	old := strings.HasPrefix(st.arg, "old:")
	switch st.kind {
	case ChannelTrades:
		t := pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell}
		if old {
			return s.appendMatch(b, "match", t)
		}
		b = append(coinbaseHead(b, "market_trades", ev.now), `{"type":"update","trades":[`...)
		return append(s.appendMarketTrade(b, t), `]}]}`...)
	case ChannelBook:
		if old {
			b = append(append(append(b, `{"type":"l2update","product_id":"`...), s.native...), `","changes":[`...)
			n := len(b)
			b = s.appendChanges(b, "buy", ev.bids)
			if len(b) > n && len(ev.asks) > 0 {
				b = append(b, ',')
			}
			b = s.appendChanges(b, "sell", ev.asks)
			return append(appendMicros(b, `],"time":`, ev.now), '}')
		}
		b = append(append(append(coinbaseHead(b, "l2_data", ev.now), `{"type":"update","product_id":"`...), s.native...), `","updates":[`...)
		n := len(b)
		b = s.appendL2(b, `{"side":"bid","event_time":`, ev.now, ev.bids)
		if len(b) > n && len(ev.asks) > 0 {
			b = append(b, ',')
		}
		return append(s.appendL2(b, `{"side":"offer","event_time":`, ev.now, ev.asks), `]}]}`...)
	}
	return b
}

// maker is the side that the venue states: the maker's.
func (t *pastTrade) maker() string {
	if t.sell {
		return "buy"
	}
	return "sell"
}

func (s *symbol) appendMarketTrade(b []byte, t pastTrade) []byte {
	b = append(append(append(b, `{"product_id":"`...), s.native...), `","trade_id":"`...)
	b = s.appendOKX(appendInt(b, t.id), `","price":`, true, t.price)
	b = appendMicros(s.appendOKX(b, `,"size":`, false, t.qty), `,"time":`, t.now)
	return append(append(append(b, `,"side":"`...), strings.ToUpper(t.maker())...), `"}`...)
}

func (s *symbol) appendMatch(b []byte, kind string, t pastTrade) []byte {
	b = append(append(append(b, `{"type":"`...), kind...), `","trade_id":`...)
	b = append(appendInt(b, t.id), `,"maker_order_id":"00000000-0000-0000-0000-000000000001","taker_order_id":"00000000-0000-0000-0000-000000000002","side":"`...)
	b = s.appendOKX(append(append(b, t.maker()...), '"'), `,"size":`, false, t.qty)
	b = append(append(append(s.appendOKX(b, `,"price":`, true, t.price), `,"product_id":"`...), s.native...), `","sequence":`...)
	return append(appendMicros(appendInt(b, s.seq), `,"time":`, t.now), '}')
}

func (s *symbol) appendChanges(b []byte, side string, ls []level) []byte {
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, `["`...), side...), `","`...)
		b = append(s.appendQty(append(s.appendPrice(b, l.slot), `","`...), l.qty), `"]`...)
	}
	return b
}

func (s *symbol) appendL2(b []byte, head string, now int64, ls []level) []byte {
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendMicros(b, head, now), `,"price_level":"`...)
		b = append(s.appendQty(append(s.appendPrice(b, l.slot), `","new_quantity":"`...), l.qty), `"}`...)
	}
	return b
}

// sides are all levels, a ghost bid included.
func (s *symbol) sides() (bids, asks []level) {
	if s.ghost != 0 {
		bids = append(bids, level{s.ghost, 1})
	}
	s.bids(0, func(i int, q int64) {
		if i != s.ghost {
			bids = append(bids, level{i, q})
		}
	})
	s.asks(0, func(i int, q int64) { asks = append(asks, level{i, q}) })
	return bids, asks
}

// past are the last trades, newest first.
func (s *symbol) past(n int) (all []pastTrade) {
	for id := s.trade; id > max(s.trade-recentTrades, 0) && len(all) < n; id-- {
		if t := s.recent[id%recentTrades]; t.id == id {
			all = append(all, t)
		}
	}
	return all
}

// first is what the venue sends on subscribing.
func (d *coinbase) first(st *stream, now time.Time) []byte {
	s, t := st.sym, now.UnixNano()
	switch st.arg {
	case "market_trades":
		b := append(coinbaseHead(nil, "market_trades", t), `{"type":"snapshot","trades":[`...)
		for i, p := range s.past(100) {
			if i > 0 {
				b = append(b, ',')
			}
			b = s.appendMarketTrade(b, p)
		}
		return append(b, `]}]}`...)
	case "old:matches":
		if p := s.past(1); len(p) > 0 {
			return s.appendMatch(nil, "last_match", p[0])
		}
		return nil
	case "old:full":
		return nil
	case "level2":
		bids, asks := s.sides()
		b := append(append(append(coinbaseHead(nil, "l2_data", t), `{"type":"snapshot","product_id":"`...), s.native...), `","updates":[`...)
		b = append(s.appendL2(b, `{"side":"bid","event_time":`, t, bids), ',')
		return append(s.appendL2(b, `{"side":"offer","event_time":`, t, asks), `]}]}`...)
	case "old:level2", "old:level2_batch":
		bids, asks := s.sides()
		b := append(append([]byte(`{"type":"snapshot","product_id":"`), s.native...), `","asks":[`...)
		b = append(s.appendPairs(b, asks), `],"bids":[`...)
		return append(appendMicros(s.appendPairs(b, bids), `],"time":`, t), '}')
	}
	return d.timed(nil, st, now, "snapshot", false)
}

func (s *symbol) appendPairs(b []byte, ls []level) []byte {
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(s.appendQty(append(s.appendPrice(append(b, `["`...), l.slot), `","`...), l.qty), `"]`...)
	}
	return b
}

// timed writes what is sent by the clock.
func (d *coinbase) timed(b []byte, st *stream, now time.Time, kind string, closed bool) []byte {
	s, t := st.sym, now.UnixNano()
	switch st.arg {
	case "old:ticker":
		b = append(appendInt(append(b, `{"type":"ticker","sequence":`...), s.seq), `,"product_id":"`...)
		b = d.prices(append(append(b, s.native...), '"'), s, "24h")
		b = append(append(append(b, `,"volume_30d":"0","side":"buy"`...), appendMicros(nil, `,"time":`, t)...), `,"trade_id":`...)
		b = s.appendOKX(s.appendOKX(appendInt(b, s.trade), `,"open_24h":`, true, s.open), `,"last_size":`, false, s.lastQty)
		b = s.appendOKX(s.appendOKX(b, `,"best_bid":`, true, s.price(s.bb)), `,"best_bid_size":`, false, s.qty[s.bb])
		return append(s.appendOKX(s.appendOKX(b, `,"best_ask":`, true, s.price(s.ba)), `,"best_ask_size":`, false, s.qty[s.ba]), '}')
	case "ticker", "ticker_batch":
		b = append(append(append(coinbaseHead(b, st.arg, t), `{"type":"`...), kind...), `","tickers":[{"type":"ticker","product_id":"`...)
		b = d.prices(append(append(b, s.native...), '"'), s, "24_h")
		if st.arg == "ticker" {
			b = s.appendOKX(s.appendOKX(b, `,"best_bid":`, true, s.price(s.bb)), `,"best_ask":`, true, s.price(s.ba))
			b = s.appendOKX(s.appendOKX(b, `,"best_bid_quantity":`, false, s.qty[s.bb]), `,"best_ask_quantity":`, false, s.qty[s.ba])
		}
		return append(b, `}]}]}`...)
	}
	cd := st.state.(*candle)
	if closed {
		cd = cd.closed
	}
	b = append(append(append(coinbaseHead(b, "candles", t), `{"type":"`...), kind...), `","candles":[{"start":"`...)
	b = append(appendInt(b, cd.start/int64(time.Second)), '"')
	for _, p := range []struct {
		key string
		v   int64
	}{{`,"high":`, cd.high}, {`,"low":`, cd.low}, {`,"open":`, cd.open}, {`,"close":`, cd.close}} {
		b = s.appendOKX(b, p.key, true, p.v)
	}
	b = s.appendOKX(b, `,"volume":`, false, cd.volume)
	return append(append(append(b, `,"product_id":"`...), s.native...), `"}]}]}`...)
}

func (d *coinbase) prices(b []byte, s *symbol, day string) []byte {
	b = s.appendOKX(s.appendOKX(b, `,"price":`, true, s.last), `,"volume_`+day+`":`, false, s.volume)
	return s.appendOKX(s.appendOKX(b, `,"low_`+day+`":`, true, s.low), `,"high_`+day+`":`, true, s.high)
}

// tick sends what is due by the clock: heartbeats, tickers and candles each
// second, batches of tickers each fifth. Who hasn't asked for anything after 5 s
// is turned away.
func (d *coinbase) tick(now time.Time) {
	for c, k := range d.conns {
		switch {
		case c.gone:
			continue
		case !k.asked && now.Sub(k.opened) > 5*time.Second:
			c.close(1008, "no subscription within 5 s")
			delete(d.conns, c)
			continue
		case now.Sub(k.beat) < time.Second:
			continue
		}
		k.beat = now
		if k.heartbeats {
			b := coinbaseHead(nil, "heartbeats", now.UnixNano())
			b = append(b, `{"current_time":"`...)
			b = now.UTC().AppendFormat(b, "2006-01-02 15:04:05.000000000 +0000 UTC")
			b = append(appendInt(append(b, `","heartbeat_counter":`...), int64(now.Sub(k.opened)/time.Second)), `}]}`...)
			c.frame(now.UnixNano(), About{}, FlagControl, b)
			d.e.touch(c)
		}
		for _, p := range k.products {
			s := d.e.mkt.byName[p]
			if s == nil {
				continue
			}
			b := appendInt([]byte(`{"type":"heartbeat","sequence":`), s.seq)
			b = append(append(append(appendInt(append(b, `,"last_trade_id":`...), s.trade), `,"product_id":"`...), p...), '"')
			c.frame(now.UnixNano(), About{}, FlagControl, append(appendMicros(b, `,"time":`, now.UnixNano()), '}'))
			d.e.touch(c)
		}
	}
	for _, st := range d.e.streams {
		every := time.Second
		if st.arg == "ticker_batch" {
			every = 5 * time.Second
		}
		cd, candles := st.state.(*candle)
		switch {
		case st.kind != ChannelTicker && st.kind != ChannelCandles:
			continue
		case candles && cd.closed != nil:
		case now.UnixNano()-st.sent < int64(every):
			continue
		}
		st.sent = now.UnixNano()
		frames := [][]byte{d.timed(nil, st, now, "update", false)}
		if candles && cd.closed != nil {
			frames = [][]byte{d.timed(nil, st, now, "update", true), frames[0]}
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
