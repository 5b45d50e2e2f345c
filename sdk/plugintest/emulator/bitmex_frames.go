package emulator

import (
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// bitmexTime writes a time as the venue does.
func bitmexTime(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z") }

// bitmexStamp appends a time as a member, without formatting what stays.
func bitmexStamp(b []byte, ns int64) []byte {
	b = time.Unix(0, ns).UTC().AppendFormat(append(b, `"timestamp":"`...), "2006-01-02T15:04:05.000Z")
	return append(b, '"')
}

// head begins a message, up to its rows.
func (d *bitmex) head(b []byte, st *stream, action string) []byte {
	b = append(append(append(b, `{"table":"`...), st.arg...), `","action":"`...)
	b = append(append(b, action...), '"')
	if action == "partial" {
		b = append(b, `,"keys":["symbol"],"types":{"symbol":"symbol"},"filter":{"symbol":"`...)
		b = append(append(b, st.sym.native...), `"}`...)
	}
	return append(b, `,"data":[`...)
}

// row begins one with its symbol.
func (s *symbol) bitmexRow(b []byte) []byte {
	return append(append(append(b, `{"symbol":"`...), s.native...), '"')
}

// price and size write members.
func (s *symbol) bitmexPrice(b []byte, key string, ticks int64) []byte {
	return s.appendTicks(append(b, key...), ticks)
}

func (s *symbol) bitmexSize(b []byte, key string, q int64) []byte {
	return s.appendQty(append(b, key...), q)
}

func (d *bitmex) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	switch {
	case st.kind == ChannelTrades:
		b = d.trade(d.head(b, st, "insert"), s, pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell})
	case st.kind == ChannelBBO:
		b = d.quote(d.head(b, st, "insert"), s, ev.now)
	case st.depth > 0:
		b = d.ten(d.head(b, st, "update"), s, st.depth, ev.now)
	default:
		side, name, ls := 0, "Buy", ev.bids
		if len(ls) == 0 {
			side, name, ls = 1, "Sell", ev.asks
		}
		rows, l := st.state.(*bitmexRows), ls[0]
		action := "insert"
		switch {
		case l.qty == 0:
			action = "delete"
		case rows[side][l.slot]:
			action = "update"
		}
		rows[side][l.slot] = l.qty != 0
		b = d.level(d.head(b, st, action), s, name, l, ev.now)
	}
	return append(b, `]}`...)
}

// level writes a row of a book.
func (d *bitmex) level(b []byte, s *symbol, side string, l level, t int64) []byte {
	n := int64(l.slot)
	if side == "Buy" {
		n += gridSize
	}
	b = appendInt(append(s.bitmexRow(b), `,"id":`...), int64(s.idx)*10_000_000_000+n*7919%10_000_000_000)
	b = append(append(append(b, `,"side":"`...), side...), '"')
	if l.qty != 0 {
		b = s.bitmexSize(b, `,"size":`, l.qty)
	}
	b = append(s.bitmexPrice(b, `,"price":`, s.price(l.slot)), ',')
	return append(bitmexStamp(b, t), '}')
}

func (d *bitmex) trade(b []byte, s *symbol, t pastTrade) []byte {
	side := "Buy"
	if t.sell {
		side = "Sell"
	}
	b = append(append(bitmexStamp(append(b, '{'), t.now), `,"symbol":"`...), s.native...)
	b = append(append(append(b, `","side":"`...), side...), '"')
	b = s.bitmexPrice(s.bitmexSize(b, `,"size":`, t.qty), `,"price":`, t.price)
	b = appendFixed(append(b, `,"tickDirection":"ZeroPlusTick","trdMatchID":"00000000-006d-1000-0000-`...), t.id, 0, 0)
	return append(b, `","grossValue":1581300,"homeNotional":0.015813,"foreignNotional":900,"trdType":"Regular"}`...)
}

func (d *bitmex) quote(b []byte, s *symbol, t int64) []byte {
	b = append(append(bitmexStamp(append(b, '{'), t), `,"symbol":"`...), s.native...)
	b = s.bitmexPrice(s.bitmexSize(append(b, '"'), `,"bidSize":`, s.qty[s.bb]), `,"bidPrice":`, s.price(s.bb))
	b = s.bitmexSize(s.bitmexPrice(b, `,"askPrice":`, s.price(s.ba)), `,"askSize":`, s.qty[s.ba])
	return append(b, '}')
}

// ten writes the best n levels of each side as a row.
func (d *bitmex) ten(b []byte, s *symbol, n int, t int64) []byte {
	list := func(i int, q int64) {
		if b[len(b)-1] != '[' {
			b = append(b, ',')
		}
		b = append(s.appendQty(append(s.appendPrice(append(b, '['), i), ','), q), ']')
	}
	b = append(s.bitmexRow(b), `,"bids":[`...)
	s.bids(n, list)
	b = append(b, `],"asks":[`...)
	s.asks(n, list)
	return append(bitmexStamp(append(b, `],`...), t), '}')
}

