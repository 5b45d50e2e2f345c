package emulator

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

func (d *hyperliquid) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	if st.kind == ChannelTrades {
		t := pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell}
		return append(d.trade(append(b, `{"channel":"trades","data":[`...), st.sym, t), `]}`...)
	}
	if st.kind == ChannelBook {
		st.sent = ev.now
	}
	return d.state(b, st, ev.now)
}

// trade writes one.
func (d *hyperliquid) trade(b []byte, s *symbol, t pastTrade) []byte {
	b = append(append(append(b, `{"coin":"`...), s.native...), `","side":"`...)
	side := byte('B')
	if t.sell {
		side = 'A'
	}
	b = quoted(append(b, side, '"'), `,"px":`, func(b []byte) []byte { return s.appendTicks(b, t.price) })
	b = quoted(b, `,"sz":`, func(b []byte) []byte { return s.appendQty(b, t.qty) })
	b = appendInt(append(b, `,"time":`...), t.now/1_000_000)
	b = appendInt(append(b, `,"hash":"0x0000000000000000000000000000000000000000000000000000000000000000","tid":`...), t.id)
	return append(b, `,"users":["0x1000000000000000000000000000000000000000","0x2000000000000000000000000000000000000000"]}`...)
}

// latest writes the list of the last n trades, the oldest first.
func (d *hyperliquid) latest(s *symbol, n int64) []byte {
	b := []byte{'['}
	for id := max(s.trade-n, 0) + 1; id <= s.trade; id++ {
		if t := s.recent[id%recentTrades]; t.id == id {
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = d.trade(b, s, t)
		}
	}
	return append(b, ']')
}

// state writes what a stream that shows a state sends.
func (d *hyperliquid) state(b []byte, st *stream, t int64) []byte {
	s := st.sym
	switch st.kind {
	case ChannelBook:
		b = d.book(append(b, `{"channel":"l2Book","data":`...), s, st.depth, t)
		if st.depth == 5 {
			b = append(b[:len(b)-1], `,"fast":true}`...)
		}
		return append(b, '}')
	case ChannelBBO:
		b = append(append(append(b, `{"channel":"bbo","data":{"coin":"`...), s.native...), `","time":`...)
		b = append(appendInt(b, t/1_000_000), `,"bbo":[`...)
		b = append(s.appendHyperliquid(b, level{s.bb, s.qty[s.bb]}), ',')
		return append(s.appendHyperliquid(b, level{s.ba, s.qty[s.ba]}), `]}}`...)
	case ChannelCandles:
		return s.appendHyperliquidCandle(b, st.state.(*candle))
	}
	channel := "activeAssetCtx"
	if d.market == market.MarketSpot {
		channel = "activeSpotAssetCtx"
	}
	b = append(append(append(b, `{"channel":"`...), channel...), `","data":{"coin":"`...)
	return append(d.context(append(append(b, s.native...), `","ctx":`...), s), `}}`...)
}

// book writes a book of n levels, with the ghost bid that a fault may have put in.
func (d *hyperliquid) book(b []byte, s *symbol, n int, t int64) []byte {
	bids, asks := d.bids[:0], d.asks[:0]
	if s.ghost != 0 {
		bids = append(bids, level{s.ghost, 1})
	}
	s.bids(n, func(i int, q int64) {
		if i != s.ghost {
			bids = append(bids, level{i, q})
		}
	})
	s.asks(n, func(i int, q int64) { asks = append(asks, level{i, q}) })
	b = append(append(append(b, `{"coin":"`...), s.native...), `","time":`...)
	b = s.appendHyperliquidLevels(append(appendInt(b, t/1_000_000), `,"levels":[`...), bids[:min(n, len(bids))])
	d.bids, d.asks = bids, asks
	return append(s.appendHyperliquidLevels(append(b, ','), asks), `]}`...)
}

func (s *symbol) appendHyperliquidLevels(b []byte, ls []level) []byte {
	b = append(b, '[')
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.appendHyperliquid(b, l)
	}
	return append(b, ']')
}

func (s *symbol) appendHyperliquid(b []byte, l level) []byte {
	b = quoted(append(b, '{'), `"px":`, func(b []byte) []byte { return s.appendPrice(b, l.slot) })
	return append(quoted(b, `,"sz":`, func(b []byte) []byte { return s.appendQty(b, l.qty) }), `,"n":1}`...)
}

// context writes the state of a coin.
func (d *hyperliquid) context(b []byte, s *symbol) []byte {
	price := func(b []byte, key string, ticks int64) []byte {
		return quoted(b, key, func(b []byte) []byte { return s.appendTicks(b, ticks) })
	}
	b = price(append(b, '{'), `"prevDayPx":`, s.open)
	b = quoted(b, `,"dayNtlVlm":`, s.turnover.append)
	b = price(price(b, `,"markPx":`, s.last), `,"midPx":`, s.last)
	b = quoted(b, `,"dayBaseVlm":`, func(b []byte) []byte { return s.appendQty(b, s.volume) })
	if d.market == market.MarketSpot {
		b = append(append(append(b, `,"coin":"`...), s.native...), '"')
		return append(b, `,"circulatingSupply":"1000000.0","totalSupply":"1000000.0"}`...)
	}
	b = price(b, `,"oraclePx":`, s.last-1)
	return append(b, `,"funding":"0.0000125","openInterest":"36585.31848","premium":"-0.0001","impactPxs":null}`...)
}

