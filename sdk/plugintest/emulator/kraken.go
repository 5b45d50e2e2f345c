package emulator

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Kraken spot, WebSocket v2 (docs.kraken.com/exchange/api-reference/spot-websocket-v2),
// as of November 2026.
// Contracts speak another protocol: see kraken_futures.go.
var krakenVenue = venue{
	markets: []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse, market.MarketOption},
	new: func(e *Emulator) dialect {
		if e.opt.Market != market.MarketSpot {
			return newKrakenFutures(e)
		}
		return &kraken{e: e}
	},
	symbols: func(o Options, n market.Name, price float64) naming {
		d := tickDecimals(price)
		if o.Market != market.MarketSpot {
			return krakenContract(n, d)
		}
		return naming{n.Base + "/" + n.Quote, d, 8, d, 8}
	},
	defaults: func(m market.Market) []string {
		switch m {
		case market.MarketLinear:
			return []string{"BTC-USD-PERP", "ETH-USD-PERP"}
		case market.MarketInverse:
			return []string{"BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"}
		case market.MarketOption:
			return []string{"BTC-USD-20301227-100000-C", "ETH-USD-20301227-5000-P"}
		}
		return []string{"BTC-USD", "ETH-USD"}
	},
	limits: limits{messages: 20, streams: 10_000, connects: 150, connectsPer: 10 * time.Minute},
}

func init() { venues["kraken"] = krakenVenue }

type kraken struct {
	e    *Emulator
	beat int64 // of the last heartbeats
}

// heartbeat: the venue sends no protocol pings. A client that is silent for a
// minute without a subscription is cut; one with subscriptions is not.
func (d *kraken) heartbeat(timeout time.Duration) (time.Duration, time.Duration) { return -1, timeout }

func (d *kraken) accepts(path string) bool { return path == "/v2" || path == "/" || path == "" }

func (d *kraken) open(c *Conn, _ *http.Request) {
	c.frame(time.Now().UnixNano(), About{}, FlagControl, fmt.Appendf(nil,
		`{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":%d}]}`, 7_000_000_000+int64(c.id)))
}

type krakenRequest struct {
	Method string `json:"method"`
	Params struct {
		Channel  string   `json:"channel"`
		Symbol   []string `json:"symbol"`
		Depth    int      `json:"depth"`
		Interval int      `json:"interval"`
		Snapshot *bool    `json:"snapshot"`
		Trigger  string   `json:"event_trigger"`
	} `json:"params"`
	ReqID json.RawMessage `json:"req_id"`
}

func (d *kraken) message(c *Conn, text []byte) {
	now := time.Now()
	answer := func(b []byte) { c.frame(now.UnixNano(), About{}, FlagControl, b) }
	var m krakenRequest
	if err := json.Unmarshal(text, &m); err != nil {
		answer([]byte(`{"error":"Malformed request","success":false}`))
		return
	}
	tail := func(b []byte) []byte {
		b = append(appendStamp(append(b, `,"time_in":"`...), now), `","time_out":"`...)
		b = append(appendStamp(b, time.Now()), '"')
		if len(m.ReqID) > 0 {
			b = append(append(b, `,"req_id":`...), m.ReqID...)
		}
		return append(b, '}')
	}
	refuse := func(why, sym string) {
		b := append(append([]byte(`{"error":`), strconv.Quote(why)...), `,"method":`...)
		b = append(append(b, strconv.Quote(m.Method)...), `,"success":false`...)
		if sym != "" {
			b = append(append(b, `,"symbol":`...), strconv.Quote(sym)...)
		}
		answer(tail(b))
	}
	switch m.Method {
	case "ping":
		answer(tail([]byte(`{"method":"pong"`)))
		return
	case "subscribe", "unsubscribe":
	default:
		refuse("Method not supported", "")
		return
	}
	p := &m.Params
	switch p.Channel {
	case "book":
		if p.Depth == 0 {
			p.Depth = 10
		}
		if !slices.Contains([]int{10, 25, 100, 500, 1000}, p.Depth) {
			refuse("Subscription depth not supported", "")
			return
		}
	case "ohlc":
		if p.Interval == 0 {
			p.Interval = 1
		}
		if !slices.Contains([]int{1, 5, 15, 30, 60, 240, 1440, 10080, 21600}, p.Interval) {
			refuse("Subscription ohlc interval not supported", "")
			return
		}
	case "instrument":
		p.Symbol = []string{""}
	case "trade", "ticker":
	default:
		refuse("Channel not supported", "")
		return
	}
	reject := m.Method == "subscribe" && d.e.take(FaultReject) != nil
	for _, sym := range p.Symbol {
		s := d.e.mkt.byName[sym]
		switch {
		case reject:
			refuse("Subscription refused by the emulator", sym)
			continue
		case s == nil && p.Channel != "instrument" && d.e.play == nil:
			refuse("Currency pair not supported "+sym, sym)
			continue
		}
		d.one(c, &m, s, sym, answer, tail, refuse)
	}
}

