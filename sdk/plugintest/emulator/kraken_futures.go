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

// Kraken Futures, WebSocket v1 (docs.kraken.com/api/docs/futures-api/websocket),
// as of November 2026. Each eighth trade is a liquidation.
type krakenFutures struct {
	e      *Emulator
	market market.Market
}

func newKrakenFutures(e *Emulator) *krakenFutures {
	e.mkt.futures, e.mkt.apart = false, true // each level has the number after the one before
	e.limits = limits{messages: 100, streams: 10_000, connects: 100, connectsPer: time.Second}
	return &krakenFutures{e: e, market: e.opt.Market}
}

// krakenContract writes a contract as the venue does.
func krakenContract(n market.Name, tick uint8) naming {
	coin := func(s string) string {
		if s == "BTC" {
			return "XBT"
		}
		return s
	}
	native, step := "F", uint8(4)
	switch {
	case n.Option != market.OptionNone:
		native = "O"
	case n.End == "PERP":
		native = "P"
	}
	if n.Settle != "" {
		native, step = native+"I", 0
	} else {
		native += "F"
	}
	native += "_" + coin(n.Base) + coin(n.Quote)
	if n.End != "PERP" {
		native += "_" + market.VenueDate("060102", n.End)
	}
	if n.Option != market.OptionNone {
		native += "_" + n.Strike + "_" + strings.ToUpper(n.Option.String()[:1])
	}
	return naming{native, tick, step, max(tick, 1), max(step, 1)}
}

// heartbeat: the venue sends no protocol pings; it wants one each minute.
func (d *krakenFutures) heartbeat(timeout time.Duration) (time.Duration, time.Duration) {
	return -1, timeout
}

func (d *krakenFutures) accepts(path string) bool { return path == "/ws/v1" }

func (d *krakenFutures) open(c *Conn, _ *http.Request) {
	c.frame(time.Now().UnixNano(), About{}, FlagControl, []byte(`{"event":"info","version":1}`))
}

func (d *krakenFutures) message(c *Conn, text []byte) {
	now := time.Now()
	answer := func(b []byte) { c.frame(now.UnixNano(), About{}, FlagControl, b) }
	refuse := func(event, why string) { answer(fmt.Appendf(nil, `{"event":%q,"message":%q}`, event, why)) }
	var m struct {
		Event    string   `json:"event"`
		Feed     string   `json:"feed"`
		Products []string `json:"product_ids"`
	}
	if err := json.Unmarshal(text, &m); err != nil || m.Event != "subscribe" && m.Event != "unsubscribe" {
		refuse("error", "Json Error")
		return
	}
	kind := ChannelTicker
	switch m.Feed {
	case "book":
		kind = ChannelBook
	case "trade":
		kind = ChannelTrades
	case "ticker", "ticker_lite":
	default:
		refuse("error", "Invalid feed")
		return
	}
	for _, product := range m.Products {
		product = strings.ToUpper(product)
		s, name := d.e.mkt.byName[product], m.Feed+"|"+product
		have := slices.ContainsFunc(c.sub, func(st *stream) bool { return st.name == name })
		switch {
		case d.e.take(FaultReject) != nil:
			refuse("alert", "Couldn't "+m.Event+" to invalid product `"+product+"`")
			continue
		case d.e.play != nil:
		case s == nil:
			refuse("alert", "Couldn't "+m.Event+" to invalid product `"+product+"`")
			continue
		case m.Event == "unsubscribe" && !have:
			refuse("alert", "Not subscribed to feed")
			continue
		case m.Event == "subscribe" && have:
			refuse("alert", "Already subscribed to feed, re-requesting")
			d.first(c, d.e.streams[name], now)
			continue
		}
		answer(fmt.Appendf(nil, `{"event":"%sd","feed":%q,"product_ids":[%q]}`, m.Event, m.Feed, product))
		if d.e.play != nil {
			continue
		}
		if m.Event == "unsubscribe" {
			d.e.unsubscribe(c, d.e.streams[name])
			continue
		}
		d.first(c, d.e.subscribe(c, name, func(st *stream) { st.kind, st.sym, st.arg = kind, s, m.Feed }), now)
	}
}

// first sends what a subscription begins with.
func (d *krakenFutures) first(c *Conn, st *stream, now time.Time) {
	if st == nil { // the connection is closing
		return
	}
	about, t := st.about(), now.UnixNano()
	switch st.kind {
	case ChannelBook:
		about.Seq = st.sym.seq
		c.frame(t, about, 0, d.book(nil, st.sym, t))
	case ChannelTrades:
		c.frame(t, about, 0, d.past(nil, st.sym))
	default:
		c.frame(t, about, 0, d.ticker(nil, st.sym, st.arg, t))
	}
}

func (d *krakenFutures) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	if st.kind == ChannelTrades {
		return d.trade(b, s, pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell})
	}
	side, ls := "buy", ev.bids
	if len(ls) == 0 {
		side, ls = "sell", ev.asks
	}
	b = append(append(append(b, `{"feed":"book","product_id":"`...), s.native...), `","side":"`...)
	b = appendInt(append(append(b, side...), `","seq":`...), ev.last)
	b = s.appendPrice(append(b, `,"price":`...), ls[0].slot)
	b = s.appendQty(append(b, `,"qty":`...), ls[0].qty)
	return append(appendInt(append(b, `,"timestamp":`...), ev.now/1_000_000), '}')
}

