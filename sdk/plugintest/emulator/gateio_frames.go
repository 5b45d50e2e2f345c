package emulator

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// head begins a frame up to its result. Order book V2 names no event, and tells
// its time at the end.
func (d *gate) head(b []byte, st *stream, t int64) []byte {
	if st.arg == "obu" {
		return append(append(append(b, `{"channel":"`...), d.family()...), `.obu","result":{`...)
	}
	b = gateInt(append(b, '{'), `"time":`, t/1_000_000_000)
	b = append(append(gateInt(b, `,"time_ms":`, t/1_000_000), `,"channel":"`...), d.family()...)
	return append(append(append(b, '.'), st.arg...), `","event":"update","result":`...)
}

func gateInt(b []byte, key string, v int64) []byte { return appendInt(append(b, key...), v) }

func gateText(b []byte, key, text string) []byte {
	return append(append(append(append(b, key...), '"'), text...), '"')
}

func (s *symbol) gatePrice(b []byte, key string, ticks int64) []byte {
	return append(s.appendTicks(append(append(b, key...), '"'), ticks), '"')
}

// size writes an amount: of pairs as text, of contracts as text with decimals
// where the connection asked for it, else the whole number that is in it.
func (d *gate) size(b []byte, key string, s *symbol, how uint8, q int64) []byte {
	b = append(b, key...)
	switch {
	case d.market != market.MarketSpot && how != gateDecimals:
		return appendInt(b, q/pow10[s.step])
	case q == 0:
		return append(b, `"0"`...)
	}
	return append(s.appendQty(append(b, '"'), q), '"')
}

func (d *gate) render(b []byte, st *stream, how uint8, ev *event) []byte {
	s, ms := st.sym, ev.now/1_000_000
	b = d.head(b, st, ev.now)
	switch st.kind {
	case ChannelTrades:
		t := pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell}
		if d.market == market.MarketSpot {
			return append(d.trade(b, s, t, how), '}')
		}
		return append(d.trade(append(b, '['), s, t, how), `]}`...)
	case ChannelBook:
		if st.arg == "obu" {
			return d.bookV2(b, st, how, ev)
		}
		objects := d.market != market.MarketSpot
		b = gateText(gateInt(b, `{"t":`, ms), `,"s":`, s.native)
		b = gateInt(gateInt(b, `,"U":`, ev.prev+1), `,"u":`, ev.last)
		b = d.levels(b, `,"b":[`, s, ev.bids, how, objects)
		return append(d.levels(b, `,"a":[`, s, ev.asks, how, objects), `,"l":"100"}}`...)
	case ChannelBBO:
		b = gateText(gateInt(gateInt(b, `{"t":`, ms), `,"u":`, ev.last), `,"s":`, s.native)
		b = d.size(s.gatePrice(b, `,"b":`, s.price(s.bb)), `,"B":`, s, how, s.qty[s.bb])
		b = d.size(s.gatePrice(b, `,"a":`, s.price(s.ba)), `,"A":`, s, how, s.qty[s.ba])
		return append(b, `}}`...)
	}
	return b[:0]
}

// bookV2 writes changes; a side without any isn't there.
func (d *gate) bookV2(b []byte, st *stream, how uint8, ev *event) []byte {
	b = gateText(gateInt(b, `"t":`, ev.now/1_000_000), `,"s":`, st.state.(string))
	b = gateInt(gateInt(b, `,"U":`, ev.prev+1), `,"u":`, ev.last)
	if len(ev.bids) > 0 {
		b = d.levels(b, `,"b":[`, st.sym, ev.bids, how, false)
	}
	if len(ev.asks) > 0 {
		b = d.levels(b, `,"a":[`, st.sym, ev.asks, how, false)
	}
	return append(gateInt(b, `},"time_ms":`, ev.now/1_000_000), '}')
}