// one subscribes or unsubscribes one symbol: an acknowledgement, then the
// snapshot, then what follows.
func (d *kraken) one(c *Conn, m *krakenRequest, s *symbol, sym string, answer func([]byte), tail func([]byte) []byte, refuse func(why, sym string)) {
	p := &m.Params
	name, kind := p.Channel, ChannelInstruments
	snapshot := p.Channel != "trade"
	if p.Snapshot != nil {
		snapshot = *p.Snapshot
	}
	if sym != "" {
		name += ":" + sym
	}
	switch p.Channel {
	case "book":
		kind, name = ChannelBook, name+":"+strconv.Itoa(p.Depth)
	case "ohlc":
		kind, name = ChannelCandles, name+":"+strconv.Itoa(p.Interval)
	case "trade":
		kind = ChannelTrades
	case "ticker":
		if kind = ChannelTicker; p.Trigger == "bbo" {
			kind, name = ChannelBBO, name+":bbo"
		}
	}
	ack := append([]byte(`{"method":"`), m.Method...)
	ack = append(append(append(ack, `","result":{"channel":"`...), p.Channel...), '"')
	switch kind {
	case ChannelBook:
		ack = appendInt(append(ack, `,"depth":`...), int64(p.Depth))
	case ChannelCandles:
		ack = appendInt(append(ack, `,"interval":`...), int64(p.Interval))
	}
	if m.Method == "subscribe" {
		ack = appendBool(append(ack, `,"snapshot":`...), snapshot)
	}
	if sym != "" {
		ack = append(append(ack, `,"symbol":`...), strconv.Quote(sym)...)
	}
	ack = tail(append(ack, `},"success":true`...))
	st := d.e.streams[name]
	if m.Method == "unsubscribe" {
		if st == nil || !slices.Contains(c.sub, st) {
			refuse("Subscription Not Found", p.Channel)
			return
		}
		d.e.unsubscribe(c, st)
		answer(ack)
		return
	}
	// A connection has a symbol's ticker once, whatever triggers it.
	ticker := func(x *stream) bool {
		return p.Channel == "ticker" && x.sym == s && (x.kind == ChannelTicker || x.kind == ChannelBBO)
	}
	if st != nil && slices.Contains(c.sub, st) || slices.ContainsFunc(c.sub, ticker) {
		refuse("Already subscribed", sym)
		return
	}
	answer(ack)
	st = d.e.subscribe(c, name, func(st *stream) {
		st.kind, st.sym, st.depth = kind, s, p.Depth
		switch kind {
		case ChannelBook:
			v := &krakenView{}
			v.bids, v.asks = s.view(v.bids, v.asks, p.Depth)
			st.state = v
		case ChannelCandles:
			cd := &candle{name: strconv.Itoa(p.Interval), every: int64(p.Interval) * int64(time.Minute), decimals: s.tick + s.step}
			cd.roll(time.Now().UnixNano(), s.last)
			st.state, s.candles = cd, append(s.candles, cd)
		}
	})
	if st == nil || !snapshot {
		return
	}
	now := time.Now().UnixNano()
	var b []byte
	switch kind {
	case ChannelBook:
		b = d.book(nil, st, "snapshot", now)
	case ChannelTrades:
		b = d.tradeHistory(s)
	case ChannelTicker, ChannelBBO:
		b = d.ticker(nil, s, "snapshot", now)
	case ChannelCandles:
		b = d.ohlc(nil, s, st.state.(*candle), "snapshot", now)
	case ChannelInstruments:
		b = d.instruments()
	}
	c.frame(now, st.about(), 0, b)
}

// krakenView is what subscribers of a depth know of a book.
type krakenView struct {
	bids, asks         []level
	newBids, newAsks   []level
	bidDiffs, askDiffs []level
}

