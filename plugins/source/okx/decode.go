package okx

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder has no state but room: what a frame means follows from the frame.
type decoder struct {
	c jsonscan.Cursor
	source.Feed

	m          message // that is being decoded
	bids, asks []market.Level
	symbol     []byte // one that had to be put together
	old        legacy
}

// message is what stands around a channel's data.
type message struct {
	channel, symbol []byte
	action          []byte // of books: snapshot or update
	origin          market.Origin
}

// NewDecoder starts a decoder.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor()}, nil
}

// Decode handles a frame or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText:
		return in.Fail("okx", d.frame(in.Data, out))
	case source.InputBinary:
		data, err := d.old.inflate(in.Data)
		if err == nil {
			err = d.frame(data, out)
		}
		if err != nil {
			return fmt.Errorf("okx: binary frame: %w", err)
		}
	case source.InputHTTP:
		d.c.Reset(in.Data)
		return in.Fail("okx", d.response(in, out))
	}
	return nil
}

// frame reads {"arg":{…},"action":…,"data":[…]}. Data is decoded where it
// stands, if all that it takes came before it, else when the rest was read.
func (d *decoder) frame(frame []byte, out *source.Out) error {
	if string(frame) == "pong" {
		out.Heartbeat()
		return nil
	}
	c, m := &d.c, &d.m
	c.Reset(frame)
	c.Object()
	start := c.Mark()
	*m = message{}
	var body source.Body
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "arg":
			d.arg()
		case "action":
			m.action = c.Str()
		case "data":
			if body.Due(c, m.channel != nil && (m.action != nil || !incremental(m.channel))) {
				if err := d.data(out); err != nil {
					return err
				}
			}
		case "event":
			c.Seek(start)
			return d.event(out)
		case "table":
			c.Seek(start)
			return d.table(out)
		}
	}
	err := body.End(c, m.channel != nil, func() error { return d.data(out) })
	if err == nil && !body.Done {
		err = fmt.Errorf("neither a channel's data nor an event")
	}
	return err
}

// incremental channels say whether data is a snapshot.
func incremental(channel []byte) bool {
	return bytes.HasPrefix(channel, []byte("books")) && string(channel) != feedFive
}

func (d *decoder) arg() {
	c, m := &d.c, &d.m
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "channel":
			m.channel = c.Str()
		case "instId":
			m.symbol = c.Str()
		}
	}
}

// data decodes a channel's data, which is due.
func (d *decoder) data(out *source.Out) error {
	c := &d.c
	one := (*decoder).book
	switch channel := d.m.channel; string(channel) {
	case "trades", "trades-all":
		one = (*decoder).trade
	case feedBooks, feedFive, feed50, feed400:
	case "bbo-tbt":
		one = (*decoder).bbo
	case "tickers":
		one = (*decoder).ticker
	case "funding-rate":
		one = (*decoder).funding
	case "mark-price":
		one = (*decoder).markPrice
	case "index-tickers":
		one = (*decoder).indexPrice
	case "open-interest":
		one = (*decoder).openInterest
	case "liquidation-orders":
		one = (*decoder).liquidations
	case "opt-summary":
		one = (*decoder).summary
	case "instruments":
		one = (*decoder).instrument
	default:
		if native, ok := bytes.CutPrefix(channel, []byte("candle")); ok {
			return d.candles(native, out)
		}
		if err := c.Err(); err != nil {
			return err
		}
		return fmt.Errorf("at byte %d: unknown channel %.40q", c.Offset(), channel)
	}
	return source.Each(c, d, out, one)
}

