package emulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Bybit, API v5 (bybit-exchange.github.io/docs/v5), as of November 2026. Trade
// ids are numbers on all markets, though contracts and options have UUIDs, so
// that they can be told in a ledger. Books aren't cut to the depth that is
// subscribed, so that they can be compared with the true ones.
var bybitVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse, market.MarketOption},
	new:     func(e *Emulator) dialect { return &bybit{e: e, market: e.opt.Market} },
	symbols: func(o Options, n market.Name, price float64) naming {
		d := max(tickDecimals(price), 1)
		day := strings.ToUpper(market.VenueDate("2Jan06", n.End))
		switch o.Market {
		case market.MarketInverse:
			native := n.Base + n.Quote + market.VenueCode(n.End)
			return naming{native, d, 0, d, 0}
		case market.MarketOption:
			native := n.Base + "-" + day + "-" + n.Strike + "-" + strings.ToUpper(n.Option.String()[:1])
			if n.Quote == "USDT" {
				native += "-USDT"
			}
			return naming{native, d, 2, d, 2}
		case market.MarketLinear:
			native := n.Base + n.Quote
			if n.Quote == "USDC" {
				native = n.Base
			}
			if n.End != "PERP" {
				native += "-" + day
			} else if n.Quote == "USDC" {
				native += "PERP"
			}
			return naming{native, d, 3, d, 3}
		}
		return naming{n.Base + n.Quote, d, 6, d, 6}
	},
	defaults: func(m market.Market) []string {
		switch m {
		case market.MarketLinear:
			return []string{"BTC-USDT-PERP", "ETH-USDC-PERP"}
		case market.MarketInverse:
			return []string{"BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"}
		case market.MarketOption:
			return []string{"BTC-USDT-20301227-100000-C", "ETH-USD:USDC-20301227-5000-P"}
		}
		return []string{"BTC-USDT", "ETH-USDT"}
	},
	limits: limits{messages: 1000, streams: 10_000, connects: 500, connectsPer: 5 * time.Minute},
	single: true,
}

func init() { venues["bybit"] = bybitVenue }

type bybit struct {
	e      *Emulator
	market market.Market
}

// heartbeat: the venue sends no protocol pings.
func (d *bybit) heartbeat(timeout time.Duration) (time.Duration, time.Duration) { return -1, timeout }

func (d *bybit) accepts(path string) bool { return path == "/v5/public/"+d.market.String() }

func (d *bybit) open(*Conn, *http.Request) {}

// What a connection may ask for.
const (
	bybitArgs     = 21_000 // characters of all its topics
	bybitSpotArgs = 10     // topics of a request on spot
)

func (d *bybit) message(c *Conn, text []byte) {
	now := time.Now()
	answer := func(o obj) {
		o["conn_id"] = fmt.Sprintf("%08x", c.id)
		b, _ := json.Marshal(o) // texts and numbers always marshal
		c.frame(now.UnixNano(), About{}, FlagControl, b)
	}
	var m struct {
		ID   string   `json:"req_id"`
		Op   string   `json:"op"`
		Args []string `json:"args"`
	}
	option := d.market == market.MarketOption
	err := json.Unmarshal(text, &m)
	if err == nil && m.Op == "ping" {
		if option {
			answer(obj{"op": "pong", "args": []string{strconv.FormatInt(now.UnixMilli(), 10)}})
		} else {
			answer(obj{"success": true, "ret_msg": "pong", "req_id": m.ID, "op": "ping"})
		}
		return
	}
	reply := func(why string) {
		switch {
		case option && why == "":
			answer(obj{"success": true, "type": "COMMAND_RESP", "data": obj{"failTopics": []string{}, "successTopics": m.Args}})
		case option:
			answer(obj{"success": false, "ret_msg": why, "type": "COMMAND_RESP", "data": obj{"failTopics": m.Args, "successTopics": []string{}}})
		default:
			answer(obj{"success": why == "", "ret_msg": why, "req_id": m.ID, "op": m.Op})
		}
	}
	if err != nil || m.Op != "subscribe" && m.Op != "unsubscribe" || len(m.Args) == 0 {
		m.Op = "subscribe"
		reply("error:invalid request")
		return
	}
	if m.Op == "unsubscribe" {
		reply("")
		for _, topic := range m.Args {
			for _, st := range slices.Clone(c.sub) {
				if name, _, _ := strings.Cut(st.name, "|"); name == topic {
					d.e.unsubscribe(c, st)
				}
			}
		}
		return
	}
	if d.e.take(FaultReject) != nil {
		reply("error:refused by the emulator,topic:" + m.Args[0])
		return
	}
	// A request is refused as a whole.
	var prepared []func()
	size := 0
	for _, st := range c.sub {
		size += len(st.name)
	}
	for _, topic := range m.Args {
		size += len(topic)
		streams, why := d.streams(topic)
		switch {
		case d.e.play != nil:
			continue
		case why != "":
		case d.market == market.MarketSpot && len(m.Args) > bybitSpotArgs:
			why = "error:args size >10"
		case size > bybitArgs:
			why = "error:args length over limit"
		case slices.ContainsFunc(c.sub, func(st *stream) bool { name, _, _ := strings.Cut(st.name, "|"); return name == topic }):
			why = "error:already subscribed,topic:" + topic
		}
		if why != "" {
			reply(why)
			return
		}
		for _, s := range streams {
			prepared = append(prepared, func() { d.begin(c, s, now) })
		}
	}
	reply("")
	for _, f := range prepared {
		f()
	}
}

