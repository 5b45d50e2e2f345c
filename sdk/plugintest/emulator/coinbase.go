package emulator

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Coinbase, Advanced Trade and the Exchange's feed (docs.cdp.coinbase.com), as of
// November 2026. One address serves both: what a client sends tells them apart.
// Frames of Advanced Trade are numbered on their connection.
var coinbaseVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear},
	new: func(e *Emulator) dialect {
		e.numberMark = []byte(coinbaseNumber)
		return &coinbase{e: e, market: e.opt.Market, conns: map[*Conn]*coinbaseConn{}}
	},
	symbols: func(o Options, n market.Name, price float64) naming {
		d := max(tickDecimals(price), 1)
		switch {
		case n.End == "":
			return naming{n.Base + "-" + n.Quote, d, 8, d, 8}
		case n.End == "PERP":
			return naming{n.Base + "-PERP-INTX", d, 4, d, 4}
		}
		return naming{n.Base + "-" + string(bytes.ToUpper([]byte(market.VenueDate("02Jan06", n.End)))) + "-CDE", d, 0, d, 0}
	},
	defaults: func(m market.Market) []string {
		if m == market.MarketLinear {
			return []string{"BTC-USDC-PERP", "ETH-USDC-PERP"}
		}
		return []string{"BTC-USD", "ETH-USD"}
	},
	limits: limits{messages: 8, streams: 10_000, connects: 8, connectsPer: time.Second, weight: 600},
}

func init() {
	venues["coinbase"] = coinbaseVenue
	users["coinbase"] = User{Key: CoinbaseKey, Secret: CoinbaseSecret, Passphrase: CoinbasePassphrase}
}

// coinbaseNumber stands where a frame gets its number on the connection.
const coinbaseNumber = `"sequence_num":`

// What a login must show here.
const (
	CoinbaseKey        = "emulated-key"
	CoinbasePassphrase = "emulated-passphrase"
	CoinbaseSecret     = "ZW11bGF0ZWQtc2VjcmV0" // base64, as the venue gives it
)

type coinbase struct {
	e      *Emulator
	market market.Market
	conns  map[*Conn]*coinbaseConn
}

// coinbaseConn is what the venue knows of a connection.
type coinbaseConn struct {
	opened     time.Time
	asked      bool
	heartbeats bool      // of Advanced Trade
	products   []string  // whose heartbeats are subscribed of the Exchange
	beat       time.Time // the last one
	names      []string  // of Advanced Trade's subscriptions: channel|product
	old        []string  // of the Exchange's
}

// heartbeat: the venue sends no protocol pings.
func (d *coinbase) heartbeat(timeout time.Duration) (time.Duration, time.Duration) {
	return -1, timeout
}

func (d *coinbase) accepts(path string) bool { return path == "/" || path == "" }

func (d *coinbase) open(c *Conn, _ *http.Request) { d.of(c) }

func (d *coinbase) of(c *Conn) *coinbaseConn {
	k := d.conns[c]
	if k == nil {
		for old := range d.conns {
			if old.gone && d.e.play == nil {
				delete(d.conns, old)
			}
		}
		k = &coinbaseConn{opened: time.Now()}
		d.conns[c] = k
	}
	return k
}

type coinbaseRequest struct {
	Type     string   `json:"type"`
	Products []string `json:"product_ids"`
	Channel  string   `json:"channel"`
	Channels []string `json:"channels"`

	Key        string `json:"key"`
	Passphrase string `json:"passphrase"`
	Timestamp  string `json:"timestamp"`
	Signature  string `json:"signature"`
}

