package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Binance: spot (developers.binance.com, web-socket-streams), USD-M and COIN-M
// (derivatives, websocket-market-streams), as of November 2026.
var binanceVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse},
	new:     func(e *Emulator) dialect { return &binance{e: e, market: e.opt.Market} },
	symbols: func(o Options, n market.Name, price float64) naming {
		d := tickDecimals(price)
		switch o.Market {
		case market.MarketLinear:
			return naming{n.Base + n.Quote, max(d, 1), 3, max(d, 1) + 1, 3}
		case market.MarketInverse:
			return naming{n.Base + n.Quote + "_PERP", 1, 0, 1, 0}
		}
		return naming{n.Base + n.Quote, max(d, 2), 5, 8, 8}
	},
	defaults: func(m market.Market) []string {
		if m == market.MarketInverse {
			return []string{"BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"}
		}
		if m == market.MarketLinear {
			return []string{"BTC-USDT-PERP", "ETH-USDT-PERP"}
		}
		return []string{"BTC-USDT", "ETH-USDT"}
	},
	limits: limits{messages: 5, streams: 1024, connects: 300, connectsPer: 5 * time.Minute, weight: 6000},
}

func init() { venues["binance"] = binanceVenue }

type binance struct {
	e        *Emulator
	market   market.Market
	time     int64 // of timeText
	timeText []byte
}

func (d *binance) heartbeat(timeout time.Duration) (time.Duration, time.Duration) {
	every, within := 20*time.Second, time.Minute
	if d.market != market.MarketSpot {
		every, within = 3*time.Minute, 10*time.Minute
	}
	if timeout > 0 {
		within = timeout
	}
	return every, within
}

// accepts knows /ws, /ws/<stream>, /stream, and below /public and /market the
// same. USD-M has no others since April 2026, spot has only the bare ones.
func (d *binance) accepts(path string) bool {
	class, rest := d.class(path)
	switch {
	case class != "" && d.market == market.MarketSpot, class == "" && d.market == market.MarketLinear:
		return false
	}
	return rest == "/stream" || rest == "/ws" || strings.HasPrefix(rest, "/ws/")
}

func (d *binance) class(path string) (class, rest string) {
	for _, c := range []string{"/public", "/market"} {
		if r, ok := strings.CutPrefix(path, c); ok {
			return c, r
		}
	}
	return "", path
}

func (d *binance) open(c *Conn, r *http.Request) {
	_, rest := d.class(r.URL.Path)
	q := r.URL.Query()
	names := q.Get("streams")
	if r.Header.Get(binanceKeyHeader) != "" && d.market == market.MarketSpot {
		c.how |= variantBinary
	}
	if rest == "/stream" {
		c.how |= variantCombined
	} else {
		names = strings.TrimPrefix(strings.TrimPrefix(rest, "/ws"), "/")
	}
	if u := q.Get("timeUnit"); d.market == market.MarketSpot && strings.EqualFold(u, "microsecond") {
		c.how |= variantMicros
	}
	for _, n := range strings.Split(names, "/") {
		if n != "" {
			d.subscribe(c, n)
		}
	}
}

// subscribe takes any name, as the exchange does; one that it does not know, or
// not at this endpoint, stays silent.
func (d *binance) subscribe(c *Conn, name string) {
	sym, what, _ := strings.Cut(name, "@")
	s := d.e.mkt.byName[strings.ToUpper(sym)]
	kind, arg, depth, index := ChannelTrades, "", 0, false
	what, speed, _ := strings.Cut(what, "@")
	class := "/market"
	sbe := c.how&variantBinary != 0
	if sbe {
		var ok bool
		if kind, depth, ok = sbeStream(what); !ok {
			return
		}
	}
	switch {
	case sbe:
	case what == "trade":
		class = "/public"
	case what == "aggTrade":
		kind = ChannelAggTrades
	case what == "bookTicker":
		kind, class = ChannelBBO, "/public"
	case what == "ticker":
		kind = ChannelTicker
	case strings.HasPrefix(what, "depth"):
		kind, class = ChannelBook, "/public"
		if what != "depth" {
			if depth, _ = strconv.Atoi(what[5:]); depth != 5 && depth != 10 && depth != 20 {
				return
			}
		}
	case strings.HasPrefix(what, "kline_"):
		kind, arg = ChannelCandles, what[6:]
		if binanceIntervals[arg] == 0 {
			return
		}
	case what == "markPrice" && d.market != market.MarketSpot:
		kind, arg = ChannelMarkPrice, speed
	case what == "indexPrice" && d.market == market.MarketInverse:
		kind, arg, index = ChannelMarkPrice, speed, true
		s = d.e.mkt.byName[strings.ToUpper(sym)+"_PERP"]
	case what == "forceOrder" && d.market != market.MarketSpot:
		kind = ChannelLiquidations
	default:
		return
	}
	if at, _ := d.class(c.path); s == nil || at != "" && at != class {
		return
	}
	d.e.subscribe(c, name, func(st *stream) {
		st.kind, st.sym, st.arg, st.depth = kind, s, arg, depth
		switch {
		case index:
			st.state = index
		case kind == ChannelCandles:
			cd := &candle{name: arg, every: int64(binanceIntervals[arg]), decimals: s.tick + s.step}
			cd.roll(time.Now().UnixNano(), s.last)
			st.state, s.candles = cd, append(s.candles, cd)
		}
	})
}

