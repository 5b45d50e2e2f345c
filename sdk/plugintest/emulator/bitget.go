package emulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Bitget, API v2 (www.bitget.com/docs/classic), and of API v3 the liquidations
// (www.bitget.com/docs/uta), as of November 2026. Books aren't cut to the venue's
// 500 levels, so that they can be compared with the true ones.
var bitgetVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse},
	new: func(e *Emulator) dialect {
		return &bitget{e: e, market: e.opt.Market, requests: map[*Conn][]time.Time{}}
	},
	symbols: func(o Options, n market.Name, price float64) naming {
		d := max(tickDecimals(price), 1)
		native := n.Base + n.Quote
		if o.Market == market.MarketLinear && n.Quote == "USDC" {
			native = n.Base + "PERP"
		}
		if n.End != "" && n.End != "PERP" {
			native += "_" + market.VenueDate("060102", n.End)
		}
		return naming{native, d, 4, d, 4}
	},
	defaults: func(m market.Market) []string {
		switch m {
		case market.MarketLinear:
			return []string{"BTC-USDT-PERP", "ETH-USDC-PERP"}
		case market.MarketInverse:
			return []string{"BTC-USD:BTC-PERP", "ETH-USD:ETH-20301227"}
		}
		return []string{"BTC-USDT", "ETH-USDT"}
	},
	limits: limits{messages: 10, streams: 1000, connects: 300, connectsPer: 5 * time.Minute},
}

func init() { venues["bitget"] = bitgetVenue }

// bitgetRequests is how many requests to subscribe a connection has in an hour.
const bitgetRequests = 240

type bitget struct {
	e        *Emulator
	market   market.Market
	requests map[*Conn][]time.Time // of the last hour
}

// heartbeat: the venue sends no protocol pings.
func (d *bitget) heartbeat(timeout time.Duration) (time.Duration, time.Duration) { return -1, timeout }

func (d *bitget) accepts(path string) bool {
	return path == "/v2/ws/public" || path == "/v3/ws/public"
}

func (d *bitget) open(*Conn, *http.Request) {}

// count says whether a connection may ask for another stream.
func (d *bitget) count(c *Conn, now time.Time) bool {
	if d.requests[c] == nil {
		for old := range d.requests {
			if old.gone {
				delete(d.requests, old)
			}
		}
	}
	d.requests[c] = append(slices.DeleteFunc(d.requests[c], func(t time.Time) bool { return now.Sub(t) > time.Hour }), now)
	return !d.e.opt.Limits || len(d.requests[c]) <= bitgetRequests
}

// bitgetArg names a stream: by channel and instId, in API v3 by topic and symbol.
type bitgetArg struct {
	Product string `json:"instType"`
	Channel string `json:"channel,omitempty"`
	Topic   string `json:"topic,omitempty"`
	ID      string `json:"instId,omitempty"`
	Symbol  string `json:"symbol,omitempty"`
}

func (d *bitget) message(c *Conn, text []byte) {
	now := time.Now()
	unified := strings.HasPrefix(c.path, "/v3/")
	answer := func(o obj) {
		if unified {
			o["connId"] = fmt.Sprintf("%08x", c.id)
		}
		b, _ := json.Marshal(o) // texts and numbers always marshal
		c.frame(now.UnixNano(), About{}, FlagControl, b)
	}
	if string(text) == "ping" {
		c.frame(now.UnixNano(), About{}, FlagControl, []byte("pong"))
		return
	}
	var m struct {
		Op   string      `json:"op"`
		Args []bitgetArg `json:"args"`
	}
	if err := json.Unmarshal(text, &m); err != nil || m.Op != "subscribe" && m.Op != "unsubscribe" || len(m.Args) == 0 {
		answer(obj{"event": "error", "code": 30003, "msg": "Invalid op"})
		return
	}
	if len(text) > 4096 {
		answer(obj{"event": "error", "code": 30016, "msg": "Param error"})
		return
	}
	if !d.count(c, now) {
		answer(obj{"event": "error", "code": 30007, "msg": "request over limit, connection close"})
		return
	}
	for _, a := range m.Args {
		refuse := func(code int, msg string) {
			if unified { // without arg: the message repeats it
				arg, _ := json.Marshal(a)
				answer(obj{"event": "error", "code": code, "msg": string(arg) + " " + msg})
				return
			}
			answer(obj{"event": "error", "arg": a, "code": code, "op": m.Op,
				"msg": "instType:" + a.Product + ",channel:" + a.Channel + ",instId:" + a.ID + " " + msg})
		}
		if m.Op == "subscribe" && d.e.take(FaultReject) != nil {
			refuse(30001, "is refused by the emulator")
			continue
		}
		prepare, why := d.stream(&a, unified)
		if why != "" && d.e.play == nil {
			refuse(30001, why)
			continue
		}
		name := cmp.Or(a.Channel, a.Topic) + "|" + a.Product + a.ID
		answer(obj{"event": m.Op, "arg": a})
		if m.Op == "unsubscribe" {
			if st := d.e.streams[name]; st != nil {
				d.e.unsubscribe(c, st)
			}
			continue
		}
		if prepare == nil || d.e.play != nil || slices.ContainsFunc(c.sub, func(st *stream) bool { return st.name == name }) {
			continue
		}
		st := d.e.subscribe(c, name, prepare)
		if st == nil {
			continue
		}
		if b := d.first(st, now); b != nil {
			about := st.about()
			if st.kind == ChannelBook {
				about.Seq = st.sym.seq
			}
			c.frame(now.UnixNano(), about, 0, b)
		}
	}
}