func (d *coinbase) message(c *Conn, text []byte) {
	now := time.Now()
	k := d.of(c)
	k.asked = true
	refuse := func(message, reason string) {
		b, _ := json.Marshal(struct { // texts always marshal
			Type    string `json:"type"`
			Message string `json:"message"`
			Reason  string `json:"reason"`
		}{"error", message, reason})
		c.frame(now.UnixNano(), About{}, FlagControl, b)
	}
	var m coinbaseRequest
	if err := json.Unmarshal(text, &m); err != nil || m.Type != "subscribe" && m.Type != "unsubscribe" {
		refuse("Malformed JSON", "")
		return
	}
	if m.Type == "subscribe" && m.Channel != "heartbeats" && d.e.take(FaultReject) != nil {
		refuse("Failed to subscribe", "Refused by the emulator")
		return
	}
	names, why := d.wanted(&m)
	if why != "" && d.e.play == nil {
		refuse("Failed to subscribe", why)
		return
	}
	switch why = m.verify(now); {
	case why == coinbaseUnsigned:
		refuse("Failed to subscribe", why)
		return
	case why != "":
		refuse("Authentication Failed", why)
		return
	}
	mine := &k.names
	if m.Channel == "" {
		mine = &k.old
	}
	for _, name := range names {
		channel, product, _ := cutLast(name)
		if m.Type == "unsubscribe" {
			*mine = slices.DeleteFunc(*mine, func(s string) bool { return s == name })
			switch st := d.e.streams[name]; {
			case channel == "heartbeats":
				k.heartbeats = false
			case st != nil:
				d.e.unsubscribe(c, st)
			}
			continue
		}
		if slices.Contains(*mine, name) {
			continue
		}
		*mine = append(*mine, name)
		switch channel {
		case "heartbeats":
			k.heartbeats = true
			continue
		case "old:heartbeat":
			k.products = append(k.products, product)
			continue
		}
		if d.e.play != nil {
			continue
		}
		st := d.e.subscribe(c, name, func(st *stream) { d.prepare(st, channel, d.e.mkt.byName[product]) })
		if st == nil {
			continue
		}
		if b := d.first(st, now); b != nil {
			about := st.about()
			about.Seq = 0
			if st.kind == ChannelBook {
				about.Seq = st.sym.seq
			}
			if f := d.e.faultFor(st); f != nil {
				d.e.mangle(f, about, c, now.UnixNano(), b)
			} else {
				c.frame(now.UnixNano(), about, 0, b)
			}
		}
	}
	// The answer comes behind what the subscription begins with.
	c.frame(now.UnixNano(), About{}, FlagControl, d.subscriptions(*mine, m.Channel == "", now))
}

// wanted lists the streams that a request names, or says why there are none.
func (d *coinbase) wanted(m *coinbaseRequest) (names []string, why string) {
	channels := []string{m.Channel}
	if m.Channel == "" {
		channels = nil
		for _, c := range m.Channels {
			channels = append(channels, "old:"+c)
		}
	}
	for _, c := range channels {
		if c == "heartbeats" {
			names = append(names, c+"|")
			continue
		}
		if !slices.Contains(coinbaseChannels, c) || d.market != market.MarketSpot && len(c) > 4 && c[:4] == "old:" {
			return nil, c + " is not a valid channel"
		}
		for _, p := range m.Products {
			if d.e.play == nil && d.e.mkt.byName[p] == nil {
				return nil, p + " is not a valid product"
			}
			names = append(names, c+"|"+p)
		}
	}
	if len(names) == 0 {
		return nil, "You need to specify at least one product ID and channel"
	}
	return names, ""
}

var coinbaseChannels = []string{"market_trades", "level2", "ticker", "ticker_batch", "candles",
	"old:matches", "old:full", "old:level2_batch", "old:level2", "old:ticker", "old:heartbeat"}

const coinbaseUnsigned = "level2, level3, and full channels now require authentication"

// verify says why a request of a channel that needs a login is refused.
func (m *coinbaseRequest) verify(now time.Time) string {
	if m.Channel != "" || m.Type != "subscribe" || !slices.Contains(m.Channels, "full") && !slices.Contains(m.Channels, "level2") {
		return ""
	}
	if m.Key == "" {
		return coinbaseUnsigned
	}
	seconds, _ := strconv.ParseFloat(m.Timestamp, 64)
	if now.Sub(time.Unix(int64(seconds), 0)).Abs() > 30*time.Second {
		return "the timestamp is off by more than 30 s"
	}
	secret, _ := base64.StdEncoding.DecodeString(CoinbaseSecret) // a constant
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(m.Timestamp + "GET/users/self/verify"))
	if m.Key != CoinbaseKey || m.Passphrase != CoinbasePassphrase || m.Signature != base64.StdEncoding.EncodeToString(h.Sum(nil)) {
		return "key, passphrase or signature is wrong"
	}
	return ""
}

// subscriptions lists what a connection has.
func (d *coinbase) subscriptions(names []string, old bool, now time.Time) []byte {
	by := map[string][]string{}
	var order []string
	for _, name := range names {
		channel, product, _ := cutLast(name)
		if product == "" {
			product = channel
		}
		if by[channel] == nil {
			order = append(order, channel)
		}
		by[channel] = append(by[channel], product)
	}
	if !old {
		b := coinbaseHead(nil, "subscriptions", now.UnixNano())
		if d.e.play != nil { // the recording has its own numbers
			b = bytes.Replace(b, []byte(coinbaseNumber+","), nil, 1)
		}
		list, _ := json.Marshal(by)
		return append(append(append(b, `{"subscriptions":`...), list...), `}]}`...)
	}
	type one struct {
		Name     string   `json:"name"`
		Products []string `json:"product_ids"`
	}
	list := []one{}
	for _, c := range order {
		list = append(list, one{c[len("old:"):], by[c]})
	}
	b, _ := json.Marshal(struct {
		Type     string `json:"type"`
		Channels []one  `json:"channels"`
	}{"subscriptions", list})
	return b
}

func cutLast(name string) (channel, product string, ok bool) {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '|' {
			return name[:i], name[i+1:], true
		}
	}
	return name, "", false
}