// trade decodes a trade. One that has a count is what an order took at a price:
// its id is that of the last of so many.
func (d *decoder) trade(out *source.Out) error {
	c := &d.c
	var t market.Trade // field by field: this is where most frames come through
	t.Channel, t.Origin = market.ChannelTrades, d.m.origin
	t.TsSend, t.Seq, t.PrevSeq, t.FirstID, t.LastID = market.None, market.None, market.None, market.None, market.None
	symbol, count := d.m.symbol, int64(0)
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instId":
			symbol = c.Str()
		case "tradeId":
			t.Seq = c.Int64()
			t.ID = c.Lexeme()
		case "px":
			t.Price = source.Decimal(c)
		case "sz":
			t.Amount = source.Decimal(c)
		case "side":
			t.Side = source.Side(c.Str(), "buy", "sell")
		case "ts":
			t.Ts = source.Millis(c)
		case "count":
			count = c.Int64()
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(&d.c, "a trade", "instId, tradeId, px, sz or side")
	}
	if count > 0 {
		t.Flags, t.FirstID, t.LastID = market.FlagAggregate, t.Seq-count+1, t.Seq
	}
	t.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Trade(&t)
	return nil
}

// book decodes a snapshot or changes.
func (d *decoder) book(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookSnapshot)
	symbol, sides := d.m.symbol, 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "asks":
			d.asks = source.Levels(c, d.asks[:0])
			sides |= 1
		case "bids":
			d.bids = source.Levels(c, d.bids[:0])
			sides |= 2
		case "ts":
			b.Ts = source.Millis(c)
		case "checksum":
			b.Checksum = c.Int64()
		case "seqId":
			b.Seq = c.Int64()
		case "prevSeqId":
			b.PrevSeq = c.Int64()
		case "instId":
			symbol = c.Str()
		default:
			c.Skip()
		}
	}
	if symbol == nil || sides != 3 {
		return source.Lacks(&d.c, "a book", "instId, asks or bids")
	}
	switch string(d.m.channel) {
	case feedFive: // whole each time, also after the venue has begun to count anew
		b.Depth, b.Flags = 5, market.FlagReset
	case feed50:
		b.Depth = 50
	default:
		b.Depth = 400
	}
	if string(d.m.action) == "update" {
		b.Kind = market.KindBookDelta
		if b.Seq != market.None && b.Seq == b.PrevSeq { // nothing happened for a minute
			b.Flags = market.FlagKeepAlive
		}
	}
	if b.Kind == market.KindBookSnapshot && b.Seq == market.None && d.m.action != nil {
		b.Flags = market.FlagReset // from before numbers: nothing that came earlier fits on
	}
	if b.PrevSeq == -1 { // of a snapshot
		b.PrevSeq = market.None
	}
	if b.Checksum == 0 && b.Seq != market.None { // the field is still there, the sum isn't
		b.Checksum = market.None
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Book(&b)
	return nil
}

// bbo decodes a book of one level a side; a side may be empty.
func (d *decoder) bbo(out *source.Out) error {
	c := &d.c
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	symbol := d.m.symbol
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	sides := 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "asks":
			d.asks = source.Levels(c, d.asks)
			sides |= 1
		case "bids":
			d.bids = source.Levels(c, d.bids)
			sides |= 2
		case "ts":
			t.Ts = source.Millis(c)
		case "seqId":
			t.Seq = c.Int64()
		case "instId":
			symbol = c.Str()
		default:
			c.Skip()
		}
	}
	if symbol == nil || sides != 3 {
		return source.Lacks(&d.c, "a best bid and offer", "instId, asks or bids")
	}
	source.Best(&t, d.bids, d.asks)
	t.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.BBO(&t)
	return nil
}

