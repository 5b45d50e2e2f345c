package bitfinex

import (
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
	subscribe, err := p.Frames(source.FrameRequest{Market: r.Market, Class: r.Class, Subscriptions: r.Subscriptions})
	if err != nil {
		return source.Script{}, err
	}
	return source.Script{Steps: []source.Step{
		{Dial: &source.Dial{URL: r.Endpoint}},
		{Send: &source.Frame{Data: `{"event":"conf","flags":` + strconv.Itoa(flags) + `}`}},
		{Await: &source.Await{Token: ready, Timeout: 10 * time.Second}},
		{Subscribe: subscribe},
	}}, nil
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

// Frames renders one request for each channel. One that several subscriptions
// share is named once, and stays while one of them does. The venue unsubscribes
// by the id that it gave.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	var keep []string
	for _, sub := range r.Live {
		rs, err := requests(sub)
		if err != nil {
			return nil, err
		}
		for _, q := range rs {
			keep = append(keep, q.SubID)
		}
	}
	var frames []source.Frame
	at := map[string]int{}
	for i, sub := range r.Subscriptions {
		rs, err := requests(sub)
		if err != nil {
			return nil, err
		}
		for _, q := range rs {
			if slices.Contains(keep, q.SubID) {
				continue
			}
			if j, ok := at[q.SubID]; ok {
				frames[j].Subs = append(frames[j].Subs, i)
				continue
			}
			data, _ := json.Marshal(q) // texts always marshal
			f := source.Frame{Data: string(data), Token: q.SubID, Subs: []int{i}}
			if r.Unsubscribe {
				id := r.Handles[q.SubID]
				if id == "" {
					return nil, fmt.Errorf("bitfinex: %s can't be unsubscribed, for the venue has not given it an id yet", q.SubID)
				}
				f.Data, f.Token = `{"event":"unsubscribe","chanId":`+id+`}`, ends(id)
			}
			at[q.SubID] = len(frames)
			frames = append(frames, f)
		}
	}
	return frames, nil
}

func requests(sub source.Subscription) ([]request, error) {
	one := func(channel, symbol, key string) ([]request, error) {
		return []request{{Event: "subscribe", Channel: channel, Symbol: symbol, Key: key, SubID: token(channel, symbol, key, "")}}, nil
	}
	switch sub.Channel {
	case market.ChannelTrades:
		return one("trades", sub.Symbol, "")
	case market.ChannelBook:
		prec := sub.Config.String("precision")
		if prec == "" {
			prec = finest
		}
		return []request{{Event: "subscribe", Channel: "book", Symbol: sub.Symbol, Prec: prec, Freq: "F0", Len: strconv.Itoa(depth(sub.Config.Int("depth"))),
			SubID: token("book", sub.Symbol, "", prec)}}, nil
	case market.ChannelTicker:
		return one("ticker", sub.Symbol, "")
	case market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest:
		return one("status", "", "deriv:"+sub.Symbol)
	case market.ChannelLiquidations:
		return one("status", "", "liq:global")
	case market.ChannelCandles:
		names := sub.Config.Strings("intervals")
		if len(names) == 0 {
			names = []string{"1m"}
		}
		var all []request
		for _, name := range names {
			native := ""
			for _, i := range intervals {
				if i.name == name {
					native = i.native
				}
			}
			if native == "" {
				return nil, fmt.Errorf("bitfinex: no candles of %q", name)
			}
			r, _ := one("candles", "", "trade:"+native+":"+sub.Symbol) // has no error
			all = append(all, r...)
		}
		return all, nil
	}
	return nil, fmt.Errorf("bitfinex: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// depth is the smallest that can be subscribed and holds n levels.
func depth(n int64) int {
	for _, d := range depths {
		if n > 0 && n <= int64(d) {
			return d
		}
	}
	return depths[len(depths)-1]
}

// Requests renders catalogues and trade history, which is paged by time.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	at := r.Base
	if at == "" {
		at = base
	}
	if r.Purpose == source.PurposeInstruments || r.Purpose == source.PurposePoll && len(r.Subs) > 0 && r.Subs[0].Channel == market.ChannelInstruments {
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