// view fills the best n levels of each side, a ghost bid included.
func (s *symbol) view(bids, asks []level, n int) ([]level, []level) {
	bids, asks = bids[:0], asks[:0]
	if s.ghost != 0 {
		bids = append(bids, level{s.ghost, 1})
	}
	s.bids(n-len(bids), func(i int, q int64) {
		if i != s.ghost {
			bids = append(bids, level{i, q})
		}
	})
	s.asks(n, func(i int, q int64) { asks = append(asks, level{i, q}) })
	return bids, asks
}

// diff appends what turns the old levels into the new ones. A level that was
// pushed out is not named: the client cuts its book to the depth itself.
func diff(out, old, now []level, dir int, still func(slot int) bool) []level {
	i, j := 0, 0
	for i < len(old) || j < len(now) {
		switch {
		case i < len(old) && j < len(now) && old[i].slot == now[j].slot:
			if old[i].qty != now[j].qty {
				out = append(out, now[j])
			}
			i, j = i+1, j+1
		case i == len(old) || j < len(now) && (now[j].slot-old[i].slot)*dir < 0:
			out = append(out, now[j])
			j++
		default:
			if !still(old[i].slot) {
				out = append(out, level{old[i].slot, 0})
			}
			i++
		}
	}
	return out
}

func (d *kraken) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	switch st.kind {
	case ChannelTrades:
		b = append(b, `{"channel":"trade","type":"update","data":[`...)
		b = s.appendKrakenTrade(b, pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell})
		return append(b, `]}`...)
	case ChannelBook:
		v := st.state.(*krakenView)
		v.newBids, v.newAsks = s.view(v.newBids, v.newAsks, st.depth)
		v.bidDiffs = diff(v.bidDiffs[:0], v.bids, v.newBids, -1, func(i int) bool { return i == s.ghost || i <= s.bb && s.qty[i] != 0 })
		v.askDiffs = diff(v.askDiffs[:0], v.asks, v.newAsks, 1, func(i int) bool { return i >= s.ba && s.qty[i] != 0 })
		v.bids, v.newBids = v.newBids, v.bids
		v.asks, v.newAsks = v.newAsks, v.asks
		if len(v.bidDiffs)+len(v.askDiffs) == 0 {
			return b
		}
		return d.book(b, st, "update", ev.now)
	case ChannelBBO:
		return d.ticker(b, s, "update", ev.now)
	}
	return b
}

func (s *symbol) appendKrakenTrade(b []byte, t pastTrade) []byte {
	side, kind := "buy", "market"
	if t.sell {
		side = "sell"
	}
	if t.id%3 == 0 {
		kind = "limit"
	}
	b = append(append(append(b, `{"symbol":"`...), s.native...), `","side":"`...)
	b = s.appendTicks(append(append(b, side...), `","price":`...), t.price)
	b = s.appendQty(append(b, `,"qty":`...), t.qty)
	b = append(append(append(b, `,"ord_type":"`...), kind...), `","trade_id":`...)
	b = append(appendInt(b, t.id), `,"timestamp":"`...)
	return append(appendStamp(b, time.Unix(0, t.now)), `"}`...)
}

// book writes a snapshot of the view, or what the last event changed of it,
// with the checksum of the view.
func (d *kraken) book(b []byte, st *stream, kind string, now int64) []byte {
	s, v := st.sym, st.state.(*krakenView)
	bids, asks := v.bids, v.asks
	if kind == "update" {
		bids, asks = v.bidDiffs, v.askDiffs
	}
	side := func(ls []level) {
		for i, l := range ls {
			if i > 0 {
				b = append(b, ',')
			}
			b = s.appendPrice(append(b, `{"price":`...), l.slot)
			b = append(s.appendQty(append(b, `,"qty":`...), l.qty), '}')
		}
	}
	b = append(append(append(b, `{"channel":"book","type":"`...), kind...), `","data":[{"symbol":"`...)
	b = append(append(b, s.native...), `","bids":[`...)
	side(bids)
	b = append(b, `],"asks":[`...)
	side(asks)
	b = appendInt(append(b, `],"checksum":`...), int64(s.krakenChecksum(v)))
	b = appendStamp(append(b, `,"timestamp":"`...), time.Unix(0, now))
	return append(b, `"}]}`...)
}

// krakenChecksum is the CRC-32 of the digits of the ten best levels, asks first.
func (s *symbol) krakenChecksum(v *krakenView) uint32 {
	var buf [1024]byte
	var num [40]byte
	b := buf[:0]
	put := func(text []byte) {
		lead := true
		for _, ch := range text {
			if ch == '.' || lead && ch == '0' {
				continue
			}
			lead = false
			b = append(b, ch)
		}
	}
	for _, side := range [][]level{v.asks, v.bids} {
		for _, l := range side[:min(10, len(side))] {
			put(s.appendPrice(num[:0], l.slot))
			put(s.appendQty(num[:0], l.qty))
		}
	}
	return crc32.ChecksumIEEE(b)
}

