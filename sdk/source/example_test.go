package source_test

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin is that of docs/plugins.md; the parts of a source that it lacks are those
// that a venue's names are most of.
type plugin struct{ source.Source }

func (p *plugin) Describe() source.Manifest { return source.Manifest{Venue: "acme"} }

func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	return market.Instrument{}
}

var intervals = source.NewIntervals("1m=1 5m=5 1h=60 1d=D")

func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	return source.DialAndSubscribe(p, r)
}

func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	op := r.Op("subscribe", "unsubscribe")
	return source.FrameEach(r, topics, func(topic string) source.Frame {
		id := source.RequestID(op, topic)
		return source.Frame{Token: id, Data: fmt.Sprintf(`{"id":%s,"op":%q,"args":[%q]}`, id, op, topic)}
	})
}

func topics(_ market.Market, sub source.Subscription) ([]string, error) {
	switch sub.Channel {
	case market.ChannelTrades:
		return []string{"trade." + sub.Symbol}, nil
	case market.ChannelTicker, market.ChannelFunding: // one topic brings both
		return []string{"ticker." + sub.Symbol}, nil
	case market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) string { return "candle." + i.Native + "." + sub.Symbol })
	}
	return nil, fmt.Errorf("acme: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

type decoder struct {
	c jsonscan.Cursor
	source.Feed
	topic []byte // of the data that is being decoded
}

func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{c: source.NewCursor(), Feed: s.Feed()}, nil
}

func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	if in.Kind != source.InputText {
		return nil
	}
	return in.Fail("acme", d.frame(in.Data, out))
}

// frame reads {"topic":"trade.BTCUSDT","data":[{…},…]}, whose members come in any order.
func (d *decoder) frame(frame []byte, out *source.Out) error {
	c := &d.c
	c.Reset(frame)
	d.topic = nil
	var body source.Body
	read := func() error { return source.Each(c, d, out, (*decoder).trade) }
	for c.Object(); c.Key(); {
		switch string(c.KeyBytes()) {
		case "topic":
			d.topic = c.Str()
		case "data":
			if body.Due(c, d.topic != nil) {
				if err := read(); err != nil {
					return err
				}
			}
		}
	}
	err := body.End(c, d.topic != nil, read) // the frame is cut short, or the venue changed something
	if err == nil && !body.Done {
		err = errors.New("no topic's data")
	}
	return err
}

// trade reads {"i":12345,"p":"61602.01","q":"0.5","m":true,"t":1672515782130}.
func (d *decoder) trade(out *source.Out) error {
	c := &d.c
	t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "i":
			t.ID = c.NumOrStr() // the text as sent
		case "p":
			t.Price = source.Decimal(c)
		case "q":
			t.Amount = source.Decimal(c)
		case "m": // the buyer was the maker: the taker sold
			t.Side = market.SideBuy
			if c.Bool() {
				t.Side = market.SideSell
			}
		case "t":
			t.Ts = source.Millis(c)
		default:
			c.Skip()
		}
	}
	if t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(c, "a trade", "i, p, q or m")
	}
	_, symbol, _ := bytes.Cut(d.topic, []byte("."))
	t.Instrument = out.Symbol(symbol)
	out.Trade(&t)
	return nil
}

// Example renders the frames of three subscriptions, two of which share a topic,
// and decodes a trade whose topic stands behind it.
func Example() {
	p := &plugin{}
	frames, err := p.Frames(source.FrameRequest{Subscriptions: []source.Subscription{
		{Channel: market.ChannelTicker, Symbol: "BTCUSDT"}, {Channel: market.ChannelCandles, Symbol: "BTCUSDT"}, {Channel: market.ChannelFunding, Symbol: "BTCUSDT"},
	}})
	for _, f := range frames {
		fmt.Println(f.Data, f.Subs)
	}
	d, err2 := p.NewDecoder(source.DecoderSettings{Market: market.MarketLinear})
	out, in := source.NewOut(p, market.MarketLinear), &source.Input{Kind: source.InputText, Recv: 1}
	for _, frame := range []string{
		`{"data":[{"i":12345,"p":"61602.01","q":"0.5","m":true,"t":1672515782130}],"topic":"trade.BTCUSDT"}`,
		`{"data":[{"i":12345,"p":"61602.01"}],"topic":"trade.BTCUSDT"}`,
	} {
		in.Data = []byte(frame)
		out.Begin(in)
		err3 := d.Decode(in, out)
		for b := out.Bytes(); len(b) > 0; b = b[market.View(b).Size():] {
			if v := market.View(b); !source.IsSignal(b) {
				fmt.Println(v.Kind(), v.TradePrice(), v.TradeSide(), v.Ts())
			}
		}
		fmt.Println(errors.Join(err, err2, err3))
	}
	// Output:
	// {"id":680316696,"op":"subscribe","args":["ticker.BTCUSDT"]} [0 2]
	// {"id":764897934,"op":"subscribe","args":["candle.1.BTCUSDT"]} [1]
	// trade 61602.01 sell 1672515782130000000
	// <nil>
	// acme: frame: at byte 35: a trade without i, p, q or m
}
