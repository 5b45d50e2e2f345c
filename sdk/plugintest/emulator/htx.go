package emulator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// HTX (huobiapi.github.io/docs), as of November 2026. Every frame is a gzip
// member. Books aren't cut to the levels that are subscribed, so that they can be
// compared with the true ones.
var htxVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse},
	new: func(e *Emulator) dialect {
		e.gzipped = true
		e.mkt.single = e.opt.Market != market.MarketSpot // the streams of contracts count themselves
		return &htx{e: e, market: e.opt.Market, pings: map[*Conn]*htxPing{}}
	},
	symbols: func(o Options, n market.Name, price float64) naming {
		d := max(tickDecimals(price), 1)
		switch {
		case o.Market == market.MarketSpot:
			return naming{strings.ToLower(n.Base + n.Quote), d, 6, d, 6}
		case n.End == "PERP":
			return naming{n.Base + "-" + n.Quote, d, 0, d, 0}
		case o.Market == market.MarketInverse:
			return naming{n.Base + market.VenueDate("060102", n.End), d, 0, d, 0}
		}
		return naming{n.Base + "-" + n.Quote + "-" + market.VenueDate("060102", n.End), d, 0, d, 0}
	},
	defaults: func(m market.Market) []string {
		switch m {
		case market.MarketLinear:
			return []string{"BTC-USDT-PERP", "ETH-USDT-PERP"}
		case market.MarketInverse:
			return []string{"BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"}
		}
		return []string{"BTC-USDT", "ETH-USDT"}
	},
	limits: limits{messages: 50, streams: 10_000, connects: 100, connectsPer: time.Second},
}

func init() { venues["htx"] = htxVenue }

type htx struct {
	e      *Emulator
	market market.Market
	pings  map[*Conn]*htxPing
}

// htxPing is what the venue knows of a connection's heartbeat.
type htxPing struct {
	at         time.Time // of the last ping
	unanswered int
}

// The venue pings so often, and closes a connection that answers none of so many.
const (
	htxPingEvery = 5 * time.Second
	htxPingsLost = 4
)

var gzips = sync.Pool{New: func() any { z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed); return z }}

// gzipped is a frame as a venue sends it whose frames are gzip.
func gzipped(p []byte) []byte {
	var b bytes.Buffer
	z := gzips.Get().(*gzip.Writer)
	z.Reset(&b)
	_, _ = z.Write(p) // into memory
	_ = z.Close()
	gzips.Put(z)
	return b.Bytes()
}

// heartbeat: the venue sends no protocol pings.
func (d *htx) heartbeat(timeout time.Duration) (time.Duration, time.Duration) { return -1, timeout }

func (d *htx) accepts(path string) bool {
	switch d.market {
	case market.MarketSpot:
		return path == "/ws" || path == "/feed"
	case market.MarketLinear:
		return path == "/linear-swap-ws" || path == "/linear-swap-notification" || path == "/ws_index"
	}
	return path == "/swap-ws" || path == "/ws" || path == "/swap-notification" || path == "/ws_index"
}

func (d *htx) open(c *Conn, _ *http.Request) {
	for old := range d.pings {
		if old.gone {
			delete(d.pings, old)
		}
	}
	d.pings[c] = &htxPing{at: time.Now()}
}

// htxRequest is what a client sends, in either protocol.
type htxRequest struct {
	Sub, Unsub, Req, ID string
	Data                string `json:"data_type"`
	Op, Topic, Cid      string
	Pong, Ping          json.RawMessage
}

func (d *htx) message(c *Conn, text []byte) {
	now := time.Now()
	var m htxRequest
	send := func(o obj) {
		o["ts"] = now.UnixMilli()
		b, _ := json.Marshal(o) // texts and numbers always marshal
		c.frame(now.UnixNano(), About{}, FlagControl, b)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		send(obj{"status": "error", "id": "", "err-code": "bad-request", "err-msg": "not json, is not json string"})
		return
	}
	topic, verb := m.Sub+m.Unsub+m.Req, "sub"
	if m.Unsub != "" || m.Op == "unsub" {
		verb = "unsub"
	}
	notice := strings.HasSuffix(c.path, "-notification")
	if notice {
		topic = m.Topic
	}
	answer := func(why string) {
		switch {
		case notice && why == "":
			send(obj{"op": verb, "cid": m.Cid, "topic": topic, "err-code": 0})
		case notice:
			send(obj{"op": verb, "cid": m.Cid, "topic": topic, "err-code": 2011, "err-msg": why})
		case why != "":
			send(obj{"status": "error", "id": m.ID, "err-code": "bad-request", "err-msg": why})
		default:
			send(obj{"id": m.ID, "status": "ok", verb + "bed": topic})
		}
	}
	switch {
	case len(m.Pong) > 0 || m.Op == "pong":
		if p := d.pings[c]; p != nil {
			p.unanswered = 0
		}
		return
	case notice && m.Op != "sub" && m.Op != "unsub":
		send(obj{"op": "error", "err-code": 2002, "err-msg": "illegal op"})
		return
	case m.Req != "":
		d.request(c, &m, now, answer)
		return
	case verb == "sub" && d.e.take(FaultReject) != nil:
		answer("invalid topic " + topic)
		return
	case d.e.play != nil:
		answer("")
		return
	}
	prepare := d.topic(c, topic, m.Data)
	if prepare == nil {
		answer("invalid topic " + topic)
		return
	}
	if verb == "unsub" {
		if st := d.e.streams[topic]; st != nil {
			d.e.unsubscribe(c, st)
		}
		answer("")
		return
	}
	st := d.e.subscribe(c, topic, prepare)
	if st == nil {
		return
	}
	// Of trades the last one comes first: of contracts ahead of the answer.
	if d.market != market.MarketSpot && st.kind == ChannelTrades {
		d.last(c, st, now)
	}
	answer("")
	switch {
	case st.kind == ChannelTrades && d.market == market.MarketSpot:
		d.last(c, st, now)
	case st.kind == ChannelBook && d.market != market.MarketSpot:
		about := st.about()
		about.Seq = st.sym.seq
		c.frame(now.UnixNano(), about, 0, d.whole(st, now))
	case st.kind != ChannelTrades && st.kind != ChannelBook && st.kind != ChannelBBO:
		for _, b := range d.timed(st, now, nil) {
			c.frame(now.UnixNano(), st.about(), 0, b)
		}
	}
}