func appendStamp(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
}

func (d *kraken) tradeHistory(s *symbol) []byte {
	b := []byte(`{"channel":"trade","type":"snapshot","data":[`)
	n := 0
	for id := s.trade - 49; id <= s.trade; id++ {
		if t := s.recent[((id%recentTrades)+recentTrades)%recentTrades]; t.id == id && id > 0 {
			if n++; n > 1 {
				b = append(b, ',')
			}
			b = s.appendKrakenTrade(b, t)
		}
	}
	return append(b, `]}`...)
}

func (d *kraken) ticker(b []byte, s *symbol, kind string, now int64) []byte {
	b = append(append(append(b, `{"channel":"ticker","type":"`...), kind...), `","data":[{"symbol":"`...)
	b = append(append(b, s.native...), '"')
	price := func(key string, p int64) { b = s.appendTicks(append(b, key...), p) }
	qty := func(key string, q int64) { b = s.appendQty(append(b, key...), q) }
	price(`,"bid":`, s.price(s.bb))
	qty(`,"bid_qty":`, s.qty[s.bb])
	price(`,"ask":`, s.price(s.ba))
	qty(`,"ask_qty":`, s.qty[s.ba])
	price(`,"last":`, s.last)
	qty(`,"volume":`, s.volume)
	price(`,"vwap":`, s.last)
	price(`,"low":`, s.low)
	price(`,"high":`, s.high)
	price(`,"change":`, s.last-s.open)
	b = appendFixed(append(b, `,"change_pct":`...), (s.last-s.open)*10_000/s.open, 2, 2)
	b = appendStamp(append(b, `,"timestamp":"`...), time.Unix(0, now))
	return append(b, `"}]}`...)
}

func (d *kraken) ohlc(b []byte, s *symbol, c *candle, kind string, now int64) []byte {
	b = append(append(append(b, `{"channel":"ohlc","type":"`...), kind...), `","timestamp":"`...)
	b = append(appendStamp(b, time.Unix(0, now)), `","data":[{"symbol":"`...)
	b = append(append(b, s.native...), '"')
	for _, x := range []struct {
		key string
		p   int64
	}{{`,"open":`, c.open}, {`,"high":`, c.high}, {`,"low":`, c.low}, {`,"close":`, c.close}} {
		b = s.appendTicks(append(b, x.key...), x.p)
	}
	b = appendInt(append(b, `,"trades":`...), c.trades)
	b = s.appendQty(append(b, `,"volume":`...), c.volume)
	b = s.appendTicks(append(b, `,"vwap":`...), c.close)
	b = time.Unix(0, c.start).UTC().AppendFormat(append(b, `,"interval_begin":"`...), "2006-01-02T15:04:05.000000000Z")
	b = append(append(append(b, `","interval":`...), c.name...), `,"timestamp":"`...)
	return append(appendStamp(b, time.Unix(0, c.start+c.every)), `"}]}`...)
}

func (d *kraken) instruments() []byte {
	type num = json.Number
	assets, pairs, seen := []obj{}, []obj{}, map[string]bool{}
	for _, s := range d.e.mkt.syms {
		for _, a := range []string{s.base, s.quote} {
			if !seen[a] {
				seen[a] = true
				assets = append(assets, obj{"id": a, "status": "enabled", "precision": 10, "precision_display": 5, "borrowable": true, "collateral_value": num("1.00"), "margin_rate": num("0.02")})
			}
		}
		tick, step := num(appendFixed(nil, 1, s.tick, s.printTick)), num(appendFixed(nil, 1, s.step, s.printStep))
		pairs = append(pairs, obj{"symbol": s.native, "base": s.base, "quote": s.quote, "status": "online", "marginable": false, "has_index": true,
			"price_precision": s.printTick, "price_increment": tick, "tick_size": tick, "qty_precision": s.printStep, "qty_increment": step,
			"qty_min": step, "cost_precision": 5, "cost_min": num("0.5")})
	}
	b, err := json.Marshal(obj{"channel": "instrument", "type": "snapshot", "data": obj{"assets": assets, "pairs": pairs}})
	if err != nil {
		return []byte(`{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[]}}`)
	}
	return b
}