// begin subscribes and sends what a topic begins with.
func (d *bybit) begin(c *Conn, s bybitStream, now time.Time) {
	st := d.e.subscribe(c, s.name, s.prepare)
	if st == nil {
		return
	}
	b := d.first(st, now)
	if b == nil {
		return
	}
	about := st.about()
	if st.kind == ChannelBook {
		about.Seq = st.sym.seq
	}
	c.frame(now.UnixNano(), about, 0, b)
}

// bybitStream is one symbol's part of a topic.
type bybitStream struct {
	name    string
	prepare func(*stream)
}

var bybitIntervals = map[string]time.Duration{"1": time.Minute, "3": 3 * time.Minute, "5": 5 * time.Minute, "15": 15 * time.Minute,
	"30": 30 * time.Minute, "60": time.Hour, "120": 2 * time.Hour, "240": 4 * time.Hour, "360": 6 * time.Hour, "720": 12 * time.Hour,
	"D": 24 * time.Hour, "W": 168 * time.Hour, "M": 720 * time.Hour}

// streams are what a topic shows, or why there is none.
func (d *bybit) streams(topic string) (all []bybitStream, why string) {
	name, rest, _ := strings.Cut(topic, ".")
	arg, native, long := strings.Cut(rest, ".")
	if !long {
		arg, native = "", rest
	}
	option, contract := d.market == market.MarketOption, d.market == market.MarketLinear || d.market == market.MarketInverse
	s := d.e.mkt.byName[native]
	kind, ok := ChannelTicker, s != nil
	switch name {
	case "publicTrade":
		if kind = ChannelTrades; option {
			for _, s := range d.e.mkt.syms {
				if s.base == rest {
					all = append(all, bybitStream{topic + "|" + s.native, func(st *stream) { st.kind, st.sym, st.arg = ChannelTrades, s, rest }})
				}
			}
			if len(all) > 0 {
				return all, ""
			}
			ok = false
		}
	case "orderbook":
		depths := []string{"1", "50", "200", "1000"}
		if option {
			depths = []string{"25", "100"}
		}
		ok = ok && slices.Contains(depths, arg)
		if kind = ChannelBook; arg == "1" {
			kind = ChannelBBO
		}
	case "tickers":
	case "kline":
		kind, ok = ChannelCandles, ok && !option && bybitIntervals[arg] > 0
	case "allLiquidation":
		kind, ok = ChannelLiquidations, ok && contract
	default:
		ok = false
	}
	if !ok {
		return nil, "error:handler not found,topic:" + topic
	}
	return []bybitStream{{topic, func(st *stream) {
		st.kind, st.sym, st.arg = kind, s, arg
		switch kind {
		case ChannelBBO:
			st.state = new(int64)
		case ChannelCandles:
			cd := &candle{name: arg, every: int64(bybitIntervals[arg]), decimals: s.tick + s.step}
			cd.roll(time.Now().UnixNano(), s.last)
			st.state, s.candles = cd, append(s.candles, cd)
		}
	}}}, ""
}
