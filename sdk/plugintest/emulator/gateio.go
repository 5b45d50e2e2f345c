package emulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Gate.io, API v4 (www.gate.com/docs/developers), as of November 2026. Books
// aren't cut to the levels that are subscribed, so that they can be compared with
// the true ones. Perpetuals and pairs have order book V2, which begins with a
// whole book; delivery contracts and options have changes alone.
var gateVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse, market.MarketOption},
	new:     func(e *Emulator) dialect { return &gate{e: e, market: e.opt.Market} },
	symbols: func(o Options, n market.Name, price float64) naming {
		d := max(tickDecimals(price), 1)
		native, step := n.Base+"_"+n.Quote, uint8(1) // contracts can be divided
		switch {
		case o.Market == market.MarketSpot:
			step = 6
		case o.Market == market.MarketOption:
			native += "-" + n.End + "-" + n.Strike + "-" + strings.ToUpper(n.Option.String()[:1])
		case n.End != "PERP":
			native += "_" + n.End
		}
		return naming{native, d, step, d, step}
	},
	defaults: func(m market.Market) []string {
		switch m {
		case market.MarketLinear: // of two endpoints
			return []string{"BTC-USDT-PERP", "ETH-USD1-PERP"}
		case market.MarketInverse:
			return []string{"BTC-USD:BTC-PERP"}
		case market.MarketOption:
			return []string{"BTC-USDT-20301227-100000-C", "ETH-USDT-20301227-5000-P"}
		}
		return []string{"BTC-USDT", "ETH-USDT"}
	},
	limits: limits{messages: 1000, streams: 10_000, connects: 300, connectsPer: time.Second},
}

func init() { venues["gateio"] = gateVenue }

type gate struct {
	e      *Emulator
	market market.Market
}

// gateDecimals is the variant of connections that asked for sizes as they are;
// the others are sent whole numbers.
const gateDecimals = 1

// heartbeat: the venue pings, how often it doesn't say.
func (d *gate) heartbeat(timeout time.Duration) (time.Duration, time.Duration) {
	return 20 * time.Second, max(timeout, time.Minute)
}

func (d *gate) accepts(path string) bool {
	switch d.market {
	case market.MarketSpot:
		return path == "/ws/v4/"
	case market.MarketOption:
		return path == "/v4/ws"
	case market.MarketInverse:
		return path == "/v4/ws/btc" || path == "/v4/ws/delivery/btc"
	}
	return path == "/v4/ws/usdt" || path == "/v4/ws/delivery/usdt" || path == "/v4/ws/usd1"
}

func (d *gate) open(c *Conn, r *http.Request) {
	if r.Header.Get("X-Gate-Size-Decimal") == "1" {
		c.how = gateDecimals
	}
}

func (d *gate) family() string {
	switch d.market {
	case market.MarketSpot:
		return "spot"
	case market.MarketOption:
		return "options"
	}
	return "futures"
}

// path is that of the endpoint that has a symbol.
func (d *gate) path(s *symbol) string {
	switch {
	case d.market == market.MarketSpot:
		return "/ws/v4/"
	case d.market == market.MarketOption:
		return "/v4/ws"
	}
	settle := strings.ToLower(s.quote)
	if d.market == market.MarketInverse {
		settle = "btc"
	}
	if d.delivered(s) {
		settle = "delivery/" + settle
	}
	return "/v4/ws/" + settle
}

func (d *gate) delivered(s *symbol) bool { return strings.Count(s.native, "_") == 2 }