func (s *symbol) appendHyperliquidCandle(b []byte, c *candle) []byte {
	b = appendInt(append(b, `{"channel":"candle","data":{"t":`...), c.start/1_000_000)
	b = appendInt(append(b, `,"T":`...), (c.start+c.every)/1_000_000-1)
	b = append(append(append(b, `,"s":"`...), s.native...), `","i":"`...)
	b = append(append(b, c.name...), '"')
	for _, p := range [...]struct {
		key string
		v   int64
	}{{`,"o":`, c.open}, {`,"c":`, c.close}, {`,"h":`, c.high}, {`,"l":`, c.low}} {
		b = quoted(b, p.key, func(b []byte) []byte { return s.appendTicks(b, p.v) })
	}
	b = quoted(b, `,"v":`, func(b []byte) []byte { return s.appendQty(b, c.volume) })
	return append(appendInt(append(b, `,"n":`...), c.trades), `}}`...)
}

// tick sends what is due by the clock: contexts and candles each second, a book
// that rests each 5 s, one of 5 levels each half.
func (d *hyperliquid) tick(now time.Time) {
	t := now.UnixNano()
	for _, st := range d.e.streams {
		every := time.Second
		cd, candles := st.state.(*candle)
		switch {
		case st.kind == ChannelTrades || st.kind == ChannelBBO:
			continue
		case st.kind == ChannelBook && st.depth == 5:
			every = 500 * time.Millisecond
		case st.kind == ChannelBook:
			every = 5 * time.Second
		case candles && cd.closed != nil:
			every = 0
		}
		if t-st.sent < int64(every) {
			continue
		}
		st.sent = t
		about := st.about()
		p := d.state(nil, st, t)
		if candles && cd.closed != nil {
			p, cd.closed = st.sym.appendHyperliquidCandle(nil, cd.closed), nil
		}
		if st.kind == ChannelBook {
			about.Seq = st.sym.seq
		}
		f := d.e.faultFor(st)
		for _, c := range st.subs[0] {
			if f != nil {
				d.e.mangle(f, about, c, t, p)
			} else {
				c.frame(t, about, 0, p)
			}
			d.e.touch(c)
		}
	}
}

// info answers a request; nil if there is none of this type, null if its coin is
// unknown.
func (d *hyperliquid) info(kind string, s *symbol) []byte {
	switch now := time.Now().UnixNano(); kind {
	case "meta", "allPerpMetas", "metaAndAssetCtxs", "spotMeta", "spotMetaAndAssetCtxs":
		var v any = d.catalogues()
		switch kind {
		case "meta":
			v = d.catalogues()[0]
		case "spotMeta":
			v = d.spot()
		case "metaAndAssetCtxs", "spotMetaAndAssetCtxs":
			meta := d.spot()
			if d.market == market.MarketLinear {
				meta = d.catalogues()[0]
			}
			ctxs := []json.RawMessage{}
			for _, s := range d.e.mkt.syms {
				if !strings.Contains(s.native, ":") {
					ctxs = append(ctxs, d.context(nil, s))
				}
			}
			v = []any{meta, ctxs}
		}
		b, _ := json.Marshal(v)
		return b
	case "l2Book", "recentTrades":
		if s == nil {
			return []byte("null")
		}
		if kind == "recentTrades" {
			return d.latest(s, 10)
		}
		if d.e.take(FaultStaleSnapshot) != nil {
			s = s.first(d.e.opt.Seed, d.e.opt.Depth, d.e.opt.FirstID)
		}
		return d.book(nil, s, 20, now)
	}
	return nil
}

// catalogues are the venue's own perpetuals, then those of each builder.
func (d *hyperliquid) catalogues() []obj {
	byDex := map[string][]obj{}
	order := []string{""}
	for _, s := range d.e.mkt.syms {
		if d.market != market.MarketLinear {
			continue
		}
		dex, _, of := strings.Cut(s.native, ":")
		if !of {
			dex = ""
		} else if byDex[dex] == nil {
			order = append(order, dex)
		}
		byDex[dex] = append(byDex[dex], obj{"name": s.native, "szDecimals": s.step, "maxLeverage": 20})
	}
	var all []obj
	for _, dex := range order {
		all = append(all, obj{"universe": append([]obj{}, byDex[dex]...), "marginTables": []any{}, "collateralToken": 0})
	}
	return all
}

// spot is the catalogue of pairs and their tokens.
func (d *hyperliquid) spot() obj {
	at := map[string]int{"USDC": 0}
	tokens := []obj{{"name": "USDC", "szDecimals": 8, "index": 0}}
	index := func(name string, size uint8) int {
		i, ok := at[name]
		if !ok {
			i = len(tokens)
			at[name] = i
			tokens = append(tokens, obj{"name": name, "szDecimals": size, "index": i})
		}
		return i
	}
	pairs := []obj{}
	for i, s := range d.e.mkt.syms {
		if d.market == market.MarketSpot {
			pairs = append(pairs, obj{"name": s.native, "tokens": [2]int{index(s.base, s.step), index(s.quote, 8)}, "index": i})
		}
	}
	return obj{"universe": pairs, "tokens": tokens}
}
