package emulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Hyperliquid (hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api), as of
// November 2026. Trade ids count, though the venue's are hashes, so that they can
// be told in a ledger. Books are sent with each change, not at intervals, so that
// they can be compared with the true ones at any time.
var hyperliquidVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear},
	new:     func(e *Emulator) dialect { return &hyperliquid{e: e, market: e.opt.Market} },
	symbols: func(o Options, n market.Name, price float64) naming {
		d := max(tickDecimals(price), 1)
		if o.Market == market.MarketLinear {
			return naming{strings.Replace(n.Base, ".", ":", 1), d, 4, d, 4}
		}
		native := hyperliquidPairs[n.String()]
		if native == "" {
			native = n.Base + "/" + n.Quote
		}
		return naming{native, d, 4, d, 4}
	},
	defaults: func(m market.Market) []string {
		if m == market.MarketLinear {
			return []string{"BTC-USDC-PERP", "ETH-USDC-PERP"}
		}
		return []string{"PURR-USDC", "HYPE-USDC"}
	},
	limits: limits{messages: 2000, streams: 1000, connects: 30, connectsPer: time.Minute, weight: 1200},
	single: true,
}

// hyperliquidPairs are spot pairs that are named by a number.
var hyperliquidPairs = map[string]string{"HYPE-USDC": "@107", "UBTC-USDC": "@142", "UETH-USDC": "@151"}

func init() { venues["hyperliquid"] = hyperliquidVenue }

type hyperliquid struct {
	e          *Emulator
	market     market.Market
	bids, asks []level // of the book that is being written
}

// heartbeat: the venue sends no protocol pings.
func (d *hyperliquid) heartbeat(timeout time.Duration) (time.Duration, time.Duration) {
	return -1, timeout
}

func (d *hyperliquid) accepts(path string) bool { return path == "/ws" }

func (d *hyperliquid) open(*Conn, *http.Request) {}

var hyperliquidIntervals = map[string]time.Duration{"1m": time.Minute, "3m": 3 * time.Minute, "5m": 5 * time.Minute, "15m": 15 * time.Minute,
	"30m": 30 * time.Minute, "1h": time.Hour, "2h": 2 * time.Hour, "4h": 4 * time.Hour, "8h": 8 * time.Hour, "12h": 12 * time.Hour,
	"1d": 24 * time.Hour, "3d": 72 * time.Hour, "1w": 168 * time.Hour, "1M": 720 * time.Hour}

// hyperliquidSub is a subscription as it is asked for, and with its defaults as
// it is repeated.
type hyperliquidSub struct {
	Type     string `json:"type"`
	Interval string `json:"interval,omitempty"`
	Coin     string `json:"coin"`
	SigFigs  *int   `json:"nSigFigs"`
	Mantissa *int   `json:"mantissa"`
	Fast     bool   `json:"fast"`
}

// said is the subscription as the venue writes it.
func (s *hyperliquidSub) said() json.RawMessage {
	var v any = s
	if s.Type != "l2Book" {
		v = struct {
			Type     string `json:"type"`
			Interval string `json:"interval,omitempty"`
			Coin     string `json:"coin"`
		}{s.Type, s.Interval, s.Coin}
	}
	b, _ := json.Marshal(v) // texts and numbers always marshal
	return b
}

