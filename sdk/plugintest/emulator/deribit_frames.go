package emulator

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

var deribitIntervals = map[string]time.Duration{"1": time.Minute, "3": 3 * time.Minute, "5": 5 * time.Minute, "10": 10 * time.Minute,
	"15": 15 * time.Minute, "30": 30 * time.Minute, "60": time.Hour, "120": 2 * time.Hour, "180": 3 * time.Hour, "360": 6 * time.Hour,
	"720": 12 * time.Hour, "1D": 24 * time.Hour}

// stream says what a channel shows; nil if there is none.
func (d *deribit) stream(name string) func(*stream) {
	parts := strings.Split(name, ".")
	interval := slices.Contains([]string{"100ms", "agg2", "raw"}, parts[len(parts)-1])
	named := func(i int) *symbol {
		if i >= len(parts) {
			return nil
		}
		return d.e.mkt.byName[parts[i]]
	}
	s, kind, depth := named(1), ChannelNone, 0
	switch {
	case parts[0] == "trades" && len(parts) == 3 && interval:
		kind = ChannelTrades
	case parts[0] == "book" && len(parts) == 3 && interval:
		kind = ChannelBook
	case parts[0] == "book" && len(parts) == 5 && interval && parts[2] == "none" && slices.Contains([]string{"1", "10", "20"}, parts[3]):
		kind = ChannelBook
		depth, _ = strconv.Atoi(parts[3])
	case parts[0] == "quote" && len(parts) == 2:
		kind = ChannelBBO
	case parts[0] == "ticker" && len(parts) == 3 && interval:
		kind = ChannelTicker
	case parts[0] == "deribit_volatility_index" && len(parts) == 2 && d.market == market.MarketInverse:
		kind = ChannelMarkPrice
		base, _, _ := strings.Cut(strings.ToUpper(parts[1]), "_")
		if i := slices.IndexFunc(d.e.mkt.syms, func(s *symbol) bool { return s.base == base }); i >= 0 {
			s = d.e.mkt.syms[i]
		}
	case parts[0] == "chart" && len(parts) == 4 && parts[1] == "trades" && deribitIntervals[parts[3]] > 0:
		kind, s = ChannelCandles, named(2)
	}
	if kind == ChannelNone || s == nil {
		return nil
	}
	return func(st *stream) {
		st.kind, st.sym, st.depth, st.arg = kind, s, depth, parts[0]
		if kind == ChannelCandles {
			cd := &candle{name: parts[3], every: int64(deribitIntervals[parts[3]]), decimals: s.tick + s.step}
			cd.roll(time.Now().UnixNano(), s.last)
			st.state, s.candles = cd, append(s.candles, cd)
		}
	}
}

// deribitHead begins a notification; its data and two braces follow.
func (st *stream) deribitHead(b []byte) []byte {
	b = append(b, `{"jsonrpc":"2.0","method":"subscription","params":{"channel":"`...)
	return append(append(b, st.name...), `","data":`...)
}

// deribitNamed begins an object with symbol and time.
func (s *symbol) deribitNamed(b []byte, now int64) []byte {
	b = appendInt(append(b, `{"timestamp":`...), now/1_000_000)
	return append(append(append(b, `,"instrument_name":"`...), s.native...), '"')
}

func (d *deribit) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	b = st.deribitHead(b)
	switch {
	case st.kind == ChannelTrades:
		b = append(d.trade(append(b, '['), s, pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell}), ']')
	case st.kind == ChannelBBO:
		b = s.deribitQuote(b, ev.now)
	case st.depth > 0:
		b = d.book(b, s, ev.now, st.depth)
	default:
		b = appendInt(append(s.deribitNamed(b, ev.now), `,"type":"change","prev_change_id":`...), ev.prev)
		b = appendInt(append(b, `,"change_id":`...), ev.last)
		b = s.deribitLevels(append(b, `,"bids":[`...), ev.bids, true)
		b = append(s.deribitLevels(append(b, `],"asks":[`...), ev.asks, true), `]}`...)
	}
	return append(b, `}}`...)
}

// trade writes one; each eighth was a liquidation.
func (d *deribit) trade(b []byte, s *symbol, t pastTrade) []byte {
	b = appendInt(append(s.deribitNamed(b, t.now), `,"trade_seq":`...), t.id)
	b = append(appendInt(append(b, `,"trade_id":"`...), t.id), `","tick_direction":0,"direction":"`...)
	if t.sell {
		b = append(b, `sell"`...)
	} else {
		b = append(b, `buy"`...)
	}
	if d.market != market.MarketSpot && t.id%8 == 0 {
		b = append(b, `,"liquidation":"T"`...)
	}
	b = s.appendTicks(append(b, `,"price":`...), t.price)
	b = s.appendTicks(append(b, `,"mark_price":`...), t.price)
	b = s.appendTicks(append(b, `,"index_price":`...), t.price-1)
	return append(s.appendQty(append(b, `,"amount":`...), t.qty), '}')
}

