package emulator

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Bitstamp (www.bitstamp.net/websocket/v2, www.bitstamp.net/api), as of November
// 2026. Updates of a book are numbered by their time alone, in microseconds, no two
// alike. The feed of whole books isn't cut to 100 levels, so that it can be
// compared with the true one.
var bitstampVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear},
	new:     func(e *Emulator) dialect { return &bitstamp{e: e, market: e.opt.Market} },
	symbols: func(o Options, n market.Name, price float64) naming {
		d := max(tickDecimals(price), 1)
		native := strings.ToLower(n.Base + n.Quote)
		if o.Market == market.MarketLinear {
			return naming{native + bitstampPerpetual, d, 5, d, 5}
		}
		return naming{native, d, 8, d, 8}
	},
	defaults: func(m market.Market) []string {
		if m == market.MarketLinear {
			return []string{"BTC-USD-PERP", "ETH-USD-PERP"}
		}
		return []string{"BTC-USD", "ETH-USD"}
	},
	limits: limits{messages: 10_000, streams: 1024, connects: 1000, connectsPer: time.Second},
	clock:  true,
}

func init() { venues["bitstamp"] = bitstampVenue }

const (
	bitstampPerpetual = "-perp"
	bitstampFrame     = 512 // bytes that a client's frame may have
)

type bitstamp struct {
	e      *Emulator
	market market.Market
}

// heartbeat: the venue pings each 54 s.
func (d *bitstamp) heartbeat(timeout time.Duration) (time.Duration, time.Duration) {
	return 54 * time.Second, max(timeout, 2*time.Minute)
}

func (d *bitstamp) accepts(path string) bool { return path == "/" || path == "" }

func (d *bitstamp) open(*Conn, *http.Request) {}

// announce says that the connection will be closed.
func (d *bitstamp) announce(time.Time) string {
	return `{"event":"bts:request_reconnect","channel":"","data":null}`
}

// bitstampKinds are the channels, by what their names begin with.
var bitstampKinds = []struct {
	name string
	kind Channel
}{
	{"live_trades_", ChannelTrades}, {"diff_order_book_", ChannelBook}, {"order_book_", ChannelBook}, {"funding_rate_", ChannelMarkPrice},
	{"live_orders_", ChannelNone}, {"detail_order_book_", ChannelNone},
}

func (d *bitstamp) message(c *Conn, text []byte) {
	now := time.Now()
	if len(text) > bitstampFrame {
		c.close(1009, "read limited at 513 bytes")
		return
	}
	answer := func(event, channel string, data any) {
		b, _ := json.Marshal(obj{"event": event, "channel": channel, "data": data}) // texts always marshal
		c.frame(now.UnixNano(), About{}, FlagControl, b)
	}
	refuse := func(why string) { answer("bts:error", "", obj{"code": nil, "message": why}) }
	var m struct {
		Event string
		Data  struct{ Channel string }
	}
	if json.Unmarshal(text, &m) != nil {
		refuse("Incorrect JSON format.")
		return
	}
	name := m.Data.Channel
	switch {
	case m.Event == "bts:heartbeat":
		answer(m.Event, "", obj{"status": "success"})
		return
	case m.Event != "bts:subscribe" && m.Event != "bts:unsubscribe" || name == "" || m.Event == "bts:subscribe" && d.e.take(FaultReject) != nil:
		refuse("Bad subscription string.")
		return
	case m.Event == "bts:unsubscribe":
		if st := d.e.streams[name]; st != nil {
			d.e.unsubscribe(c, st)
		}
		answer("bts:unsubscription_succeeded", name, obj{})
		return
	}
	for _, k := range bitstampKinds {
		native, ok := strings.CutPrefix(name, k.name)
		if !ok || native == "" || native != strings.ToLower(native) || strings.Contains(native, "/") {
			continue
		}
		if len(c.sub) >= bitstampVenue.limits.streams {
			c.drop("a 1025th subscription")
			return
		}
		answer("bts:subscription_succeeded", name, obj{})
		if s := d.e.mkt.byName[native]; s != nil && k.kind != ChannelNone { // of others, silence
			d.e.subscribe(c, name, func(st *stream) { st.kind, st.sym, st.arg = k.kind, s, k.name })
		}
		return
	}
	refuse("Invalid channel provided.")
}

