package emulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// BitMEX (www.bitmex.com/app/wsAPI), as it was in 2026: rows of books have prices,
// and ids that say nothing. Each level that changes is a message of its own.
// Tables of the best levels aren't cut, so that they can be compared with the
// true ones; that of ten is.
var bitmexVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse},
	new: func(e *Emulator) dialect {
		e.mkt.futures, e.mkt.apart = false, true
		return &bitmex{e: e, market: e.opt.Market}
	},
	symbols: func(o Options, n market.Name, price float64) naming {
		d := max(tickDecimals(price), 1)
		coin := func(s string) string { return strings.Replace(s, "BTC", "XBT", 1) }
		native := coin(n.Base) + coin(n.Quote)
		switch {
		case o.Market == market.MarketSpot:
			native = coin(n.Base) + "_" + coin(n.Quote)
		case n.End != "PERP":
			native += market.VenueCode(n.End)
		}
		if o.Market == market.MarketInverse && n.Base != "BTC" {
			native += "_" + n.Settle
		}
		return naming{native, d, 0, d, 0}
	},
	defaults: func(m market.Market) []string {
		switch m {
		case market.MarketLinear: // the second is a quanto contract
			return []string{"BTC-USDT-PERP", "ETH-USD:BTC-PERP"}
		case market.MarketInverse:
			return []string{"BTC-USD:BTC-PERP", "ETH-USD:ETH-20301227"}
		}
		return []string{"BTC-USDT", "ETH-USDT"}
	},
	limits: limits{messages: 40, streams: 10_000, connects: 60, connectsPer: time.Hour, weight: 30},
}

func init() { venues["bitmex"] = bitmexVenue }

type bitmex struct {
	e      *Emulator
	market market.Market
	orders int64 // that were liquidated
}

// heartbeat: the venue sends no protocol pings.
func (d *bitmex) heartbeat(timeout time.Duration) (time.Duration, time.Duration) { return -1, timeout }

func (d *bitmex) accepts(path string) bool { return path == "/realtime" }

func (d *bitmex) open(c *Conn, _ *http.Request) {
	d.answer(c, obj{"info": "Welcome to the BitMEX Realtime API.", "version": "2.0.0", "timestamp": bitmexTime(time.Now().UnixNano()),
		"docs": "https://www.bitmex.com/app/wsAPI", "heartbeatEnabled": false, "limit": obj{}, "appName": "emulator"})
}

func (d *bitmex) answer(c *Conn, o obj) {
	b, _ := json.Marshal(o) // texts and numbers always marshal
	c.frame(time.Now().UnixNano(), About{}, FlagControl, b)
}

func (d *bitmex) message(c *Conn, text []byte) {
	if string(text) == "ping" {
		c.frame(time.Now().UnixNano(), About{}, FlagControl, []byte("pong"))
		return
	}
	var m struct {
		Op   string          `json:"op"`
		Args json.RawMessage `json:"args"`
	}
	var topics []string
	err := json.Unmarshal(text, &m)
	if err == nil {
		if err = json.Unmarshal(m.Args, &topics); err != nil { // one alone needs no list
			topics = []string{""}
			err = json.Unmarshal(m.Args, &topics[0])
		}
	}
	request := json.RawMessage(text)
	if err != nil {
		request = json.RawMessage("{}")
	}
	refuse := func(why string) {
		d.answer(c, obj{"status": 400, "error": why, "meta": obj{}, "request": request})
	}
	if err != nil || m.Op != "subscribe" && m.Op != "unsubscribe" || len(topics) == 0 {
		refuse("Please send a valid request.")
		return
	}
	// A request is refused as a whole.
	streams := make([]func(*stream), len(topics))
	for i, t := range topics {
		have := slices.ContainsFunc(c.sub, func(st *stream) bool { return st.name == t })
		why := ""
		switch prepare, unknown := d.stream(t); {
		case m.Op == "subscribe" && d.e.take(FaultReject) != nil:
			why = "Refused by the emulator."
		case d.e.play != nil:
		case unknown != "":
			why = unknown
		case m.Op == "subscribe" && have:
			why = "You are already subscribed to this topic: " + t
		case m.Op == "unsubscribe" && !have:
			why = "You are not subscribed to this topic: " + t
		default:
			streams[i] = prepare
		}
		if why != "" {
			refuse(why)
			return
		}
	}
	for i, t := range topics {
		answer := obj{"success": true, m.Op: t, "request": request}
		if !strings.HasPrefix(t, "instrument") && !strings.HasPrefix(t, "liquidation") {
			answer["pool"] = "Primary"
		}
		d.answer(c, answer)
		if streams[i] == nil {
			continue
		}
		if m.Op == "unsubscribe" {
			d.e.unsubscribe(c, d.e.streams[t])
			continue
		}
		if st := d.e.subscribe(c, t, streams[i]); st != nil {
			now := time.Now().UnixNano()
			about := st.about()
			if st.kind == ChannelBook {
				about.Seq = st.sym.seq
			}
			c.frame(now, about, 0, d.whole(nil, st, now))
		}
	}
}

var bitmexIntervals = map[string]time.Duration{"1m": time.Minute, "5m": 5 * time.Minute, "1h": time.Hour, "1d": 24 * time.Hour}

// stream says what a topic shows, or why there is none.
func (d *bitmex) stream(topic string) (prepare func(*stream), why string) {
	table, symbol, _ := strings.Cut(topic, ":")
	kind, depth, every := ChannelTicker, 0, time.Duration(0)
	contract := d.market != market.MarketSpot
	switch {
	case table == "trade":
		kind = ChannelTrades
	case table == "orderBookL2" || table == "orderBookL2_25" || table == "orderBookL2_100":
		kind = ChannelBook
	case table == "orderBook10":
		kind, depth = ChannelBook, 10
	case table == "quote":
		kind = ChannelBBO
	case table == "instrument":
	case table == "funding" && contract:
		kind = ChannelNone // between payments it says nothing
	case table == "liquidation" && contract:
		kind = ChannelLiquidations
	default:
		interval, ok := strings.CutPrefix(table, "tradeBin")
		if every = bitmexIntervals[interval]; !ok || every == 0 {
			return nil, "Unknown table: " + table
		}
		kind = ChannelCandles
	}
	s := d.e.mkt.byName[symbol]
	if s == nil {
		return nil, "Unknown or expired symbol: " + symbol + ". Please see the documentation at https://www.bitmex.com/app/wsAPI."
	}
	return func(st *stream) {
		st.kind, st.sym, st.arg, st.depth = kind, s, table, depth
		switch {
		case every > 0:
			cd := &candle{name: strings.TrimPrefix(table, "tradeBin"), every: int64(every), decimals: s.tick + s.step}
			cd.roll(time.Now().UnixNano()-int64(every), s.last) // the one before has ended
			cd.roll(time.Now().UnixNano(), s.last)
			st.state, st.sent, s.candles = cd, cd.closed.start, append(s.candles, cd)
		case kind == ChannelBook && depth == 0:
			rows := &bitmexRows{}
			if s.ghost != 0 {
				rows[0][s.ghost] = true
			}
			s.bids(0, func(i int, _ int64) { rows[0][i] = true })
			s.asks(0, func(i int, _ int64) { rows[1][i] = true })
			st.state = rows
		}
	}, ""
}

// bitmexRows are the rows that a book has, by side: what is new is inserted, what
// is there is updated.
type bitmexRows [2][gridSize]bool