// tick sends heartbeats each second to connections with a subscription, and
// tickers and candles that trades have changed.
func (d *kraken) tick(now time.Time) {
	if now.UnixNano()-d.beat >= int64(time.Second) {
		d.beat = now.UnixNano()
		for _, c := range d.e.all() {
			if len(c.sub) > 0 {
				c.frame(d.beat, About{}, FlagControl, []byte(`{"channel":"heartbeat"}`))
				d.e.touch(c)
			}
		}
	}
	for _, st := range d.e.streams {
		var p []byte
		switch st.kind {
		case ChannelTicker:
			if st.sent == st.sym.trade {
				continue
			}
			st.sent = st.sym.trade
			p = d.ticker(nil, st.sym, "update", now.UnixNano())
		case ChannelCandles:
			cd := st.state.(*candle)
			cd.closed = nil
			if st.sent == st.sym.trade {
				continue
			}
			st.sent = st.sym.trade
			p = d.ohlc(nil, st.sym, cd, "update", now.UnixNano())
		default:
			continue
		}
		f := d.e.faultFor(st)
		for _, c := range st.subs[0] {
			if f != nil {
				d.e.mangle(f, st.about(), c, now.UnixNano(), p)
			} else {
				c.frame(now.UnixNano(), st.about(), 0, p)
			}
			d.e.touch(c)
		}
	}
}

// http answers the public endpoints of the REST API that a collector uses.
func (d *kraken) http(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/0/public/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	d.e.mu.Lock()
	result, err := d.answer(path, r)
	d.e.mu.Unlock()
	o := obj{"error": []string{}, "result": result}
	if err != "" {
		o = obj{"error": []string{err}}
	}
	b, _ := json.Marshal(o)
	d.e.reply(w, r, http.StatusOK, b)
}

func (d *kraken) answer(path string, r *http.Request) (any, string) {
	now := time.Now()
	switch path {
	case "Time":
		return obj{"unixtime": now.Unix(), "rfc1123": now.UTC().Format(time.RFC1123)}, ""
	case "SystemStatus":
		return obj{"status": "online", "timestamp": now.UTC().Format(time.RFC3339)}, ""
	case "AssetPairs":
		o := obj{}
		for _, s := range d.e.mkt.listed() {
			o[s.base+s.quote] = obj{"altname": s.base + s.quote, "wsname": s.native, "base": s.base, "quote": s.quote, "lot": "unit",
				"pair_decimals": s.printTick, "lot_decimals": s.printStep, "cost_decimals": 5, "lot_multiplier": 1, "ordermin": "0.0001",
				"costmin": "0.5", "tick_size": string(appendFixed(nil, 1, s.tick, s.printTick)), "status": s.statusOr("online")}
		}
		return o, ""
	}
	pair := strings.ReplaceAll(r.URL.Query().Get("pair"), "/", "")
	for _, s := range d.e.mkt.syms {
		if s.base+s.quote != pair {
			continue
		}
		price := func(p int64) string { return string(s.appendTicks(nil, p)) }
		switch path {
		case "Depth":
			n, _ := strconv.Atoi(r.URL.Query().Get("count"))
			if n <= 0 {
				n = 100
			}
			bids, asks := [][3]any{}, [][3]any{}
			row := func(i int, q int64) [3]any {
				return [3]any{price(s.price(i)), string(s.appendQty(nil, q)), now.Unix()}
			}
			s.bids(n, func(i int, q int64) { bids = append(bids, row(i, q)) })
			s.asks(n, func(i int, q int64) { asks = append(asks, row(i, q)) })
			return obj{pair: obj{"bids": bids, "asks": asks}}, ""
		case "Trades":
			rows, last := [][]any{}, int64(0)
			since, _ := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
			for id := s.trade - recentTrades + 1; id <= s.trade; id++ {
				t := s.recent[((id%recentTrades)+recentTrades)%recentTrades]
				if t.id != id || t.now <= since || len(rows) >= 1000 {
					continue
				}
				side := "b"
				if t.sell {
					side = "s"
				}
				rows, last = append(rows, []any{price(t.price), string(s.appendQty(nil, t.qty)), float64(t.now/1000) / 1e6, side, "m", "", t.id}), t.now
			}
			return obj{pair: rows, "last": strconv.FormatInt(last, 10)}, ""
		}
		return nil, "EGeneral:Unknown method"
	}
	return nil, "EQuery:Unknown asset pair"
}
