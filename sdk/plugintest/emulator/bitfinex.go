package emulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Bitfinex, API v2 (docs.bitfinex.com), as of November 2026. Channel ids are the
// same on all connections. A book's update has one level; books aren't cut to the
// length that was subscribed, so that they can be compared with the true ones.
var bitfinexVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear},
	new: func(e *Emulator) dialect {
		e.numberMark, e.sums, e.mkt.apart = []byte(bitfinexNumber), true, true
		return &bitfinex{e: e, market: e.opt.Market, flags: map[*Conn]int{}, ids: map[string]int64{}}
	},
	symbols: func(o Options, n market.Name, price float64) naming {
		d := tickDecimals(price)
		code := func(c string) string {
			if c == "USDT" {
				c = "UST"
			}
			if o.Market == market.MarketLinear {
				c += "F0"
			}
			return c
		}
		native := code(n.Base) + ":" + code(n.Quote)
		if len(native) == 7 {
			native = strings.Replace(native, ":", "", 1)
		}
		return naming{"t" + native, d, 8, d, 8}
	},
	defaults: func(m market.Market) []string {
		if m == market.MarketLinear {
			return []string{"BTC-USDT-PERP", "ETH-USDT-PERP"}
		}
		return []string{"BTC-USD", "ETH-USD"}
	},
	limits: limits{messages: 100, streams: 25, connects: 20, connectsPer: time.Minute, weight: 90},
}

func init() { venues["bitfinex"] = bitfinexVenue }

// bitfinexNumber is what a frame's number on its connection stands behind: nothing
// else that is sent has a blank.
const bitfinexNumber = ", "

// Flags of conf, and the variants of frames that two of them make.
const (
	bitfinexTimes     = 32768
	bitfinexSequence  = 65536
	bitfinexChecksums = 131072

	variantNumbers = 1
	variantTimes   = 2
)

type bitfinex struct {
	e       *Emulator
	market  market.Market
	flags   map[*Conn]int
	ids     map[string]int64 // of channels, by the stream's name
	repeats []bitfinexRepeat
	beat    time.Time
	last    int64 // id of a liquidation
}

// bitfinexRepeat is a trade that is told again a second after it was.
type bitfinexRepeat struct {
	st  *stream
	t   pastTrade
	due int64
}

// heartbeat: the venue sends no protocol pings.
func (d *bitfinex) heartbeat(timeout time.Duration) (time.Duration, time.Duration) {
	return -1, timeout
}

func (d *bitfinex) accepts(path string) bool { return path == "/ws/2" || path == "/" || path == "" }

func (d *bitfinex) open(c *Conn, _ *http.Request) {
	for old := range d.flags {
		if old.gone {
			delete(d.flags, old)
		}
	}
	c.frame(time.Now().UnixNano(), About{}, FlagControl, []byte(`{"event":"info","version":2,"serverId":"00000000-0000-0000-0000-000000000000","platform":{"status":1}}`))
}

type bitfinexRequest struct {
	Event   string          `json:"event"`
	Flags   int             `json:"flags"`
	Channel string          `json:"channel"`
	Symbol  string          `json:"symbol"`
	Key     string          `json:"key"`
	Prec    string          `json:"prec"`
	Freq    string          `json:"freq"`
	Len     json.RawMessage `json:"len"`
	SubID   json.RawMessage `json:"subId"`
	ID      int64           `json:"chanId"`
	Cid     int64           `json:"cid"`
}

func (d *bitfinex) message(c *Conn, text []byte) {
	now := time.Now()
	answer := func(o obj) {
		b, _ := json.Marshal(o) // texts and numbers always marshal
		c.frame(now.UnixNano(), About{}, FlagControl, b)
	}
	var m bitfinexRequest
	if err := json.Unmarshal(text, &m); err != nil {
		answer(obj{"event": "error", "msg": "json:invalid", "code": 10000})
		return
	}
	with := func(o obj) obj {
		for key, v := range map[string]string{"channel": m.Channel, "symbol": m.Symbol, "key": m.Key, "prec": m.Prec, "freq": m.Freq, "len": strings.Trim(string(m.Len), `"`)} {
			if v != "" {
				o[key] = v
			}
		}
		if len(m.SubID) > 0 {
			o["subId"] = m.SubID
		}
		return o
	}
	refuse := func(code int, msg string) { answer(with(obj{"event": "error", "msg": msg, "code": code})) }
	switch m.Event {
	case "ping":
		answer(obj{"event": "pong", "ts": now.UnixMilli(), "cid": m.Cid})
	case "conf":
		d.flags[c], c.how = m.Flags, 0
		if m.Flags&bitfinexSequence != 0 {
			c.how |= variantNumbers
			c.number = max(c.number, 1)
		}
		if m.Flags&bitfinexTimes != 0 {
			c.how |= variantTimes
		}
		answer(obj{"event": "conf", "status": "OK", "flags": m.Flags})
	case "unsubscribe":
		for _, st := range c.sub {
			if d.ids[st.name] == m.ID {
				d.e.unsubscribe(c, st)
				answer(obj{"event": "unsubscribed", "status": "OK", "chanId": m.ID})
				return
			}
		}
		answer(obj{"event": "error", "msg": "unsubscribe: invalid", "code": 10400, "chanId": m.ID})
	case "subscribe":
		d.subscribe(c, &m, now, refuse, func(id int64) {
			o := with(obj{"event": "subscribed", "chanId": id})
			if m.Symbol != "" {
				o["pair"] = strings.TrimPrefix(m.Symbol, "t")
			}
			answer(o)
		})
	default:
		answer(obj{"event": "error", "msg": "event: unknown", "code": 10000})
	}
}