// bitstampEnd ends a frame: its data stands first.
func bitstampEnd(b []byte, st *stream, event string) []byte {
	b = append(append(b, `},"channel":"`...), st.name...)
	return append(append(append(b, `","event":"`...), event...), `"}`...)
}

func (d *bitstamp) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	if st.kind == ChannelTrades {
		side := byte('0')
		if ev.sell {
			side = '1'
		}
		b = appendInt(append(b, `{"data":{"id":`...), ev.id)
		b = append(appendInt(append(b, `,"timestamp":"`...), ev.now/1_000_000_000), '"')
		b = quoted(s.appendQty(append(b, `,"amount":`...), ev.qty), `,"amount_str":`, func(b []byte) []byte { return s.appendQty(b, ev.qty) })
		b = quoted(s.appendTicks(append(b, `,"price":`...), ev.price), `,"price_str":`, func(b []byte) []byte { return s.appendTicks(b, ev.price) })
		b = append(append(b, `,"type":`...), side)
		b = append(appendInt(append(b, `,"microtimestamp":"`...), ev.now/1_000), `","buy_order_id":1,"sell_order_id":2`...)
		return bitstampEnd(b, st, "trade")
	}
	b = d.times(append(b, `{"data":{`...), ev.last)
	if st.arg == "order_book_" {
		return bitstampEnd(d.sides(b, s), st, "data")
	}
	b = d.levels(b, `,"bids":[`, s, ev.bids)
	return bitstampEnd(d.levels(b, `,"asks":[`, s, ev.asks), st, "data")
}

// times writes those of a book, of which the latter is its number.
func (d *bitstamp) times(b []byte, micros int64) []byte {
	b = appendInt(append(b, `"timestamp":"`...), micros/1_000_000)
	return append(appendInt(append(b, `","microtimestamp":"`...), micros), '"')
}

func (d *bitstamp) levels(b []byte, key string, s *symbol, ls []level) []byte {
	b = append(b, key...)
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(s.appendPrice(append(b, `["`...), l.slot), `","`...)
		b = append(s.appendQty(b, l.qty), `"]`...)
	}
	return append(b, ']')
}

// sides writes a whole book, a ghost bid included.
func (d *bitstamp) sides(b []byte, s *symbol) []byte {
	var bids, asks []level
	if s.ghost != 0 {
		bids = append(bids, level{s.ghost, 1})
	}
	s.bids(0, func(i int, q int64) {
		if i != s.ghost {
			bids = append(bids, level{i, q})
		}
	})
	s.asks(0, func(i int, q int64) { asks = append(asks, level{i, q}) })
	return d.levels(d.levels(b, `,"bids":[`, s, bids), `,"asks":[`, s, asks)
}

// tick sends funding rates, each second.
func (d *bitstamp) tick(now time.Time) {
	const every = int64(8 * time.Hour / time.Second)
	for _, st := range d.e.streams {
		if st.kind != ChannelMarkPrice || now.UnixNano()-st.sent < int64(time.Second) || d.market != market.MarketLinear {
			continue
		}
		st.sent = now.UnixNano()
		s, t := st.sym, now.Unix()
		price := func(b []byte) []byte { return s.appendTicks(b, s.last) }
		b := append(append([]byte(`{"data":{"market":"`), s.native...), '"')
		b = append(quoted(quoted(b, `,"mark_price":`, price), `,"index_price":`, price), `,"funding_rate":"0.000123"`...)
		b = appendInt(append(b, `,"timestamp":"`...), t)
		b = append(appendInt(append(b, `","next_funding_time":"`...), t-t%every+every), '"')
		b = bitstampEnd(b, st, "funding_rate_saved")
		f := d.e.faultFor(st)
		for _, c := range st.subs[0] {
			if f != nil {
				d.e.mangle(f, st.about(), c, now.UnixNano(), b)
			} else {
				c.frame(now.UnixNano(), st.about(), 0, b)
			}
			d.e.touch(c)
		}
	}
}
