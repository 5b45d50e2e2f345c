package bitfinex

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Flags of a connection: the time of sending and a number in each frame (32768,
// 65536), checksums of books (131072).
const flags = 32768 + 65536 + 131072

// ready is what a session waits for: frames that came before the flags are in
// force would have no number.
const ready = "conf"

// Session dials, sets the flags, and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	script, err := source.DialAndSubscribe(p, r)
	if err == nil {
		script.Steps = slices.Insert(script.Steps, 1,
			source.Step{Send: &source.Frame{Data: `{"event":"conf","flags":` + strconv.Itoa(flags) + `}`}},
			source.Step{Await: &source.Await{Token: ready, Timeout: 10 * time.Second}})
	}
	return script, err
}

// request subscribes a channel. What it says is its subId, which the venue gives
// back: a plugin has no counter that would outlive a restart.
type request struct {
	Event   string `json:"event"`
	Channel string `json:"channel"`
	Symbol  string `json:"symbol,omitempty"`
	Key     string `json:"key,omitempty"`
	Prec    string `json:"prec,omitempty"`
	Freq    string `json:"freq,omitempty"`
	Len     string `json:"len,omitempty"`
	SubID   string `json:"subId"`
}

// token names a subscription by what the venue's answers repeat of it.
func token(channel, symbol, key, prec string) string {
	t := channel + ":" + symbol + key
	if prec != "" {
		t += ":" + prec
	}
	return t
}

// ends is the token of a frame that unsubscribes, which the venue answers with
// the channel's id alone.
func ends(id string) string { return "-" + id }

// Frames renders one request for each channel. The venue unsubscribes by the id
// that it gave.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	all, err := source.Topics(r, requests)
	if err != nil {
		return nil, err
	}
	frames := make([]source.Frame, len(all))
	for i, t := range all {
		data, _ := json.Marshal(t.Name) // texts always marshal
		frames[i] = source.Frame{Data: string(data), Token: t.Name.SubID, Subs: t.Subs}
		if r.Unsubscribe {
			id := r.Handles[t.Name.SubID]
			if id == "" {
				return nil, fmt.Errorf("bitfinex: %s can't be unsubscribed, for the venue has not given it an id yet", t.Name.SubID)
			}
			frames[i].Data, frames[i].Token = `{"event":"unsubscribe","chanId":`+id+`}`, ends(id)
		}
	}
	return frames, nil
}

func requestOf(channel, symbol, key string) request {
	return request{Event: "subscribe", Channel: channel, Symbol: symbol, Key: key, SubID: token(channel, symbol, key, "")}
}

func requests(_ market.Market, sub source.Subscription) ([]request, error) {
	one := func(channel, symbol, key string) ([]request, error) {
		return []request{requestOf(channel, symbol, key)}, nil
	}
	switch sub.Channel {
	case market.ChannelTrades:
		return one("trades", sub.Symbol, "")
	case market.ChannelBook:
		prec := cmp.Or(sub.Config.String("precision"), finest)
		return []request{{Event: "subscribe", Channel: "book", Symbol: sub.Symbol, Prec: prec, Freq: "F0", Len: strconv.Itoa(source.Depth(sub.Config.Int("depth"), depths)),
			SubID: token("book", sub.Symbol, "", prec)}}, nil
	case market.ChannelTicker:
		return one("ticker", sub.Symbol, "")
	case market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest:
		return one("status", "", "deriv:"+sub.Symbol)
	case market.ChannelLiquidations:
		return one("status", "", "liq:global")
	case market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) request { return requestOf("candles", "", "trade:"+i.Native+":"+sub.Symbol) })
	}
	return nil, fmt.Errorf("bitfinex: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// Requests renders catalogues and trade history, which is paged by time.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	at := cmp.Or(r.Base, base)
	if r.Catalogue() {
		path := "/v2/conf/pub:info:pair"
		if r.Market == market.MarketLinear {
			path += ":futures"
		}
		return []source.Request{{URL: at + path, Weight: 1}}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		if r.Purpose != source.PurposeHistory || sub.Channel != market.ChannelTrades {
			return nil, fmt.Errorf("bitfinex: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
		all = append(all, source.Request{Weight: 1, URL: fmt.Sprintf("%s/v2/trades/%s/hist?limit=10000&sort=1&start=%d&end=%d",
			at, url.PathEscape(sub.Symbol), r.From/1_000_000, r.To/1_000_000)})
	}
	return all, nil
}
