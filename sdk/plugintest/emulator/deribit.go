package emulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Deribit, JSON-RPC API v2 (docs.deribit.com), as of November 2026. The ids and
// numbers of trades are one here.
var deribitVenue = venue{
	markets: []market.Market{market.MarketInverse, market.MarketLinear, market.MarketOption, market.MarketSpot},
	new: func(e *Emulator) dialect {
		return &deribit{e: e, market: e.opt.Market, conns: map[*Conn]*deribitConn{}}
	},
	symbols: func(o Options, n market.Name, price float64) naming {
		d, step := max(tickDecimals(price), 1), uint8(4)
		native := n.Base
		if n.Settle == "" {
			native += "_" + n.Quote
		}
		switch {
		case n.End == "":
			return naming{native, d, step, d, step}
		case n.End == "PERP":
			native += "-PERPETUAL"
		default:
			native += "-" + strings.ToUpper(market.VenueDate("2Jan06", n.End))
		}
		switch {
		case n.Option != market.OptionNone:
			native += "-" + strings.Replace(n.Strike, ".", "d", 1) + "-" + strings.ToUpper(n.Option.String()[:1])
			return naming{native, d, 1, d, 1}
		case o.Market == market.MarketInverse:
			return naming{native, d, 0, d, 1} // US dollars
		}
		return naming{native, d, step, d, step}
	},
	defaults: func(m market.Market) []string {
		switch m {
		case market.MarketLinear:
			return []string{"BTC-USDC-PERP", "ETH-USDC-PERP"}
		case market.MarketInverse:
			return []string{"BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"}
		case market.MarketOption:
			return []string{"BTC-USD:BTC-20301227-100000-C", "XRP-USDC-20301227-0.5-P"}
		}
		return []string{"BTC-USDC", "ETH-USDC"}
	},
	limits: limits{messages: 200, streams: 10_000, connects: 300, connectsPer: time.Minute},
}

func init() {
	venues["deribit"] = deribitVenue
	users["deribit"] = User{Key: DeribitKey, Secret: DeribitSecret, Grants: DeribitGrants}
}

// What a login must show here.
const (
	DeribitKey    = "emulated-key"
	DeribitSecret = "emulated-secret"

	DeribitGrants = "emulated-grant" // begins what it is given
)

type deribit struct {
	e      *Emulator
	market market.Market
	conns  map[*Conn]*deribitConn
}

// deribitConn is what the venue knows of a connection.
type deribitConn struct {
	login   bool
	every   time.Duration // between test requests; 0: none
	asked   time.Time     // the last one, or when the interval was set
	waiting bool          // for its answer

	credits float64
	at      time.Time // credits were counted
}

// Credits of subscriptions.
const (
	deribitCredits = 30_000
	deribitRefill  = 10_000 // a second
	deribitCost    = 3_000
)

// heartbeat: the venue sends no protocol pings.
func (d *deribit) heartbeat(timeout time.Duration) (time.Duration, time.Duration) { return -1, timeout }

func (d *deribit) accepts(path string) bool { return path == "/ws/api/v2" }

func (d *deribit) open(*Conn, *http.Request) {}

func (d *deribit) of(c *Conn) *deribitConn {
	k := d.conns[c]
	if k == nil {
		for old := range d.conns {
			if old.gone {
				delete(d.conns, old)
			}
		}
		k = &deribitConn{credits: deribitCredits, at: time.Now()}
		d.conns[c] = k
	}
	return k
}

type deribitCall struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Channels  []string `json:"channels"`
		Interval  int      `json:"interval"`
		Grant     string   `json:"grant_type"`
		Refresh   string   `json:"refresh_token"`
		Client    string   `json:"client_id"`
		Timestamp int64    `json:"timestamp"`
		Nonce     string   `json:"nonce"`
		Data      string   `json:"data"`
		Signature string   `json:"signature"`
	} `json:"params"`
}

// deribitError is how the venue refuses.
type deribitError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

// deribitAnswer renders an answer to a call or a request.
func deribitAnswer(id json.RawMessage, result any, refused *deribitError) []byte {
	now := time.Now().UnixMicro()
	o := obj{"jsonrpc": "2.0", "usIn": now, "usOut": now, "usDiff": 0, "testnet": false}
	if len(id) > 0 {
		o["id"] = id
	}
	if o["result"] = result; refused != nil {
		delete(o, "result")
		o["error"] = refused
	}
	b, _ := json.Marshal(o) // texts and numbers always marshal
	return b
}