func (d *bitfinex) subscribe(c *Conn, m *bitfinexRequest, now time.Time, refuse func(int, string), accept func(int64)) {
	if m.Channel == "book" && m.Prec == "" {
		m.Prec, m.Freq = "P0", "F0"
	}
	name := m.Channel + "|" + m.Symbol + m.Key + "|" + m.Prec
	prepare, why := d.stream(m)
	switch {
	case d.e.take(FaultReject) != nil:
		refuse(10300, "Refused by the emulator")
		return
	case why != "" && d.e.play == nil:
		refuse(10300, why)
		return
	case slices.ContainsFunc(c.sub, func(st *stream) bool { return st.name == name }):
		refuse(10301, "subscribe: dup")
		return
	case d.e.opt.Limits && len(c.sub) >= bitfinexVenue.limits.streams:
		refuse(10305, "subscribe: limit")
		return
	}
	id := d.ids[name]
	if id == 0 {
		id = 300_000 + int64(len(d.ids))
		d.ids[name] = id
	}
	accept(id)
	if d.e.play != nil {
		return
	}
	st := d.e.subscribe(c, name, prepare)
	if st == nil {
		return
	}
	about := st.about()
	if b := d.first(st, c.how, now); b == nil {
	} else if f := d.e.faultFor(st); f != nil {
		d.e.mangle(f, about, c, now.UnixNano(), b)
	} else {
		c.frame(now.UnixNano(), about, 0, b)
	}
}

// stream says what a channel shows, or why there is none.
func (d *bitfinex) stream(m *bitfinexRequest) (prepare func(*stream), why string) {
	fill := func(kind Channel, symbol string) (func(*stream), string) {
		s := d.e.mkt.byName[symbol]
		if s == nil {
			return nil, "symbol: invalid"
		}
		return func(st *stream) { st.kind, st.sym, st.arg = kind, s, m.Prec }, ""
	}
	switch m.Channel {
	case "trades":
		return fill(ChannelTrades, m.Symbol)
	case "ticker":
		return fill(ChannelTicker, m.Symbol)
	case "book":
		if !slices.Contains([]string{"P0", "P1", "P2", "P3", "P4", "R0"}, m.Prec) || !slices.Contains([]string{"", "1", "25", "100", "250"}, strings.Trim(string(m.Len), `"`)) {
			return nil, "book: invalid"
		}
		return fill(ChannelBook, m.Symbol)
	case "candles":
		parts := strings.SplitN(m.Key, ":", 3)
		if len(parts) != 3 || parts[0] != "trade" || bitfinexIntervals[parts[1]] == 0 {
			return nil, "key: invalid"
		}
		base, why := fill(ChannelCandles, parts[2])
		if why != "" {
			return nil, why
		}
		return func(st *stream) {
			base(st)
			cd := &candle{name: parts[1], every: int64(bitfinexIntervals[parts[1]]), decimals: st.sym.tick + st.sym.step}
			cd.roll(time.Now().UnixNano(), st.sym.last)
			st.state, st.sym.candles = cd, append(st.sym.candles, cd)
		}, ""
	case "status":
		if m.Key == "liq:global" {
			return func(st *stream) { st.kind = ChannelLiquidations }, ""
		}
		symbol, ok := strings.CutPrefix(m.Key, "deriv:")
		if !ok || d.market != market.MarketLinear {
			return nil, "key: invalid"
		}
		return fill(ChannelMarkPrice, symbol)
	}
	return nil, "channel: unknown"
}

// http answers the public requests that a collector uses.
func (d *bitfinex) http(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	if _, ok := d.e.weigh(1); !ok {
		d.e.reply(w, r, http.StatusTooManyRequests, []byte(`{"error":"ERR_RATE_LIMIT"}`))
		return
	}
	d.e.mu.Lock()
	b := d.answer(strings.Split(path, "/"), r.URL.Query().Get)
	d.e.mu.Unlock()
	status := http.StatusOK
	if b == nil {
		status, b = http.StatusInternalServerError, []byte(`["error",10020,"symbol: invalid"]`)
	}
	d.e.reply(w, r, status, b)
}

func (d *bitfinex) answer(path []string, arg func(string) string) []byte {
	if len(path) == 2 && path[0] == "conf" && (path[1] == "pub:info:pair" || path[1] == "pub:info:pair:futures") {
		b := []byte("[[")
		for i, s := range d.e.mkt.syms {
			if strings.HasSuffix(path[1], "futures") != (d.market == market.MarketLinear) {
				break
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, `["`...), s.native[1:]...), `",[null,null,null,"0.00004","2000.0",null,null,null,0.1,0.05,null,null]]`...)
		}
		return append(b, "]]"...)
	}
	if len(path) != 3 || d.e.mkt.byName[path[1]] == nil {
		return nil
	}
	s := d.e.mkt.byName[path[1]]
	switch path[0] {
	case "book":
		return d.levels(nil, s, path[2] == "R0")
	case "trades":
		start, _ := strconv.ParseInt(arg("start"), 10, 64)
		end, err := strconv.ParseInt(arg("end"), 10, 64)
		if err != nil {
			end = time.Now().UnixMilli()
		}
		return d.history(nil, s, recentTrades, start, end)
	}
	return nil
}