// trade writes one. Contracts' have their side in the sign of the size.
func (d *gate) trade(b []byte, s *symbol, t pastTrade, how uint8) []byte {
	ms := t.now / 1_000_000
	if d.market == market.MarketSpot {
		side := "buy"
		if t.sell {
			side = "sell"
		}
		b = gateInt(gateInt(b, `{"id":`, t.id), `,"id_market":`, t.id)
		b = append(gateInt(gateInt(b, `,"create_time":`, ms/1000), `,"create_time_ms":"`, ms), `.653000"`...)
		b = gateText(gateText(b, `,"side":`, side), `,"currency_pair":`, s.native)
		b = s.gatePrice(d.size(b, `,"amount":`, s, how, t.qty), `,"price":`, t.price)
		return append(gateInt(gateInt(b, `,"range":"`, t.id), "-", t.id), `","trade_mode":0}`...)
	}
	qty := t.qty
	if t.sell {
		qty = -qty
	}
	b = gateInt(gateText(b, `{"contract":`, s.native), `,"id":`, t.id)
	b = gateInt(gateInt(b, `,"create_time":`, ms/1000), `,"create_time_ms":`, ms)
	return append(s.gatePrice(d.size(b, `,"size":`, s, how, qty), `,"price":`, t.price), '}')
}

// levels writes a list of pairs, or of objects.
func (d *gate) levels(b []byte, key string, s *symbol, ls []level, how uint8, objects bool) []byte {
	b = append(b, key...)
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		if objects {
			b = append(d.size(s.gatePrice(b, `{"p":`, s.price(l.slot)), `,"s":`, s, how, l.qty), '}')
		} else {
			b = append(d.size(s.gatePrice(b, `[`, s.price(l.slot)), `,`, s, how, l.qty), ']')
		}
	}
	return append(b, ']')
}

// sides writes both sides to n levels (0: all), a ghost bid included.
func (d *gate) sides(b []byte, keys [2]string, s *symbol, n int, how uint8, objects bool) []byte {
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
	return d.levels(d.levels(b, keys[0], s, bids, how, objects), keys[1], s, asks, how, objects)
}

// first is what the venue sends on subscribing.
func (d *gate) first(st *stream, how uint8, now time.Time) []byte {
	switch {
	case st.arg == "obu":
		b := gateInt(d.head(nil, st, now.UnixNano()), `"t":`, now.UnixMilli())
		b = gateInt(gateText(b, `,"full":true,"s":`, st.state.(string)), `,"u":`, st.sym.seq)
		b = d.sides(b, [2]string{`,"b":[`, `,"a":[`}, st.sym, 0, how, false)
		return append(gateInt(b, `},"time_ms":`, now.UnixMilli()), '}')
	case st.kind == ChannelTicker || st.kind == ChannelCandles:
		return d.timed(nil, st, how, now, false)
	}
	return nil
}

// timed writes what is sent by the clock.
func (d *gate) timed(b []byte, st *stream, how uint8, now time.Time, closed bool) []byte {
	s, t := st.sym, now.UnixNano()
	b = d.head(b, st, t)
	if cd, ok := st.state.(*candle); ok {
		if closed {
			cd = cd.closed
		}
		if d.market == market.MarketSpot {
			return append(d.candle(b, s, cd, how, closed), '}')
		}
		return append(d.candle(append(b, '['), s, cd, how, closed), `]}`...)
	}
	switch st.arg {
	case "tickers":
		if d.market == market.MarketSpot {
			return append(d.ticker(b, s, t, how), '}')
		}
		return append(d.ticker(append(b, '['), s, t, how), `]}`...)
	case "contract_tickers":
		b = s.gatePrice(gateText(b, `{"name":`, s.native), `,"last_price":`, s.last)
		b = append(s.gatePrice(s.gatePrice(b, `,"mark_price":`, s.last), `,"index_price":`, s.last), `,"position_size":993`...)
		b = d.size(s.gatePrice(b, `,"bid1_price":`, s.price(s.bb)), `,"bid1_size":`, s, how, s.qty[s.bb])
		b = d.size(s.gatePrice(b, `,"ask1_price":`, s.price(s.ba)), `,"ask1_size":`, s, how, s.qty[s.ba])
		return append(b, `,"vega":"34.8731","theta":"-72.80588","rho":"-28.53331","gamma":"0.00003","delta":"-0.78311","mark_iv":"0.86695","bid_iv":"0.65481","ask_iv":"0.88145","leverage":"3.55"}}`...)
	case "public_liquidates":
		b = d.size(s.gatePrice(b, `[{"price":`, s.last), `,"size":`, s, how, s.lastQty+pow10[s.step])
		return append(gateText(gateInt(b, `,"time":`, t/1_000_000), `,"contract":`, s.native), `}]}`...)
	}
	b = gateText(gateInt(b, `{"time":`, t/1_000_000_000/60*60), `,"contract":`, s.native)
	return append(b, `,"mark_price":87746.16,"lsr_taker":0,"lsr_account":1.9713114754098362,"long_liq_size":"0.5","short_liq_size":"0.2","open_interest":"22883730.5","open_interest_usd":22883730,"top_lsr_account":1.196078431372549,"top_lsr_size":0.8342584430144387}}`...)
}

