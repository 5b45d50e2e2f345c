package emulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// OKX, API v5 (www.okx.com/docs-v5/en), as of November 2026. Books aren't cut to
// the venue's 400 levels, so that they can be compared with the true ones.
var okxVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse, market.MarketOption},
	new:     func(e *Emulator) dialect { return &okx{e: e, market: e.opt.Market, conns: map[*Conn]*okxConn{}} },
	symbols: func(o Options, n market.Name, price float64) naming {
		d := max(tickDecimals(price), 1)
		if o.Market == market.MarketSpot {
			return naming{n.Base + "-" + n.Quote, d, 8, d, 8}
		}
		native := n.Base + "-" + n.Quote
		if n.Quote == "USD" && n.Settle == "" {
			native += "_UM"
		}
		if n.End == "PERP" {
			return naming{native + "-SWAP", d, 0, d, 0}
		}
		native += "-" + market.VenueDate("060102", n.End)
		if n.Option != market.OptionNone {
			native += "-" + n.Strike + "-" + strings.ToUpper(n.Option.String()[:1])
		}
		return naming{native, d, 0, d, 0}
	},
	defaults: func(m market.Market) []string {
		switch m {
		case market.MarketLinear:
			return []string{"BTC-USDT-PERP", "ETH-USDC-PERP"}
		case market.MarketInverse:
			return []string{"BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"}
		case market.MarketOption:
			return []string{"BTC-USD:BTC-20301227-100000-C", "ETH-USD:ETH-20301227-5000-P"}
		}
		return []string{"BTC-USDT", "ETH-USDT"}
	},
	limits: limits{messages: 480, streams: 10_000, connects: 3, connectsPer: time.Second},
}

func init() {
	venues["okx"] = okxVenue
	users["okx"] = User{Key: OKXKey, Secret: OKXSecret, Passphrase: OKXPassphrase}
}

// What a login must show here.
const (
	OKXKey        = "emulated-key"
	OKXPassphrase = "emulated-passphrase"
	OKXSecret     = "emulated-secret"
)

type okx struct {
	e      *Emulator
	market market.Market
	conns  map[*Conn]*okxConn
}

// okxConn is what the venue knows of a connection.
type okxConn struct {
	login    bool
	requests []time.Time // of the last hour
}

// heartbeat: the venue sends no protocol pings.
func (d *okx) heartbeat(timeout time.Duration) (time.Duration, time.Duration) { return -1, timeout }

func (d *okx) accepts(path string) bool {
	return path == "/ws/v5/public" || path == "/ws/v5/business"
}

func (d *okx) open(*Conn, *http.Request) {}

func (d *okx) of(c *Conn) *okxConn {
	k := d.conns[c]
	if k == nil {
		for old := range d.conns {
			if old.gone {
				delete(d.conns, old)
			}
		}
		k = &okxConn{}
		d.conns[c] = k
	}
	return k
}

type okxArg struct {
	Channel string `json:"channel"`
	Type    string `json:"instType,omitempty"`
	Family  string `json:"instFamily,omitempty"`
	ID      string `json:"instId,omitempty"`

	Key        string `json:"apiKey,omitempty"`
	Passphrase string `json:"passphrase,omitempty"`
	Timestamp  string `json:"timestamp,omitempty"`
	Sign       string `json:"sign,omitempty"`
}

func (d *okx) message(c *Conn, text []byte) {
	now := time.Now()
	answer := func(o obj) {
		o["connId"] = fmt.Sprintf("%08x", c.id)
		b, _ := json.Marshal(o) // texts and numbers always marshal
		c.frame(now.UnixNano(), About{}, FlagControl, b)
	}
	if string(text) == "ping" {
		c.frame(now.UnixNano(), About{}, FlagControl, []byte("pong"))
		return
	}
	var m struct {
		ID   string   `json:"id"`
		Op   string   `json:"op"`
		Args []okxArg `json:"args"`
	}
	if err := json.Unmarshal(text, &m); err != nil || m.Op != "subscribe" && m.Op != "unsubscribe" && m.Op != "login" || len(m.Args) == 0 {
		answer(obj{"event": "error", "code": "60012", "msg": "Invalid request: " + string(text[:min(len(text), 200)])})
		return
	}
	with := func(o obj) obj {
		if m.ID != "" {
			o["id"] = m.ID
		}
		return o
	}
	refuse := func(code, msg string) { answer(with(obj{"event": "error", "code": code, "msg": msg})) }
	k := d.of(c)
	k.requests = slices.DeleteFunc(k.requests, func(t time.Time) bool { return now.Sub(t) > time.Hour })
	if k.requests = append(k.requests, now); d.e.opt.Limits && len(k.requests) > 480 {
		refuse("60014", "Requests too frequent")
		return
	}
	if len(text) > 64<<10 {
		refuse("60013", "Invalid args")
		return
	}
	if m.Op == "login" {
		if why := m.Args[0].verify(now); why != "" {
			refuse("60009", "Login failed: "+why)
			return
		}
		k.login = true
		answer(obj{"event": "login", "code": "0", "msg": ""})
		return
	}
	for _, a := range m.Args {
		if m.Op == "subscribe" && d.e.take(FaultReject) != nil {
			refuse("60018", "Refused by the emulator")
			continue
		}
		prepare, why := d.stream(c, &a)
		if strings.HasSuffix(a.Channel, "l2-tbt") && !k.login && why == "" {
			refuse("60011", "Please log in")
			continue
		}
		if why != "" && d.e.play == nil {
			refuse("60018", why)
			continue
		}
		name := a.Channel + "|" + a.Type + a.Family + a.ID
		answer(with(obj{"event": m.Op, "arg": a}))
		if m.Op == "unsubscribe" {
			if st := d.e.streams[name]; st != nil {
				d.e.unsubscribe(c, st)
			}
			continue
		}
		if d.e.play != nil || slices.ContainsFunc(c.sub, func(st *stream) bool { return st.name == name }) {
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
			if f := d.e.faultFor(st); f != nil { // the venue has announced books without this first frame
				d.e.mangle(f, about, c, now.UnixNano(), b)
			} else {
				c.frame(now.UnixNano(), about, 0, b)
			}
		}
	}
}

// verify says why a login is refused.
func (a *okxArg) verify(now time.Time) string {
	seconds, _ := strconv.ParseFloat(a.Timestamp, 64)
	if t := time.Unix(int64(seconds), 0); now.Sub(t).Abs() > 30*time.Second {
		return "the timestamp is off by more than 30 s"
	}
	h := hmac.New(sha256.New, []byte(OKXSecret))
	h.Write([]byte(a.Timestamp + "GET/users/self/verify"))
	if a.Key != OKXKey || a.Passphrase != OKXPassphrase || a.Sign != base64.StdEncoding.EncodeToString(h.Sum(nil)) {
		return "key, passphrase or sign is wrong"
	}
	return ""
}
