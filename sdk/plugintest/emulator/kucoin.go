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

// KuCoin (www.kucoin.com/docs-new), as of November 2026: the classic socket, for
// which a request grants a token, and the pro one, which is what a connection
// without a token gets. Books aren't cut to the venue's 500 levels, so that they
// can be compared with the true ones.
var kucoinVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse},
	new:     func(e *Emulator) dialect { return &kucoin{e: e, market: e.opt.Market, tokens: map[string]bool{}} },
	symbols: func(o Options, n market.Name, price float64) naming {
		d := max(tickDecimals(price), 1)
		if o.Market == market.MarketSpot {
			return naming{n.Base + "-" + n.Quote, d, 8, d, 8}
		}
		base := n.Base
		if base == "BTC" {
			base = "XBT"
		}
		native := base + n.Quote + "M"
		if code := market.VenueCode(n.End); code != "" {
			native = base + "M" + code
		}
		return naming{native, d, 0, d, 0}
	},
	defaults: func(m market.Market) []string {
		switch m {
		case market.MarketLinear:
			return []string{"BTC-USDT-PERP", "ETH-USDC-PERP"}
		case market.MarketInverse:
			return []string{"BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"}
		}
		return []string{"BTC-USDT", "ETH-USDT"}
	},
	limits: limits{messages: 100, streams: kucoinTopics, connects: 30, connectsPer: time.Minute, weight: 4000},
	single: true,
}

func init() { venues["kucoin"] = kucoinVenue }

// What a classic connection and a request of it may name.
const (
	kucoinTopics = 300
	kucoinBatch  = 100
)

type kucoin struct {
	e      *Emulator
	market market.Market
	tokens map[string]bool // that were granted
}

// heartbeat: the venue sends no protocol pings.
func (d *kucoin) heartbeat(timeout time.Duration) (time.Duration, time.Duration) {
	return -1, timeout
}

func (d *kucoin) accepts(path string) bool { return path == "" || path == "/" || path == "/endpoint" }

// opens: a connection begins with a token, which no recording holds.
func (d *kucoin) opens(path string) bool { return path == "/api/v1/bullet-public" }

// open welcomes a connection: the classic socket's if it shows a token, which
// must be one that was granted, else the pro one's, whose frames are binary.
func (d *kucoin) open(c *Conn, r *http.Request) {
	q := r.URL.Query()
	token := q.Get("token")
	id := q.Get("connectId")
	if id == "" {
		id = fmt.Sprintf("%010x", c.id)
	}
	switch c.binary = token == ""; {
	case c.binary:
		d.answer(c, obj{"sessionId": id, "message": "welcome", "pingInterval": 18000})
	case !d.tokens[token] && d.e.play == nil:
		d.answer(c, obj{"id": id, "type": "error", "code": 401, "data": "token is invalid"})
		c.close(1008, "token is invalid")
	default:
		d.answer(c, obj{"id": id, "type": "welcome"})
	}
}

func (d *kucoin) answer(c *Conn, o obj) {
	b, _ := json.Marshal(o) // texts and numbers always marshal
	c.frame(time.Now().UnixNano(), About{}, FlagControl, b)
}

func (d *kucoin) message(c *Conn, text []byte) {
	var m struct {
		ID      string `json:"id"`
		Type    string `json:"type"`
		Topic   string `json:"topic"`
		Action  string `json:"action"`
		Channel string `json:"channel"`
		Product string `json:"tradeType"`
		Symbol  string `json:"symbol"`
		Depth   string `json:"depth"`
	}
	err := json.Unmarshal(text, &m)
	if err == nil && m.Type == "ping" {
		d.answer(c, obj{"id": m.ID, "type": "pong"})
		return
	}
	op := m.Type + m.Action
	refuse := func(code int, why string) {
		if c.binary {
			d.answer(c, obj{"id": m.ID, "result": false, "message": why})
		} else {
			d.answer(c, obj{"id": m.ID, "type": "error", "code": code, "data": why})
		}
	}
	if err != nil || op != "subscribe" && op != "unsubscribe" {
		refuse(400, "invalid request data")
		return
	}
	if op == "subscribe" && d.e.take(FaultReject) != nil {
		refuse(404, "refused by the emulator")
		return
	}
	var names []string
	if c.binary {
		if why := d.proRefuses(m.Channel, m.Product, m.Depth); why != "" {
			refuse(400, why)
			return
		}
		names = []string{m.Channel + ":" + m.Symbol}
	} else {
		topic, list, _ := strings.Cut(m.Topic, ":")
		symbols := strings.Split(list, ",")
		switch {
		case d.kind(topic) == ChannelNone:
			refuse(404, "topic does not exist")
			return
		case len(symbols) > kucoinBatch:
			refuse(509, "exceed max subscription count limitation of 100 per time")
			return
		case op == "subscribe" && len(c.sub)+len(symbols) > kucoinTopics:
			refuse(509, "exceed max subscription count limitation of 300 per session")
			return
		}
		for _, s := range symbols {
			names = append(names, topic+":"+s)
		}
	}
	if c.binary {
		d.answer(c, obj{"id": m.ID, "result": true})
	} else {
		d.answer(c, obj{"id": m.ID, "type": "ack"})
	}
	now := time.Now()
	for _, name := range names {
		if op == "subscribe" {
			d.begin(c, name, now)
			continue
		}
		if i := slices.IndexFunc(c.sub, func(st *stream) bool { return st.name == name }); i >= 0 {
			d.e.unsubscribe(c, c.sub[i])
		}
	}
}