func (d *krakenFutures) trade(b []byte, s *symbol, t pastTrade) []byte {
	side, kind := "buy", "fill"
	if t.sell {
		side = "sell"
	}
	if t.id%8 == 0 {
		kind = "liquidation"
	}
	b = append(append(append(b, `{"feed":"trade","product_id":"`...), s.native...), `","uid":"00000000-0000-4000-8000-`...)
	b = appendFixed(b, t.id, 0, 0)
	b = append(append(append(append(b, `","side":"`...), side...), `","type":"`...), kind...)
	b = appendInt(append(b, `","seq":`...), t.id)
	b = appendInt(append(b, `,"time":`...), t.now/1_000_000)
	b = s.appendQty(append(b, `,"qty":`...), t.qty)
	return append(s.appendTicks(append(b, `,"price":`...), t.price), '}')
}

// past writes the last 100 trades, newest first.
func (d *krakenFutures) past(b []byte, s *symbol) []byte {
	b = append(append(append(b, `{"feed":"trade_snapshot","product_id":"`...), s.native...), `","trades":[`...)
	n := 0
	for id := s.trade; id > max(s.trade-100, 0); id-- {
		if t := s.recent[id%recentTrades]; t.id == id {
			if n++; n > 1 {
				b = append(b, ',')
			}
			b = d.trade(b, s, t)
		}
	}
	return append(b, `]}`...)
}

// book writes all levels, a ghost bid with them.
func (d *krakenFutures) book(b []byte, s *symbol, now int64) []byte {
	b = append(append(append(b, `{"feed":"book_snapshot","product_id":"`...), s.native...), `","timestamp":`...)
	b = appendInt(append(appendInt(b, now/1_000_000), `,"seq":`...), s.seq)
	n := 0
	add := func(i int, q int64) {
		if n++; n > 1 {
			b = append(b, ',')
		}
		b = s.appendPrice(append(b, `{"price":`...), i)
		b = append(s.appendQty(append(b, `,"qty":`...), q), '}')
	}
	b = append(b, `,"tickSize":null,"bids":[`...)
	if s.ghost != 0 {
		add(s.ghost, 1)
	}
	s.bids(0, func(i int, q int64) {
		if i != s.ghost {
			add(i, q)
		}
	})
	b, n = append(b, `],"asks":[`...), 0
	s.asks(0, add)
	return append(b, `]}`...)
}

// ticker writes a ticker; the lite one has a few of its members and no time.
func (d *krakenFutures) ticker(b []byte, s *symbol, feed string, now int64) []byte {
	price := func(key string, p int64) { b = s.appendTicks(append(b, key...), p) }
	qty := func(key string, q int64) { b = s.appendQty(append(b, key...), q) }
	if feed == "ticker_lite" {
		b = append(append(append(b, `{"feed":"ticker_lite","product_id":"`...), s.native...), '"')
		price(`,"bid":`, s.price(s.bb))
		price(`,"ask":`, s.price(s.ba))
		qty(`,"change":0.5,"premium":0.1,"volume":`, s.volume)
		return append(b, `,"tag":"perpetual","pair":"XBT:USD","dtm":0,"maturityTime":0}`...)
	}
	b = appendInt(append(b, `{"time":`...), now/1_000_000)
	b = append(append(append(b, `,"product_id":"`...), s.native...), '"')
	if s.native[0] == 'P' {
		hour := int64(time.Hour)
		b = append(b, `,"funding_rate":-6.2604214e-11,"funding_rate_prediction":-3.65989977e-10,"relative_funding_rate":-1.380384722222e-6,"relative_funding_rate_prediction":-8.047629166667e-6,"next_funding_rate_time":`...)
		b = appendInt(b, (now-now%hour+hour)/1_000_000)
	}
	price(`,"feed":"ticker","bid":`, s.price(s.bb))
	price(`,"ask":`, s.price(s.ba))
	qty(`,"bid_size":`, s.qty[s.bb])
	qty(`,"ask_size":`, s.qty[s.ba])
	qty(`,"volume":`, s.volume)
	price(`,"dtm":0,"leverage":"50x","index":`, s.last-1)
	price(`,"premium":-0.0,"last":`, s.last)
	price(`,"change":1.99,"suspended":false,"tag":"perpetual","pair":"XBT:USD","openInterest":30072580.0,"markPrice":`, s.last)
	b = s.turnover.append(append(b, `,"maturityTime":0,"post_only":false,"volumeQuote":`...))
	price(`,"open":`, s.open)
	price(`,"high":`, s.high)
	price(`,"low":`, s.low)
	if s.native[0] == 'O' {
		b = append(b, `,"greeks":{"iv":0.55,"delta":0.74,"gamma":0.00002,"vega":61.2,"theta":-25.1,"rho":0.5}`...)
	}
	return append(b, '}')
}

// tick sends tickers each second.
func (d *krakenFutures) tick(now time.Time) {
	t := now.UnixNano()
	for _, st := range d.e.streams {
		if st.kind != ChannelTicker || t-st.sent < int64(time.Second) {
			continue
		}
		st.sent = t
		p, f := d.ticker(nil, st.sym, st.arg, t), d.e.faultFor(st)
		for _, c := range st.subs[0] {
			if f != nil {
				d.e.mangle(f, st.about(), c, t, p)
			} else {
				c.frame(t, st.about(), 0, p)
			}
			d.e.touch(c)
		}
	}
}