func (d *hyperliquid) message(c *Conn, text []byte) {
	now := time.Now()
	send := func(channel string, data any) {
		o := obj{"channel": channel}
		if data != nil {
			o["data"] = data
		}
		b, _ := json.Marshal(o)
		c.frame(now.UnixNano(), About{}, FlagControl, b)
	}
	var m struct {
		Method       string          `json:"method"`
		Subscription *hyperliquidSub `json:"subscription"`
	}
	err := json.Unmarshal(text, &m)
	if err == nil && m.Method == "ping" {
		send("pong", nil)
		return
	}
	sub := m.Subscription
	kind, known := Channel(0), false
	if sub != nil {
		kind, known = map[string]Channel{"trades": ChannelTrades, "l2Book": ChannelBook, "bbo": ChannelBBO,
			"candle": ChannelCandles, "activeAssetCtx": ChannelMarkPrice}[sub.Type]
	}
	if err != nil || !known || m.Method != "subscribe" && m.Method != "unsubscribe" || kind == ChannelCandles && hyperliquidIntervals[sub.Interval] == 0 {
		send("error", "Error parsing JSON into valid websocket request: "+string(text))
		return
	}
	if m.Method == "subscribe" && d.e.take(FaultReject) != nil {
		send("error", "Invalid subscription "+string(sub.said()))
		return
	}
	answer := obj{"method": m.Method, "subscription": sub.said()}
	if d.e.play != nil {
		send("subscriptionResponse", answer)
		return
	}
	s := d.e.mkt.byName[sub.Coin]
	if s == nil || sub.SigFigs != nil && (*sub.SigFigs < 2 || *sub.SigFigs > 5) || sub.Mantissa != nil && (sub.SigFigs == nil || *sub.SigFigs != 5) {
		c.drop("an unknown coin") // without a word, with all that the connection carries
		return
	}
	name := string(sub.said())
	has := slices.IndexFunc(c.sub, func(st *stream) bool { return st.name == name })
	switch {
	case m.Method == "unsubscribe" && has < 0:
		send("error", "Already unsubscribed: "+name)
	case m.Method == "unsubscribe":
		d.e.unsubscribe(c, c.sub[has])
		send("subscriptionResponse", answer)
	case has >= 0:
		send("error", "Already subscribed: "+name)
	case d.e.opt.Limits && d.subscribed() >= hyperliquidVenue.limits.streams:
		send("error", "Cannot subscribe to more than 1000 topics")
	default:
		send("subscriptionResponse", answer)
		d.begin(c, name, kind, s, sub, now)
	}
}

// subscribed counts the subscriptions of all connections.
func (d *hyperliquid) subscribed() (n int) {
	for _, st := range d.e.streams {
		n += st.n
	}
	return n
}

// begin subscribes and sends what a subscription begins with: the state, or the
// latest trades, which the ledger doesn't count as sent anew.
func (d *hyperliquid) begin(c *Conn, name string, kind Channel, s *symbol, sub *hyperliquidSub, now time.Time) {
	st := d.e.subscribe(c, name, func(st *stream) {
		st.kind, st.sym, st.arg, st.depth = kind, s, sub.Interval, 20
		if sub.Fast {
			st.depth = 5
		}
		if kind == ChannelCandles {
			cd := &candle{name: sub.Interval, every: int64(hyperliquidIntervals[sub.Interval]), decimals: s.tick + s.step}
			cd.roll(now.UnixNano(), s.last)
			st.state, s.candles = cd, append(s.candles, cd)
		}
	})
	if st == nil {
		return
	}
	t, about := now.UnixNano(), st.about()
	st.sent = t
	if kind == ChannelTrades {
		c.frame(t, About{}, 0, append(append([]byte(`{"channel":"trades","data":`), d.latest(s, 30)...), '}'))
		return
	}
	if kind == ChannelBook {
		about.Seq = s.seq
	}
	c.frame(t, about, 0, d.state(nil, st, t))
}

// http answers POST /info.
func (d *hyperliquid) http(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/info" {
		http.NotFound(w, r)
		return
	}
	var q struct {
		Type string `json:"type"`
		Coin string `json:"coin"`
	}
	if r.Method != http.MethodPost || json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&q) != nil {
		d.e.reply(w, r, http.StatusUnprocessableEntity, []byte("Failed to deserialize the JSON body into the target type"))
		return
	}
	weight := 20
	if q.Type == "l2Book" {
		weight = 2
	}
	if _, ok := d.e.weigh(weight); !ok {
		d.e.reply(w, r, http.StatusTooManyRequests, []byte("null"))
		return
	}
	d.e.mu.Lock()
	body := d.info(q.Type, d.e.mkt.byName[q.Coin])
	d.e.mu.Unlock()
	if body == nil {
		d.e.reply(w, r, http.StatusUnprocessableEntity, []byte("Failed to deserialize the JSON body into the target type"))
		return
	}
	d.e.reply(w, r, http.StatusOK, body)
}