func (d *gate) message(c *Conn, text []byte) {
	now := time.Now()
	var m struct {
		ID      json.RawMessage `json:"id"`
		Channel string          `json:"channel"`
		Event   string          `json:"event"`
		Payload []string        `json:"payload"`
	}
	err := json.Unmarshal(text, &m)
	answer := func(o obj) {
		o["time"], o["time_ms"], o["conn_id"], o["channel"], o["event"] = now.Unix(), now.UnixMilli(), fmt.Sprintf("%016x", c.id), m.Channel, m.Event
		if m.ID != nil {
			o["id"] = m.ID
		}
		b, _ := json.Marshal(o) // texts and numbers always marshal
		c.frame(now.UnixNano(), About{}, FlagControl, b)
	}
	refuse := func(why string) {
		answer(obj{"payload": m.Payload, "error": obj{"code": 2, "message": why}, "result": obj{"status": "fail"}})
	}
	switch {
	case err != nil:
		refuse("invalid argument struct")
		return
	case m.Channel == d.family()+".ping":
		m.Channel = d.family() + ".pong"
		answer(obj{"error": nil, "result": nil})
		return
	case m.Event != "subscribe" && m.Event != "unsubscribe":
		refuse("unknown event " + m.Event)
		return
	case m.Event == "subscribe" && d.e.take(FaultReject) != nil:
		refuse("refused by the emulator")
		return
	}
	// A request is refused as a whole.
	var streams []gateStream
	if d.e.play == nil {
		var why string
		if streams, why = d.streams(c, m.Channel, m.Payload); why != "" {
			refuse(why)
			return
		}
	}
	if m.Event == "subscribe" {
		for _, s := range streams {
			if strings.HasSuffix(m.Channel, ".obu") && slices.ContainsFunc(c.sub, func(st *stream) bool { return st.name == s.name }) {
				refuse("Alert sub " + m.Payload[0])
				return
			}
		}
	}
	answer(obj{"payload": m.Payload, "result": obj{"status": "success"}})
	for _, s := range streams {
		if m.Event == "unsubscribe" {
			if st := d.e.streams[s.name]; st != nil {
				d.e.unsubscribe(c, st)
			}
			continue
		}
		st := d.e.subscribe(c, s.name, s.prepare)
		if st == nil {
			continue
		}
		if b := d.first(st, c.how, now); b != nil {
			about := st.about()
			if st.kind == ChannelBook {
				about.Seq = st.sym.seq
			}
			c.frame(now.UnixNano(), about, 0, b)
		}
	}
}

// gateStream is one symbol's part of a request.
type gateStream struct {
	name    string
	prepare func(*stream)
}

var gateIntervals = map[string]time.Duration{"10s": 10 * time.Second, "1m": time.Minute, "5m": 5 * time.Minute, "15m": 15 * time.Minute,
	"30m": 30 * time.Minute, "1h": time.Hour, "4h": 4 * time.Hour, "8h": 8 * time.Hour, "1d": 24 * time.Hour, "7d": 168 * time.Hour}

// streams are what a request names, or why it is refused.
func (d *gate) streams(c *Conn, channel string, payload []string) (all []gateStream, why string) {
	family, name, _ := strings.Cut(channel, ".")
	perpetual := d.market == market.MarketLinear || d.market == market.MarketInverse
	option := d.market == market.MarketOption
	symbols, arg, kind, ok := payload, "", ChannelTicker, true
	rest := func(at int, want ...string) { // a symbol among fixed arguments
		if ok = len(payload) == len(want); !ok {
			return
		}
		symbols = payload[at : at+1]
		for i, w := range want {
			ok = ok && (i == at || slices.Contains(strings.Split(w, "|"), payload[i]))
		}
	}
	switch name {
	case "trades":
		kind = ChannelTrades
	case "book_ticker":
		kind = ChannelBBO
	case "tickers":
		ok = !option
	case "contract_tickers":
		ok = option
	case "candlesticks", "contract_candlesticks":
		kind = ChannelCandles
		ok = option == (name == "contract_candlesticks") && len(payload) == 2 && gateIntervals[payload[0]] > 0
		if ok {
			arg, symbols = payload[0], payload[1:]
		}
	case "obu":
		kind = ChannelBook
		if ok = len(payload) == 1 && !option; ok {
			var levels string
			symbols = []string{strings.TrimPrefix(payload[0], "ob.")}
			symbols[0], levels, _ = gateCut(symbols[0], ".")
			ok = levels == "50" || levels == "400"
		}
	case "order_book_update":
		kind = ChannelBook
		if d.market == market.MarketSpot {
			rest(0, "", "20ms|100ms")
		} else {
			rest(0, "", "20ms|100ms", "100|50|20")
		}
	case "public_liquidates":
		kind, ok = ChannelLiquidations, perpetual
	case "contract_stats":
		arg, ok = name, perpetual
		if ok {
			rest(0, "", "1m|5m|1h|1d")
		}
	default:
		ok = false
	}
	if !ok || family != d.family() {
		return nil, "Unknown channel " + channel + " or invalid argument"
	}
	for _, native := range symbols {
		s := d.e.mkt.byName[native]
		if s == nil || d.path(s) != c.path || d.delivered(s) && (name == "obu" || name == "public_liquidates" || name == "contract_stats") {
			return nil, "unknown currency pair " + native
		}
		all = append(all, gateStream{channel + "|" + strings.Join(payload, "|") + "|" + native, func(st *stream) {
			st.kind, st.sym, st.arg = kind, s, name
			if name == "obu" {
				st.state = payload[0]
			}
			if kind == ChannelCandles {
				cd := &candle{name: arg, every: int64(gateIntervals[arg]), decimals: s.tick + s.step}
				cd.roll(time.Now().UnixNano(), s.last)
				st.state, s.candles = cd, append(s.candles, cd)
			}
		}})
	}
	return all, ""
}

// gateCut is strings.Cut around the last separator.
func gateCut(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