func (d *deribit) message(c *Conn, text []byte) {
	now := time.Now()
	var m deribitCall
	send := func(b []byte) { c.frame(now.UnixNano(), About{}, FlagControl, b) }
	refuse := func(code int, message string) {
		send(deribitAnswer(m.ID, nil, &deribitError{Code: code, Message: message}))
	}
	if err := json.Unmarshal(text, &m); err != nil {
		m.ID = nil
		refuse(11050, "bad_request")
		return
	}
	k := d.of(c)
	switch m.Method {
	case "public/test":
		k.waiting = false
		send(deribitAnswer(m.ID, obj{"version": "1.2.26"}, nil))
	case "public/set_heartbeat":
		if m.Params.Interval < 10 {
			refuse(-32602, "Invalid params")
			return
		}
		k.every, k.asked, k.waiting = time.Duration(m.Params.Interval)*time.Second, now, false
		send(deribitAnswer(m.ID, "ok", nil))
	case "public/auth":
		if m.Params.Grant == "refresh_token" && (!k.login || m.Params.Refresh != DeribitGrants+"-refresh") {
			send(deribitAnswer(m.ID, nil, &deribitError{13009, "invalid_token", obj{"param": "refresh_token"}}))
			return
		}
		if why := m.verify(now); why != "" {
			send(deribitAnswer(m.ID, nil, &deribitError{13004, "invalid_credentials", obj{"reason": why}}))
			return
		}
		k.login = true
		send(deribitAnswer(m.ID, obj{"access_token": DeribitGrants + "-access", "refresh_token": DeribitGrants + "-refresh", "expires_in": 900, "scope": "connection", "token_type": "bearer"}, nil))
	case "public/subscribe", "public/unsubscribe":
		d.subscribe(c, k, &m, send, refuse)
	default:
		refuse(-32601, "Method not found")
	}
}

// verify says why a login is refused; a token was looked at before.
func (m *deribitCall) verify(now time.Time) string {
	p := &m.Params
	if p.Grant == "refresh_token" {
		return ""
	}
	if p.Grant != "client_signature" {
		return "grant_type isn't emulated"
	}
	if now.Sub(time.UnixMilli(p.Timestamp)).Abs() > time.Minute {
		return "the timestamp, in milliseconds, is off by more than a minute"
	}
	h := hmac.New(sha256.New, []byte(DeribitSecret))
	fmt.Fprintf(h, "%d\n%s\n%s", p.Timestamp, p.Nonce, p.Data)
	if p.Client != DeribitKey || p.Signature != hex.EncodeToString(h.Sum(nil)) {
		return "key or signature is wrong"
	}
	return ""
}

func (d *deribit) subscribe(c *Conn, k *deribitConn, m *deribitCall, send func([]byte), refuse func(int, string)) {
	now := time.Now()
	if d.e.opt.Limits {
		k.credits, k.at = min(k.credits+now.Sub(k.at).Seconds()*deribitRefill, deribitCredits), now
		if k.credits -= deribitCost; k.credits < 0 {
			refuse(10028, "too_many_requests")
			c.close(4000, "too_many_requests")
			return
		}
	}
	off := m.Method == "public/unsubscribe"
	if !k.login && !off && slices.ContainsFunc(m.Params.Channels, func(s string) bool { return strings.HasSuffix(s, ".raw") }) {
		refuse(13778, "raw_subscriptions_not_available_for_unauthorized")
		return
	}
	known := []string{} // what doesn't exist is left out of the answer
	var added []*stream
	for _, name := range m.Params.Channels {
		if d.e.play != nil {
			known = append(known, name)
			continue
		}
		if off {
			if st := d.e.streams[name]; st != nil {
				d.e.unsubscribe(c, st)
				known = append(known, name)
			}
			continue
		}
		prepare := d.stream(name)
		if prepare == nil || d.e.take(FaultReject) != nil {
			continue
		}
		known = append(known, name)
		if slices.ContainsFunc(c.sub, func(st *stream) bool { return st.name == name }) { // no second snapshot
			continue
		}
		if st := d.e.subscribe(c, name, prepare); st != nil {
			added = append(added, st)
		}
	}
	send(deribitAnswer(m.ID, known, nil))
	for _, st := range added {
		if b := d.first(st, now); b != nil {
			about := st.about()
			if st.kind == ChannelBook {
				about.Seq = st.sym.seq
			}
			c.frame(now.UnixNano(), about, 0, b)
		}
	}
}

// beat asks connections for signs of life, and closes those that give none.
func (d *deribit) beat(now time.Time) {
	for c, k := range d.conns {
		every := k.every
		if p := d.e.opt.PingEvery; p > 0 && every > 0 {
			every = p
		}
		if c.gone || every <= 0 || now.Sub(k.asked) < every {
			continue
		}
		if k.waiting {
			c.close(4000, "heartbeat close")
			k.every = 0
			continue
		}
		k.asked, k.waiting = now, true
		c.frame(now.UnixNano(), About{}, FlagControl, []byte(`{"params":{"type":"heartbeat"},"method":"heartbeat","jsonrpc":"2.0"}`))
		c.frame(now.UnixNano(), About{}, FlagControl, []byte(`{"params":{"type":"test_request"},"method":"heartbeat","jsonrpc":"2.0"}`))
		d.e.touch(c)
	}
}