func (s *symbol) deribitLevels(b []byte, ls []level, action bool) []byte {
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		switch b = append(b, '['); {
		case action && l.qty == 0:
			b = append(b, `"delete",`...)
		case action:
			b = append(b, `"new",`...)
		}
		b = append(s.appendPrice(b, l.slot), ',')
		b = append(s.appendQty(b, l.qty), ']')
	}
	return b
}

// book writes the whole book, or n levels of each side as a grouped one; a ghost
// bid is in it.
func (d *deribit) book(b []byte, s *symbol, now int64, n int) []byte {
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
	b = s.deribitNamed(b, now)
	if n == 0 {
		b = append(b, `,"type":"snapshot"`...)
	} else {
		bids = bids[:min(n, len(bids))]
	}
	b = appendInt(append(b, `,"change_id":`...), s.seq)
	b = s.deribitLevels(append(b, `,"bids":[`...), bids, n == 0)
	return append(s.deribitLevels(append(b, `],"asks":[`...), asks, n == 0), `]}`...)
}

func (s *symbol) deribitBest(b []byte) []byte {
	b = s.appendTicks(append(b, `,"best_bid_price":`...), s.price(s.bb))
	b = s.appendQty(append(b, `,"best_bid_amount":`...), s.qty[s.bb])
	b = s.appendTicks(append(b, `,"best_ask_price":`...), s.price(s.ba))
	return s.appendQty(append(b, `,"best_ask_amount":`...), s.qty[s.ba])
}

func (s *symbol) deribitQuote(b []byte, now int64) []byte {
	return append(s.deribitBest(s.deribitNamed(b, now)), '}')
}

// first is what the venue sends on subscribing.
func (d *deribit) first(st *stream, now time.Time) []byte {
	switch st.kind {
	case ChannelTrades:
		return nil
	case ChannelBook:
		return append(d.book(st.deribitHead(nil), st.sym, now.UnixNano(), st.depth), `}}`...)
	case ChannelBBO:
		return append(st.sym.deribitQuote(st.deribitHead(nil), now.UnixNano()), `}}`...)
	case ChannelCandles:
		return d.timed(st, now, st.state.(*candle))
	}
	return d.timed(st, now, nil)
}

// timed writes what is sent by the clock.
func (d *deribit) timed(st *stream, now time.Time, cd *candle) []byte {
	s, t := st.sym, now.UnixNano()
	b := st.deribitHead(nil)
	switch st.arg {
	case "ticker":
		b = d.ticker(b, s, t)
	case "chart":
		b = appendInt(append(b, `{"tick":`...), cd.start/1_000_000)
		b = s.appendTicks(append(b, `,"open":`...), cd.open)
		b = s.appendTicks(append(b, `,"high":`...), cd.high)
		b = s.appendTicks(append(b, `,"low":`...), cd.low)
		b = s.appendTicks(append(b, `,"close":`...), cd.close)
		b = s.appendQty(append(b, `,"volume":`...), cd.volume)
		b = append(cd.turnover.append(append(b, `,"cost":`...)), '}')
	default: // the volatility index
		b = append(append(b, `{"volatility":49.36,"index_name":"`...), st.name[strings.IndexByte(st.name, '.')+1:]...)
		b = append(appendInt(append(b, `","timestamp":`...), t/1_000_000), '}')
	}
	return append(b, `}}`...)
}

func (d *deribit) ticker(b []byte, s *symbol, t int64) []byte {
	b = append(s.deribitNamed(b, t), `,"state":"open","stats":{"price_change":0.5`...)
	b = s.appendTicks(append(b, `,"high":`...), s.high)
	b = s.appendTicks(append(b, `,"low":`...), s.low)
	b = s.appendQty(append(b, `,"volume":`...), s.volume)
	b = s.turnover.append(append(b, `,"volume_usd":`...))
	b = append(s.turnover.append(append(b, `,"volume_notional":`...)), '}')
	b = s.deribitBest(b)
	b = s.appendTicks(append(b, `,"last_price":`...), s.last)
	b = s.appendTicks(append(b, `,"mark_price":`...), s.last)
	b = s.appendTicks(append(b, `,"index_price":`...), s.last-1)
	if d.market != market.MarketSpot {
		b = append(b, `,"open_interest":20000.0`...)
	}
	if strings.HasSuffix(s.native, "-PERPETUAL") {
		b = append(b, `,"current_funding":1.423e-4,"funding_8h":5.149e-5,"interest_value":2.5`...)
	}
	if d.market == market.MarketOption {
		b = s.appendTicks(append(b, `,"mark_iv":55.12,"bid_iv":54.0,"ask_iv":56.2,"interest_rate":0.0,"underlying_index":"SYN.BTC-27DEC30","greeks":{"delta":0.74,"gamma":1.0e-5,"vega":61.2,"theta":-25.1,"rho":33.0},"underlying_price":`...), s.last)
	}
	return append(b, '}')
}

// tick sends what is due by the clock: tickers, candles and the volatility index
// each second.
func (d *deribit) tick(now time.Time) {
	d.beat(now)
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
		frames := [][]byte{d.timed(st, now, cd)}
		if candles && cd.closed != nil {
			frames = [][]byte{d.timed(st, now, cd.closed), frames[0]}
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
