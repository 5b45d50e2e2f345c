package emulator

import (
	"bytes"
	"hash/crc32"
	"slices"
	"strconv"
	"time"
)

var bitfinexIntervals = map[string]time.Duration{"1m": time.Minute, "5m": 5 * time.Minute, "15m": 15 * time.Minute, "30m": 30 * time.Minute,
	"1h": time.Hour, "3h": 3 * time.Hour, "6h": 6 * time.Hour, "12h": 12 * time.Hour, "1D": 24 * time.Hour, "1W": 168 * time.Hour,
	"14D": 336 * time.Hour, "1M": 720 * time.Hour}

// appendScript writes a number as JavaScript prints it.
func appendScript(b []byte, v int64, decimals uint8) []byte {
	x := float64(v) / float64(pow10[decimals])
	if x == 0 || x >= 1e-6 || x <= -1e-6 {
		return strconv.AppendFloat(b, x, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, x, 'e', -1, 64)
	if i := len(b) - 2; b[i] == '0' { // e-08
		b = append(b[:i], b[i+1])
	}
	return b
}

func (s *symbol) scriptPrice(b []byte, ticks int64) []byte { return appendScript(b, ticks, s.tick) }
func (s *symbol) scriptQty(b []byte, q int64) []byte       { return appendScript(b, q, s.step) }

func (d *bitfinex) head(b []byte, st *stream) []byte {
	return append(appendInt(append(b, '['), d.ids[st.name]), ',')
}

// tail ends a frame with the number's place and the time.
func (d *bitfinex) tail(b []byte, variant uint8, now int64) []byte {
	if variant&variantNumbers != 0 {
		b = append(b, bitfinexNumber...)
	}
	if variant&variantTimes != 0 {
		b = appendInt(append(b, ','), now/1_000_000)
	}
	return append(b, ']')
}

func (d *bitfinex) render(b []byte, st *stream, variant uint8, ev *event) []byte {
	s := st.sym
	b = d.head(b, st)
	switch st.kind {
	case ChannelTrades:
		t := pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell}
		b = s.bitfinexTrade(append(b, `"te",`...), t)
		if len(d.repeats) < recentTrades && !slices.ContainsFunc(d.repeats[max(0, len(d.repeats)-4):], func(r bitfinexRepeat) bool { return r.st == st && r.t.id == t.id }) {
			d.repeats = append(d.repeats, bitfinexRepeat{st, t, ev.now + int64(time.Second)})
		}
	case ChannelBook:
		for _, l := range ev.bids {
			b = s.bitfinexLevel(b, l, 1, st.arg == "R0")
		}
		for _, l := range ev.asks {
			b = s.bitfinexLevel(b, l, -1, st.arg == "R0")
		}
	default:
		return b[:0]
	}
	return d.tail(b, variant, ev.now)
}

func (s *symbol) bitfinexTrade(b []byte, t pastTrade) []byte {
	b = appendInt(append(appendInt(append(b, '['), t.id), ','), t.now/1_000_000)
	qty := t.qty
	if t.sell {
		qty = -qty
	}
	return append(s.scriptPrice(append(s.scriptQty(append(b, ','), qty), ','), t.price), ']')
}

// orderAt is the id of the one order at a price of a raw book.
func (s *symbol) orderAt(slot int) int64 { return 90_000_000_000 + int64(slot) }

// bitfinexLevel writes [price, count, amount], of a raw book [id, price, amount];
// what is gone has count 0 or price 0, and an amount that tells the side.
func (s *symbol) bitfinexLevel(b []byte, l level, sign int64, raw bool) []byte {
	price, qty := s.price(l.slot), sign*l.qty
	gone := l.qty == 0
	if gone {
		qty = sign * pow10[s.step]
	}
	b = append(b, '[')
	if raw {
		b = append(appendInt(b, s.orderAt(l.slot)), ',')
		if gone {
			price = 0
		}
	}
	b = append(s.scriptPrice(b, price), ',')
	switch {
	case raw:
	case gone:
		b = append(b, "0,"...)
	default:
		b = append(b, "1,"...)
	}
	return append(s.scriptQty(b, qty), ']')
}

// levels writes a whole book, bids first, a ghost bid included.
func (d *bitfinex) levels(b []byte, s *symbol, raw bool) []byte {
	bids, asks := s.view(nil, nil, gridSize)
	b = append(b, '[')
	for _, l := range bids {
		b = append(s.bitfinexLevel(b, l, 1, raw), ',')
	}
	for _, l := range asks {
		b = append(s.bitfinexLevel(b, l, -1, raw), ',')
	}
	return append(bytes.TrimSuffix(b, []byte{','}), ']')
}

// history writes the last trades, the newest first.
func (d *bitfinex) history(b []byte, s *symbol, most int64, from, to int64) []byte {
	b = append(b, '[')
	for id := s.trade; id > max(0, s.trade-min(most, recentTrades)); id-- {
		if t := s.recent[id%recentTrades]; t.id == id && t.now/1_000_000 >= from && t.now/1_000_000 <= to {
			b = append(s.bitfinexTrade(b, t), ',')
		}
	}
	return append(bytes.TrimSuffix(b, []byte{','}), ']')
}

// first is what the venue sends on subscribing.
func (d *bitfinex) first(st *stream, variant uint8, now time.Time) []byte {
	t := now.UnixNano()
	b := d.head(nil, st)
	switch st.kind {
	case ChannelTrades:
		b = d.history(b, st.sym, 30, 0, now.UnixMilli())
	case ChannelBook:
		b = d.levels(b, st.sym, st.arg == "R0")
	case ChannelCandles:
		b = append(st.sym.bitfinexCandle(append(b, '['), st.state.(*candle)), ']')
	default:
		return d.timed(st, variant, t)
	}
	return d.tail(b, variant, t)
}