var binanceIntervals = map[string]time.Duration{"1s": time.Second, "1m": time.Minute, "3m": 3 * time.Minute, "5m": 5 * time.Minute,
	"15m": 15 * time.Minute, "30m": 30 * time.Minute, "1h": time.Hour, "2h": 2 * time.Hour, "4h": 4 * time.Hour, "6h": 6 * time.Hour,
	"8h": 8 * time.Hour, "12h": 12 * time.Hour, "1d": 24 * time.Hour, "3d": 72 * time.Hour, "1w": 7 * 24 * time.Hour,
	"1M": 30 * 24 * time.Hour}

func (d *binance) message(c *Conn, text []byte) {
	now := time.Now().UnixNano()
	answer := func(s string) { c.frame(now, About{}, FlagControl, []byte(s)) }
	var m struct {
		Method string          `json:"method"`
		Params []any           `json:"params"`
		ID     json.RawMessage `json:"id"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		answer(`{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}}`)
		return
	}
	id := string(m.ID)
	if id == "" {
		id = "null"
	}
	refuse := func(code int, msg string) {
		answer(`{"error":{"code":` + strconv.Itoa(code) + `,"msg":` + strconv.Quote(msg) + `},"id":` + id + `}`)
	}
	switch m.Method {
	case "SUBSCRIBE", "UNSUBSCRIBE":
		if m.Method == "SUBSCRIBE" && d.e.take(FaultReject) != nil {
			refuse(2, "Invalid request: refused by the emulator")
			return
		}
		if d.e.opt.Limits && m.Method == "SUBSCRIBE" && len(c.sub)+len(m.Params) > binanceVenue.limits.streams {
			refuse(2, "Invalid request: too many streams")
			return
		}
		answer(`{"result":null,"id":` + id + `}`)
		for _, p := range m.Params {
			name, ok := p.(string)
			switch {
			case !ok:
			case m.Method == "SUBSCRIBE":
				d.subscribe(c, name)
			default:
				if st := d.e.streams[name]; st != nil {
					d.e.unsubscribe(c, st)
				}
			}
		}
	case "LIST_SUBSCRIPTIONS":
		names := make([]string, 0, len(c.sub))
		for _, st := range c.sub {
			names = append(names, st.name)
		}
		b, _ := json.Marshal(names)
		answer(`{"result":` + string(b) + `,"id":` + id + `}`)
	default:
		refuse(2, "Invalid request: unknown variant `"+m.Method+"`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`")
	}
}