func (d *gate) ticker(b []byte, s *symbol, t int64, how uint8) []byte {
	if d.market == market.MarketSpot {
		b = s.gatePrice(gateText(b, `{"currency_pair":`, s.native), `,"last":`, s.last)
		b = s.gatePrice(s.gatePrice(b, `,"lowest_ask":`, s.price(s.ba)), `,"highest_bid":`, s.price(s.bb))
		b = quoted(d.size(b, `,"change_percentage":"0.1","base_volume":`, s, how, s.volume), `,"quote_volume":`, s.turnover.append)
		return append(s.gatePrice(s.gatePrice(b, `,"high_24h":`, s.high), `,"low_24h":`, s.low), '}')
	}
	b = s.gatePrice(gateText(b, `{"contract":`, s.native), `,"last":`, s.last)
	b = s.gatePrice(s.gatePrice(b, `,"mark_price":`, s.last), `,"index_price":`, s.last-1)
	if !d.delivered(s) {
		every := int64(8 * time.Hour)
		b = gateInt(append(b, `,"funding_rate":"0.0001","funding_rate_indicative":"0.0001","funding_interval":28800,"funding_offset":0`...),
			`,"funding_next_apply":`, (t-t%every+every)/1_000_000_000)
	}
	b = d.size(append(b, `,"total_size":"20000","change_percentage":"0.1"`...), `,"volume_24h":`, s, how, s.volume)
	b = quoted(b, `,"volume_24h_quote":`, s.turnover.append)
	b = s.gatePrice(s.gatePrice(b, `,"high_24h":`, s.high), `,"low_24h":`, s.low)
	return append(gateInt(b, `,"quanto_base_rate":"","t":`, t/1_000_000), '}')
}

// candle writes a candle, whose volume spot counts twice: v in the quote currency.
func (d *gate) candle(b []byte, s *symbol, c *candle, how uint8, closed bool) []byte {
	end := "false}"
	if closed {
		end = "true}"
	}
	if d.market == market.MarketSpot {
		b = d.size(quoted(append(gateInt(b, `{"t":"`, c.start/1_000_000_000), '"'), `,"v":`, c.turnover.append), `,"a":`, s, how, c.volume)
	} else {
		b = d.size(gateInt(b, `{"t":`, c.start/1_000_000_000), `,"v":`, s, how, c.volume)
	}
	b = s.gatePrice(s.gatePrice(b, `,"c":`, c.close), `,"h":`, c.high)
	b = s.gatePrice(s.gatePrice(b, `,"l":`, c.low), `,"o":`, c.open)
	return append(append(gateText(b, `,"n":`, c.name+"_"+s.native), `,"w":`...), end...)
}

// tick sends what is due by the clock.
func (d *gate) tick(now time.Time) {
	for _, st := range d.e.streams {
		cd, candles := st.state.(*candle)
		switch {
		case st.kind != ChannelTicker && st.kind != ChannelCandles && st.kind != ChannelLiquidations:
			continue
		case candles && cd.closed != nil:
		case now.UnixNano()-st.sent < int64(time.Second):
			continue
		}
		st.sent = now.UnixNano()
		f := d.e.faultFor(st)
		for how, conns := range st.subs {
			if len(conns) == 0 {
				continue
			}
			var frames [][]byte
			if candles && cd.closed != nil {
				frames = append(frames, d.timed(nil, st, uint8(how), now, true))
			}
			frames = append(frames, d.timed(nil, st, uint8(how), now, false))
			for _, c := range conns {
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
		if candles {
			cd.closed = nil
		}
	}
}