func (s *symbol) bitfinexCandle(b []byte, c *candle) []byte {
	b = appendInt(append(b, '['), c.start/1_000_000)
	for _, p := range []int64{c.open, c.close, c.high, c.low} {
		b = s.scriptPrice(append(b, ','), p)
	}
	return append(s.scriptQty(append(b, ','), c.volume), ']')
}

// timed writes what is sent by the clock.
func (d *bitfinex) timed(st *stream, variant uint8, t int64) []byte {
	s := st.sym
	b := d.head(nil, st)
	switch st.kind {
	case ChannelTicker:
		b = append(s.scriptPrice(append(b, '['), s.price(s.bb)), ",73.9,"...)
		b = append(s.scriptPrice(b, s.price(s.ba)), ",75.2,"...)
		b = append(s.scriptPrice(b, s.last-s.open), ",0.0738,"...)
		b = append(s.scriptPrice(b, s.last), ',')
		b = append(s.scriptQty(b, s.volume), ',')
		b = append(s.scriptPrice(b, s.high), ',')
		b = append(s.scriptPrice(b, s.low), ']')
	case ChannelCandles:
		b = s.bitfinexCandle(b, st.state.(*candle))
	case ChannelMarkPrice:
		next := t - t%int64(8*time.Hour) + int64(8*time.Hour)
		b = append(appendInt(append(b, '['), t/1_000_000), ",null,"...)
		b = append(s.scriptPrice(b, s.last), ',')
		b = append(s.scriptPrice(b, s.last-1), ",null,1396531.67460709,null,"...)
		b = append(appendInt(b, next/1_000_000), ",0.0001056,6,null,-0.0001381344,null,null,"...)
		b = append(s.scriptPrice(b, s.last), ",null,null,246502.09001551,null,null,null,0.0005,0.0025]"...)
	case ChannelLiquidations:
		b = append(b, '[')
		for _, s := range d.e.mkt.syms {
			d.last++
			b = appendInt(append(b, `["pos",`...), 142_000_000+d.last)
			b = append(appendInt(append(b, ','), t/1_000_000), `,null,"`...)
			b = append(s.scriptQty(append(append(b, s.native...), `",`...), -1-s.lastQty), ',')
			b = append(s.scriptPrice(b, s.last), ",null,1,1,null,"...)
			b = append(s.scriptPrice(b, s.last), "],"...)
		}
		b = append(bytes.TrimSuffix(b, []byte{','}), ']')
	}
	return d.tail(b, variant, t)
}

// sum is the checksum of a book: of a raw one ids stand for prices.
func (s *symbol) bitfinexSum(raw bool) int32 {
	bids, asks := s.view(nil, nil, 25)
	var b []byte
	one := func(ls []level, i int, sign int64) {
		switch {
		case i >= len(ls):
			return
		case raw:
			b = appendInt(b, s.orderAt(ls[i].slot))
		default:
			b = s.scriptPrice(b, s.price(ls[i].slot))
		}
		b = append(s.scriptQty(append(b, ':'), sign*ls[i].qty), ':')
	}
	for i := range 25 {
		one(bids, i, 1)
		one(asks, i, -1)
	}
	return int32(crc32.ChecksumIEEE(bytes.TrimSuffix(b, []byte{':'})))
}

// tick sends what is due by the clock: checksums of books that changed, trades
// again a second after they were told, the other channels each second, and each
// 15 s a heartbeat of every channel.
func (d *bitfinex) tick(now time.Time) {
	t := now.UnixNano()
	beat := now.Sub(d.beat) >= 15*time.Second
	if beat {
		d.beat = now
	}
	send := func(st *stream, about About, flags EntryFlags, wants int, f *armedFault, frame func(variant uint8) []byte) {
		for v, subs := range st.subs {
			for _, c := range subs {
				if d.flags[c]&wants != wants {
					continue
				}
				if b := frame(uint8(v)); f != nil {
					d.e.mangle(f, about, c, t, b)
				} else {
					c.frame(t, about, flags, b)
				}
				d.e.touch(c)
			}
		}
	}
	for len(d.repeats) > 0 && d.repeats[0].due <= t {
		r := d.repeats[0]
		d.repeats = d.repeats[1:]
		send(r.st, About{}, FlagControl, 0, nil, func(v uint8) []byte {
			return d.tail(r.st.sym.bitfinexTrade(append(d.head(nil, r.st), `"tu",`...), r.t), v, t)
		})
	}
	for _, st := range d.e.streams {
		if beat {
			send(st, About{}, FlagControl, 0, nil, func(v uint8) []byte { return d.tail(append(d.head(nil, st), `"hb"`...), v, t) })
		}
		switch {
		case st.kind == ChannelTrades:
		case st.kind == ChannelBook && st.sent != st.sym.seq:
			st.sent = st.sym.seq
			raw := st.arg == "R0"
			sum := int64(st.sym.bitfinexSum(raw))
			if d.e.takeFor(FaultChecksum, st) != nil {
				sum ^= 1
			}
			about, flags := st.about(), EntryFlags(0)
			if raw { // a collector that keeps levels can't compute it
				about, flags = About{}, FlagControl
			}
			send(st, about, flags, bitfinexChecksums, nil, func(v uint8) []byte {
				return d.tail(appendInt(append(d.head(nil, st), `"cs",`...), sum), v, t)
			})
		case st.kind != ChannelBook && t-st.sent >= int64(time.Second):
			st.sent = t
			send(st, st.about(), 0, 0, d.e.faultFor(st), func(v uint8) []byte { return d.timed(st, v, t) })
		}
	}
}