// last sends the last trade of before.
func (d *htx) last(c *Conn, st *stream, now time.Time) {
	s := st.sym
	t := s.recent[s.trade%recentTrades]
	if t.id != s.trade || t.id == 0 {
		return
	}
	about := st.about()
	about.Seq = t.id
	c.frame(now.UnixNano(), about, 0, d.tradeFrame(nil, st, t))
}

// request answers what asks for a whole book, on the connection that has its changes.
func (d *htx) request(c *Conn, m *htxRequest, now time.Time, answer func(string)) {
	parts := strings.Split(m.Req, ".")
	if len(parts) != 4 || parts[2] != "mbp" || c.path != "/feed" || d.e.mkt.byName[parts[1]] == nil || !strings.Contains(" 5 20 150 ", " "+parts[3]+" ") {
		answer("invalid topic " + m.Req)
		return
	}
	s := d.e.mkt.byName[parts[1]]
	flags := EntryFlags(0)
	about := About{Channel: ChannelBook, Symbol: s.idx}
	if d.e.take(FaultStaleSnapshot) != nil {
		s, flags = s.first(d.e.opt.Seed, d.e.opt.Depth, d.e.opt.FirstID), FlagFault
	}
	about.Seq = s.seq
	id, _ := json.Marshal(m.ID)
	b := append(append([]byte(`{"id":`), id...), `,"rep":"`+m.Req+`","status":"ok","data":{"seqNum":`...)
	c.frame(now.UnixNano(), about, flags, append(d.sides(appendInt(b, s.seq), s), `}}`...))
}

var htxPeriods = map[string]time.Duration{"1min": time.Minute, "5min": 5 * time.Minute, "15min": 15 * time.Minute, "30min": 30 * time.Minute,
	"60min": time.Hour, "4hour": 4 * time.Hour, "1day": 24 * time.Hour, "1week": 168 * time.Hour}

// topic prepares the stream of a topic; nil if the connection's endpoint has none such.
func (d *htx) topic(c *Conn, topic, data string) func(*stream) {
	parts := strings.SplitN(topic, ".", 4)
	if len(parts) < 3 {
		return nil
	}
	arg := ""
	if len(parts) == 4 {
		arg = parts[3]
	}
	s, what := d.e.mkt.byName[parts[1]], parts[2]
	path := map[market.Market]string{market.MarketSpot: "/ws", market.MarketLinear: "/linear-swap-ws", market.MarketInverse: "/swap-ws"}[d.market]
	if d.market == market.MarketInverse && s != nil && !strings.Contains(s.native, "-") {
		path = "/ws"
	}
	notice := map[market.Market]string{market.MarketLinear: "/linear-swap-notification", market.MarketInverse: "/swap-notification"}[d.market]
	spot, kind, ok := d.market == market.MarketSpot, ChannelTicker, true
	switch what {
	case "trade":
		kind, ok = ChannelTrades, arg == "detail"
	case "mbp":
		path, kind, ok = "/feed", ChannelBook, spot && strings.Contains(" 5 20 150 400 ", " "+arg+" ")
	case "depth":
		kind, ok = ChannelBook, !spot && data == "incremental" && (arg == "size_20.high_freq" || arg == "size_150.high_freq")
	case "bbo":
		kind = ChannelBBO
	case "ticker":
		ok = spot
	case "detail":
	case "kline":
		kind, ok = ChannelCandles, htxPeriods[arg] > 0
	case "mark_price", "index":
		path, kind, ok = "/ws_index", ChannelMarkPrice, !spot && htxPeriods[arg] > 0
	case "funding_rate":
		path, ok = notice, !spot && parts[0] == "public"
	case "liquidation_orders":
		path, kind, ok = notice, ChannelLiquidations, !spot && topic == "public.*.liquidation_orders"
	default:
		ok = false
	}
	if !ok || c.path != path || s == nil && kind != ChannelLiquidations {
		return nil
	}
	return func(st *stream) {
		st.kind, st.sym, st.arg = kind, s, what
		if kind == ChannelCandles {
			cd := &candle{name: arg, every: int64(htxPeriods[arg]), decimals: s.tick + s.step}
			cd.roll(time.Now().UnixNano(), s.last)
			st.state, s.candles = cd, append(s.candles, cd)
		}
	}
}

// ping asks connections for signs of life, and closes those that give none.
func (d *htx) ping(now time.Time) {
	every := htxPingEvery
	if p := d.e.opt.PingEvery; p > 0 {
		every = p
	}
	for c, p := range d.pings {
		if c.gone || now.Sub(p.at) < every {
			continue
		}
		if p.unanswered >= htxPingsLost {
			c.close(1003, "ping check expired")
			delete(d.pings, c)
			continue
		}
		p.at = now
		p.unanswered++
		text := append(appendInt([]byte(`{"ping":`), now.UnixMilli()), '}')
		if strings.HasSuffix(c.path, "-notification") {
			text = append(appendInt([]byte(`{"op":"ping","ts":"`), now.UnixMilli()), `"}`...)
		}
		c.frame(now.UnixNano(), About{}, FlagControl, text)
		d.e.touch(c)
	}
}