// proRefuses says why there is no such channel on the pro socket.
func (d *kucoin) proRefuses(channel, product, depth string) string {
	want := "FUTURES"
	if d.market == market.MarketSpot {
		want = "SPOT"
	}
	switch {
	case channel == "obu" && depth == "increment@10ms" && product == want:
		return ""
	case channel == "obu" && product != want:
		return "topic Obu type is not allowed in current environment"
	case (channel == "mark-price" || channel == "funding-fee") && want == "FUTURES":
		return ""
	}
	return "invalid request data"
}

// kind is what a topic or a channel carries; ChannelNone if there is none such.
func (d *kucoin) kind(name string) Channel {
	spot := d.market == market.MarketSpot
	switch name {
	case "obu":
		return ChannelBook
	case "mark-price", "funding-fee":
		return ChannelMarkPrice
	case "/market/match", "/contractMarket/execution":
		if spot == (name == "/market/match") {
			return ChannelTrades
		}
	case "/spotMarket/level1", "/contractMarket/tickerV2":
		if spot == (name == "/spotMarket/level1") {
			return ChannelBBO
		}
	case "/market/snapshot", "/contractMarket/snapshot":
		if spot == (name == "/market/snapshot") {
			return ChannelTicker
		}
	case "/market/candles", "/contractMarket/limitCandle":
		if spot == (name == "/market/candles") {
			return ChannelCandles
		}
	case "/indicator/markPrice", "/indicator/index":
		if spot {
			return ChannelMarkPrice
		}
	}
	return ChannelNone
}

var kucoinIntervals = map[string]time.Duration{"1min": time.Minute, "3min": 3 * time.Minute, "5min": 5 * time.Minute, "15min": 15 * time.Minute,
	"30min": 30 * time.Minute, "1hour": time.Hour, "2hour": 2 * time.Hour, "4hour": 4 * time.Hour, "6hour": 6 * time.Hour, "8hour": 8 * time.Hour,
	"12hour": 12 * time.Hour, "1day": 24 * time.Hour, "1week": 168 * time.Hour, "1month": 720 * time.Hour}

// begin subscribes to a topic of a symbol and sends what it begins with. Of a
// symbol that there isn't the venue sends nothing.
func (d *kucoin) begin(c *Conn, name string, now time.Time) {
	topic, native, _ := strings.Cut(name, ":")
	long, kind := "", d.kind(topic)
	if kind == ChannelCandles {
		native, long, _ = strings.Cut(native, "_")
	}
	s := d.e.mkt.byName[native]
	if s == nil || kind == ChannelCandles && kucoinIntervals[long] == 0 {
		return
	}
	st := d.e.subscribe(c, name, func(st *stream) {
		st.kind, st.sym, st.arg = kind, s, topic
		if kind == ChannelCandles {
			cd := &candle{name: long, every: int64(kucoinIntervals[long]), decimals: s.tick + s.step}
			cd.roll(now.UnixNano(), s.last)
			st.state, s.candles = cd, append(s.candles, cd)
		}
	})
	if st == nil || kind != ChannelBook {
		return
	}
	about := st.about()
	about.Seq = s.seq
	c.frame(now.UnixNano(), about, 0, d.obu(nil, s, s.seq, s.seq, now.UnixNano(), nil))
}