// ticker decodes a ticker. volCcy24h counts the quote currency of pairs, the
// base currency of contracts.
func (d *decoder) ticker(out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	symbol := d.m.symbol
	var turnover market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instId":
			symbol = c.Str()
		case "last":
			t.Last = source.DecimalOrNull(c)
		case "lastSz":
			t.LastAmount = source.DecimalOrNull(c)
		case "askPx":
			t.AskPrice = source.DecimalOrNull(c)
		case "askSz":
			t.AskAmount = source.DecimalOrNull(c)
		case "bidPx":
			t.BidPrice = source.DecimalOrNull(c)
		case "bidSz":
			t.BidAmount = source.DecimalOrNull(c)
		case "open24h":
			t.Open = source.DecimalOrNull(c)
		case "high24h":
			t.High = source.DecimalOrNull(c)
		case "low24h":
			t.Low = source.DecimalOrNull(c)
		case "vol24h":
			t.Volume = source.DecimalOrNull(c)
		case "volCcy24h":
			turnover = source.DecimalOrNull(c)
		case "ts":
			t.Ts = source.Millis(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Ts == 0 {
		return source.Lacks(&d.c, "a ticker", "instId or ts")
	}
	m := marketOf(symbol)
	if m == market.MarketSpot {
		t.QuoteVolume = turnover
	}
	t.Instrument = out.SymbolIn(m, symbol)
	out.Ticker(&t)
	return nil
}

// event decodes what the venue says to a request, and what it announces:
// {"id":"1","event":"subscribe","arg":{…}}, {"event":"error","code":"60018","msg":"…"}.
func (d *decoder) event(out *source.Out) error {
	c, m := &d.c, &d.m
	var event, token, code, reason, channel []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "event":
			event = c.Str()
		case "id":
			token = c.NumOrStr()
		case "code", "errorCode":
			code = c.NumOrStr()
		case "msg", "message":
			reason = c.Str()
		case "arg":
			d.arg()
		case "channel": // of API v3
			channel = c.Str()
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	if channel != nil {
		m.channel, m.symbol, _ = bytes.Cut(channel, []byte{':'})
	}
	switch string(event) {
	case "subscribe":
		out.Subscribed(token)
	case "unsubscribe":
		if m.symbol != nil && (incremental(m.channel) || string(m.channel) == feedFive || bytes.Contains(m.channel, []byte("/depth"))) {
			out.EndBook(out.SymbolIn(marketOf(m.symbol), m.symbol))
		}
		out.Subscribed(token)
	case "error", "channel-conn-count-error":
		if len(token) == 0 && ofLogin(code) {
			token = []byte(loginToken) // a login has no id
		}
		out.Rejected(token, fmt.Appendf(nil, "%s: %.300s", code, reason))
	case "login":
		out.Ready(loginToken)
	case "notice": // 64008: a minute before the service is upgraded
		out.Reconnect(fmt.Sprintf("the venue announces %s: %.200s", code, reason))
	case "channel-conn-count":
		out.Heartbeat()
	default:
		return fmt.Errorf("unknown event %.40q", event)
	}
	return nil
}

// ofLogin tells the codes of a refused login from those of a subscription
// (web3.okx.com/onchainos/dev-docs/market/websocket-error-code, read 2026-11-23).
func ofLogin(code []byte) bool {
	switch string(code) {
	case "60004", "60005", "60006", "60007", "60009", "60014", "60021", "60022", "60023", "60024", "60026", "60031", "63999":
		return true
	}
	return false
}

var envelope = source.Envelope{Code: "code", OK: "0", Reason: "msg", Data: "data"}

// response decodes {"code":"0","msg":"","data":[…]} by the path of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c, m := &d.c, &d.m
	name, asked := in.Asked()
	if bytes.Contains(in.URL, []byte("/v3/")) {
		return d.responseV3(in, out)
	}
	if _, err := envelope.Open(c, in); err != nil {
		return err
	}
	*m = message{symbol: []byte(asked.Get("instId"))}
	switch name {
	case "trades", "history-trades":
		m.channel, m.origin = []byte("trades"), market.OriginBackfill
	case "books", "books-full":
		m.channel = []byte(feedBooks)
	case "ticker", "tickers":
		m.channel = []byte("tickers")
	case "candles", "history-candles":
		m.channel, m.origin = []byte("candle"+asked.Get("bar")), market.OriginBackfill
	case "index-tickers", "mark-price", "open-interest", "funding-rate", "opt-summary", "instruments", "liquidation-orders":
		m.channel = []byte(name)
	default:
		return fmt.Errorf("no such request is known")
	}
	if err := d.data(out); err != nil {
		return err
	}
	return c.End()
}

// length is a candle's by the venue's name of it: "1H", "1Dutc"; local: by the days
// of Hong Kong.
func length(native []byte) (i *source.Interval, local bool) {
	for i := range intervals {
		l := &intervals[i]
		if string(native) == l.Native || string(native) == strings.TrimSuffix(l.Native, "utc") {
			return l, string(native) != l.Native
		}
	}
	return nil, false
}