func (d *binance) render(b []byte, st *stream, v uint8, ev *event) []byte {
	if v&variantBinary != 0 {
		return d.sbe(b, st, ev)
	}
	b = binanceHead(b, st, v)
	s, t := st.sym, d.stamp(binanceTime(ev.now, v))
	switch st.kind {
	case ChannelTrades:
		b = append(append(b, `{"e":"trade","E":`...), t...)
		if d.market != market.MarketSpot {
			b = append(append(b, `,"T":`...), t...)
		}
		b = append(append(append(b, `,"s":"`...), s.native...), `","t":`...)
		b = appendInt(b, ev.id)
		b = s.appendTicks(append(b, `,"p":"`...), ev.price)
		b = append(s.appendQty(append(b, `","q":"`...), ev.qty), '"')
		if d.market == market.MarketSpot {
			b = append(append(b, `,"T":`...), t...)
			b = append(appendBool(append(b, `,"m":`...), ev.sell), `,"M":true}`...)
		} else {
			b = append(appendBool(append(b, `,"X":"MARKET","m":`...), ev.sell), '}')
		}
	case ChannelAggTrades:
		b = append(append(b, `{"e":"aggTrade","E":`...), t...)
		b = append(append(append(b, `,"s":"`...), s.native...), `","a":`...)
		b = appendInt(b, ev.agg)
		b = s.appendTicks(append(b, `,"p":"`...), ev.price)
		b = s.appendQty(append(b, `","q":"`...), ev.qty)
		b = appendInt(append(b, `","f":`...), ev.id)
		b = appendInt(append(b, `,"l":`...), ev.id)
		b = append(append(b, `,"T":`...), t...)
		b = appendBool(append(b, `,"m":`...), ev.sell)
		if d.market == market.MarketSpot {
			b = append(b, `,"M":true`...)
		}
		b = append(b, '}')
	case ChannelBook:
		if st.depth > 0 {
			b = d.partial(b, st, t)
			break
		}
		b = append(append(b, `{"e":"depthUpdate","E":`...), t...)
		if d.market != market.MarketSpot {
			b = append(append(b, `,"T":`...), t...)
		}
		b = d.appendSymbol(b, s)
		b = appendInt(append(b, `,"U":`...), ev.first)
		b = appendInt(append(b, `,"u":`...), ev.last)
		if d.market != market.MarketSpot {
			b = appendInt(append(b, `,"pu":`...), ev.prev)
		}
		b = s.appendLevels(append(b, `,"b":[`...), ev.bids)
		b = s.appendLevels(append(b, `],"a":[`...), ev.asks)
		b = append(b, `]}`...)
	case ChannelBBO:
		b = append(b, '{')
		if d.market != market.MarketSpot {
			b = append(b, `"e":"bookTicker",`...)
		}
		b = appendInt(append(b, `"u":`...), ev.last)
		b = d.appendSymbol(b, s)
		b = s.appendTop(b)
		if d.market != market.MarketSpot {
			b = append(append(b, `,"T":`...), t...)
			b = append(append(b, `,"E":`...), t...)
		}
		b = append(b, '}')
	}
	return binanceTail(b, v)
}

// partial is a stream of the best levels: @depth5, 10, 20.
func (d *binance) partial(b []byte, st *stream, t []byte) []byte {
	s := st.sym
	bids, asks := `"bids":[`, `],"asks":[`
	if d.market == market.MarketSpot {
		b = append(appendInt(append(b, `{"lastUpdateId":`...), s.seq), ',')
	} else {
		b = append(append(b, `{"e":"depthUpdate","E":`...), t...)
		b = append(append(b, `,"T":`...), t...)
		b = d.appendSymbol(b, s)
		b = appendInt(append(b, `,"U":`...), s.seq)
		b = appendInt(append(b, `,"u":`...), s.seq)
		b = append(appendInt(append(b, `,"pu":`...), s.seq-1), ',')
		bids, asks = `"b":[`, `],"a":[`
	}
	return append(s.appendBook(b, bids, asks, st.depth), `]}`...)
}

func binanceHead(b []byte, st *stream, v uint8) []byte {
	if v&variantCombined != 0 {
		b = append(append(append(b, `{"stream":"`...), st.name...), `","data":`...)
	}
	return b
}

func binanceTail(b []byte, v uint8) []byte {
	if v&variantCombined != 0 {
		b = append(b, '}')
	}
	return b
}

func binanceTime(ns int64, v uint8) int64 {
	if v&variantMicros != 0 {
		return ns / 1000
	}
	return ns / 1_000_000
}

// stamp is the text of a time, kept while the next one is the same.
func (d *binance) stamp(t int64) []byte {
	if t != d.time {
		d.time, d.timeText = t, appendInt(d.timeText[:0], t)
	}
	return d.timeText
}

func (d *binance) appendSymbol(b []byte, s *symbol) []byte {
	b = append(append(append(b, `,"s":"`...), s.native...), '"')
	if d.market == market.MarketInverse {
		b = append(append(append(append(b, `,"ps":"`...), s.base...), s.quote...), '"')
	}
	return b
}