// whole writes a table as it is, with which a subscription begins: of trades and
// candles the last one, of liquidations none.
func (d *bitmex) whole(b []byte, st *stream, t int64) []byte {
	s := st.sym
	b = d.head(b, st, "partial")
	switch st.kind {
	case ChannelTrades:
		if p := s.recent[s.trade%recentTrades]; p.id == s.trade {
			b = d.trade(b, s, p)
		}
	case ChannelBook:
		if st.depth > 0 {
			b = d.ten(b, s, st.depth, t)
		} else {
			b = d.book(b, s, t)
		}
	case ChannelBBO:
		b = d.quote(b, s, t)
	case ChannelCandles:
		if cd := st.state.(*candle).closed; cd != nil {
			b = d.candle(b, s, cd)
		}
	case ChannelTicker:
		b = d.instrument(b, s, t, true)
	}
	return append(b, `]}`...)
}

// book writes all levels, asks first, from the highest price to the lowest; a
// ghost bid with them.
func (d *bitmex) book(b []byte, s *symbol, t int64) []byte {
	add := func(side string, l level) {
		if b[len(b)-1] != '[' {
			b = append(b, ',')
		}
		b = d.level(b, s, side, l, t)
	}
	var asks []level
	s.asks(0, func(i int, q int64) { asks = append(asks, level{i, q}) })
	for i := len(asks) - 1; i >= 0; i-- {
		add("Sell", asks[i])
	}
	if s.ghost != 0 {
		add("Buy", level{s.ghost, 1})
	}
	s.bids(0, func(i int, q int64) {
		if i != s.ghost {
			add("Buy", level{i, q})
		}
	})
	return b
}

// candle writes one, whose time is its end.
func (d *bitmex) candle(b []byte, s *symbol, cd *candle) []byte {
	b = append(append(bitmexStamp(append(b, '{'), cd.start+cd.every), `,"symbol":"`...), s.native...)
	b = s.bitmexPrice(s.bitmexPrice(append(b, '"'), `,"open":`, cd.open), `,"high":`, cd.high)
	b = s.bitmexPrice(s.bitmexPrice(b, `,"low":`, cd.low), `,"close":`, cd.close)
	b = appendInt(append(b, `,"trades":`...), cd.trades)
	b = s.bitmexSize(b, `,"volume":`, cd.volume)
	return append(cd.turnover.append(append(b, `,"turnover":1484330812,"homeNotional":14.84,"foreignNotional":`...)), '}')
}

// instrument writes a row of all that is known, or of what moves.
func (d *bitmex) instrument(b []byte, s *symbol, t int64, all bool) []byte {
	b = s.bitmexRow(b)
	b = s.bitmexSize(s.bitmexPrice(b, `,"lastPrice":`, s.last), `,"volume24h":`, s.volume)
	b = s.bitmexPrice(s.bitmexPrice(b, `,"highPrice":`, s.high), `,"lowPrice":`, s.low)
	b = s.bitmexPrice(s.bitmexPrice(b, `,"bidPrice":`, s.price(s.bb)), `,"askPrice":`, s.price(s.ba))
	b = s.turnover.append(append(b, `,"foreignNotional24h":`...))
	contract := d.market != market.MarketSpot
	if contract {
		b = s.bitmexPrice(s.bitmexPrice(b, `,"fairPrice":`, s.last), `,"markPrice":`, s.last)
		b = s.bitmexPrice(b, `,"indicativeSettlePrice":`, s.last-1)
	}
	if all {
		b = append(s.bitmexPrice(b, `,"prevPrice24h":`, s.open), `,"state":"Open"`...)
	}
	if contract && all {
		next := t - t%int64(8*time.Hour) + int64(8*time.Hour)
		b = append(append(b, `,"openInterest":651185722,"openValue":37243844202,"fundingRate":0.0001,"indicativeFundingRate":0.00012,"fundingInterval":"2000-01-01T08:00:00.000Z","fundingTimestamp":"`...), bitmexTime(next)...)
		b = append(b, '"')
	}
	return append(bitmexStamp(append(b, ','), t), '}')
}

// tick sends what is due by the clock: each second what moved of an instrument and
// an order that is liquidated, and candles that have ended.
func (d *bitmex) tick(now time.Time) {
	t := now.UnixNano()
	for _, st := range d.e.streams {
		cd, candles := st.state.(*candle)
		var p []byte
		switch {
		case candles && cd.closed != nil && st.sent != cd.closed.start:
			p = append(d.candle(d.head(nil, st, "insert"), st.sym, cd.closed), `]}`...)
			st.sent = cd.closed.start
		case st.kind != ChannelTicker && st.kind != ChannelLiquidations || t-st.sent < int64(time.Second):
			continue
		case st.kind == ChannelTicker:
			p = append(d.instrument(d.head(nil, st, "update"), st.sym, t, false), `]}`...)
			st.sent = t
		default:
			d.orders++
			b := append(d.head(nil, st, "insert"), `{"orderID":"00000000-0000-0000-0000-`...)
			b = append(append(append(appendInt(b, d.orders), `","symbol":"`...), st.sym.native...), `","side":"Buy"`...)
			p = append(st.sym.bitmexPrice(b, `,"price":`, st.sym.last), `,"leavesQty":1500}]}`...)
			st.sent = t
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

// expiry of a symbol that ends, as the venue writes it; empty if it doesn't.
func (s *symbol) bitmexExpiry() string {
	pair, _, _ := strings.Cut(s.native, "_")
	if len(pair) < 4 {
		return ""
	}
	day := market.NameCode(pair[len(pair)-3:])
	t, err := time.Parse("20060102", day)
	if err != nil {
		return ""
	}
	return bitmexTime(t.Add(12 * time.Hour).UnixNano())
}