func (s *symbol) appendLevels(b []byte, ls []level) []byte {
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(s.appendPrice(append(b, `["`...), l.slot), `","`...)
		b = append(s.appendQty(b, l.qty), `"]`...)
	}
	return b
}

// appendBook writes both sides to n levels as pairs of texts; the caller closes
// the last list.
func (s *symbol) appendBook(b []byte, bids, asks string, n int) []byte {
	first := true
	side := func(slot int, q int64) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(s.appendPrice(append(b, `["`...), slot), `","`...)
		b = append(s.appendQty(b, q), `"]`...)
	}
	b = append(b, bids...)
	s.bids(n, side)
	b, first = append(b, asks...), true
	s.asks(n, side)
	return b
}

func (s *symbol) appendTop(b []byte) []byte {
	b = s.appendPrice(append(b, `,"b":"`...), s.bb)
	b = s.appendQty(append(b, `","B":"`...), s.qty[s.bb])
	b = s.appendPrice(append(b, `","a":"`...), s.ba)
	return append(s.appendQty(append(b, `","A":"`...), s.qty[s.ba]), '"')
}

func appendBool(b []byte, v bool) []byte { return strconv.AppendBool(b, v) }

// tick sends what is due by the clock: candles, tickers and mark prices each
// second (mark prices without @1s every third), a liquidation each second.
func (d *binance) tick(now time.Time) {
	for _, st := range d.e.streams {
		every := int64(time.Second)
		switch st.kind {
		case ChannelCandles:
			if st.state.(*candle).closed != nil {
				every = 0
			}
		case ChannelMarkPrice:
			if st.arg != "1s" {
				every *= 3
			}
		case ChannelTicker, ChannelLiquidations:
		default:
			continue
		}
		if now.UnixNano()-st.sent < every {
			continue
		}
		st.sent = now.UnixNano()
		for v := range st.subs {
			if len(st.subs[v]) == 0 {
				continue
			}
			frames := [][]byte{d.timed(nil, st, uint8(v), now)}
			if cd, ok := st.state.(*candle); ok && cd.closed != nil {
				frames = [][]byte{d.candle(nil, st, uint8(v), now, cd.closed), frames[0]}
			}
			f := d.e.faultFor(st)
			for _, c := range st.subs[v] {
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
		if cd, ok := st.state.(*candle); ok {
			cd.closed = nil
		}
	}
}

func (d *binance) timed(b []byte, st *stream, v uint8, now time.Time) []byte {
	switch st.kind {
	case ChannelCandles:
		return d.candle(b, st, v, now, st.state.(*candle))
	case ChannelTicker:
		return binanceTail(d.ticker(binanceHead(b, st, v), st.sym, v, now), v)
	case ChannelMarkPrice:
		return binanceTail(d.mark(binanceHead(b, st, v), st, v, now), v)
	}
	return binanceTail(d.liquidation(binanceHead(b, st, v), st.sym, v, now), v)
}

func (d *binance) candle(b []byte, st *stream, v uint8, now time.Time, c *candle) []byte {
	s, q := st.sym, quoted
	b = binanceHead(b, st, v)
	b = appendInt(append(b, `{"e":"kline","E":`...), binanceTime(now.UnixNano(), v))
	b = append(append(append(b, `,"s":"`...), s.native...), `","k":{"t":`...)
	b = appendInt(b, binanceTime(c.start, v))
	b = appendInt(append(b, `,"T":`...), binanceTime(c.start+c.every, v)-1)
	b = append(append(append(b, `,"s":"`...), s.native...), `","i":"`...)
	b = append(append(b, c.name...), `","f":`...)
	f, l := c.firstID, c.firstID+c.trades-1
	if c.trades == 0 {
		f, l = -1, -1
	}
	b = appendInt(append(appendInt(b, f), `,"L":`...), l)
	price := func(p int64) func([]byte) []byte { return func(b []byte) []byte { return s.appendTicks(b, p) } }
	qty := func(n int64) func([]byte) []byte { return func(b []byte) []byte { return s.appendQty(b, n) } }
	b = q(q(q(q(b, `,"o":`, price(c.open)), `,"c":`, price(c.close)), `,"h":`, price(c.high)), `,"l":`, price(c.low))
	b = appendInt(append(q(b, `,"v":`, qty(c.volume)), `,"n":`...), c.trades)
	closed := c.start+c.every <= now.UnixNano()
	b = appendBool(append(b, `,"x":`...), closed)
	b = q(q(q(b, `,"q":`, c.turnover.append), `,"V":`, qty(c.buy)), `,"Q":`, c.buyTurnover.append)
	return binanceTail(append(b, `,"B":"0"}}`...), v)
}

func (d *binance) ticker(b []byte, s *symbol, v uint8, now time.Time) []byte {
	t := now.UnixNano()
	b = appendInt(append(b, `{"e":"24hrTicker","E":`...), binanceTime(t, v))
	b = d.appendSymbol(b, s)
	price := func(b []byte, key string, p int64) []byte {
		return quoted(b, key, func(b []byte) []byte { return s.appendTicks(b, p) })
	}
	qty := func(b []byte, key string, n int64) []byte {
		return quoted(b, key, func(b []byte) []byte { return s.appendQty(b, n) })
	}
	b = price(b, `,"p":`, s.last-s.open)
	b = quoted(b, `,"P":`, func(b []byte) []byte { return appendFixed(b, (s.last-s.open)*100_000/s.open, 3, 3) })
	b = price(price(b, `,"w":`, s.last), `,"c":`, s.last)
	b = qty(b, `,"Q":`, s.lastQty)
	if d.market == market.MarketSpot {
		b = s.appendTop(price(b, `,"x":`, s.open))
	}
	b = price(price(price(b, `,"o":`, s.open), `,"h":`, s.high), `,"l":`, s.low)
	b = quoted(qty(b, `,"v":`, s.volume), `,"q":`, s.turnover.append)
	b = appendInt(append(b, `,"O":`...), binanceTime(t-int64(24*time.Hour), v))
	b = appendInt(append(b, `,"C":`...), binanceTime(t, v))
	b = appendInt(append(b, `,"F":`...), s.trade-s.trades+1)
	b = appendInt(append(b, `,"L":`...), s.trade)
	return append(appendInt(append(b, `,"n":`...), s.trades), '}')
}

func (d *binance) mark(b []byte, st *stream, v uint8, now time.Time) []byte {
	s, t := st.sym, now.UnixNano()
	price := func(key string, p int64) {
		b = quoted(b, key, func(b []byte) []byte { return appendFixed(b, p, s.tick, 8) })
	}
	if st.state != nil { // COIN-M's index stream is of the pair
		b = appendInt(append(b, `{"e":"indexPriceUpdate","E":`...), binanceTime(t, v))
		b = append(append(append(append(b, `,"i":"`...), s.base...), s.quote...), '"')
		price(`,"p":`, s.last-1)
		return append(b, '}')
	}
	b = appendInt(append(b, `{"e":"markPriceUpdate","E":`...), binanceTime(t, v))
	b = append(append(append(b, `,"s":"`...), s.native...), '"')
	price(`,"p":`, s.last)
	price(`,"P":`, s.last+1)
	if d.market == market.MarketLinear {
		price(`,"i":`, s.last-1)
	}
	next := t - t%int64(8*time.Hour) + int64(8*time.Hour)
	b = appendInt(append(b, `,"r":"0.00010000","T":`...), binanceTime(next, v))
	return append(b, '}')
}

func (d *binance) liquidation(b []byte, s *symbol, v uint8, now time.Time) []byte {
	t := binanceTime(now.UnixNano(), v)
	q := s.lastQty + 1
	b = appendInt(append(b, `{"e":"forceOrder","E":`...), t)
	b = append(append(append(b, `,"o":{"s":"`...), s.native...), '"')
	if d.market == market.MarketInverse {
		b = append(append(append(append(b, `,"ps":"`...), s.base...), s.quote...), '"')
	}
	b = append(b, `,"S":"SELL","o":"LIMIT","f":"IOC"`...)
	num := func(key string, qty bool, n int64) {
		b = quoted(b, key, func(b []byte) []byte {
			if qty {
				return s.appendQty(b, n)
			}
			return s.appendTicks(b, n)
		})
	}
	num(`,"q":`, true, q)
	num(`,"p":`, false, s.price(s.bb))
	num(`,"ap":`, false, s.price(s.bb))
	b = append(b, `,"X":"FILLED"`...)
	num(`,"l":`, true, q)
	num(`,"z":`, true, q)
	return append(appendInt(append(b, `,"T":`...), t), `}}`...)
}
