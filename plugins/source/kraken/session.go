package kraken

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Session dials and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	return source.DialAndSubscribe(p, r)
}

// params are those of a subscribe or unsubscribe request.
type params struct {
	Channel      string    `json:"channel"`
	Symbol       [1]string `json:"symbol,omitzero"`
	Depth        int       `json:"depth,omitempty"`
	Interval     int64     `json:"interval,omitempty"`
	EventTrigger string    `json:"event_trigger,omitempty"`
	Snapshot     bool      `json:"snapshot,omitempty"`
}

// Frames renders one request for each symbol: the venue answers by symbol, and
// one that it refuses doesn't concern the others.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	if isContract(r.Market) {
		return contractFrames(r)
	}
	method := r.Op("subscribe", "unsubscribe")
	return source.FrameEach(r, requests, func(one params) source.Frame {
		one.Snapshot = !r.Unsubscribe
		body, _ := json.Marshal(one) // texts and numbers always marshal
		id := source.RequestID(method, string(body))
		return source.Frame{Data: `{"method":"` + method + `","params":` + string(body) + `,"req_id":` + id + `}`, Token: id}
	})
}

func requests(_ market.Market, sub source.Subscription) ([]params, error) {
	one := params{Symbol: [1]string{sub.Symbol}}
	switch sub.Channel {
	case market.ChannelTrades:
		one.Channel = "trade" // the snapshot repairs what a reconnect missed
	case market.ChannelBook:
		one.Channel, one.Depth = "book", source.Depth(cmp.Or(max(sub.Config.Int("depth"), 0), 100), depths)
	case market.ChannelBBO:
		one.Channel, one.EventTrigger = "ticker", "bbo"
	case market.ChannelTicker:
		one.Channel, one.EventTrigger = "ticker", sub.Config.String("event_trigger")
	case market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) params {
			return params{Channel: "ohlc", Symbol: one.Symbol, Interval: int64(i.Length / time.Minute)}
		})
	case market.ChannelInstruments:
		one.Channel, one.Symbol = "instrument", [1]string{}
	default:
		return nil, fmt.Errorf("kraken: channel %s of %s is no stream", sub.Channel, sub.Symbol)
	}
	return []params{one}, nil
}

// Requests renders the catalogue and trade history, which is paged by time.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	if isContract(r.Market) {
		return contractRequests(r)
	}
	base := cmp.Or(r.Base, p.manifest.Markets[0].HTTP[0])
	if r.Purpose == source.PurposeInstruments {
		return []source.Request{{URL: base + "/0/public/AssetPairs", Weight: 1}}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		if r.Purpose != source.PurposeHistory || sub.Channel != market.ChannelTrades {
			return nil, fmt.Errorf("kraken: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
		all = append(all, source.Request{Weight: 1,
			URL: base + "/0/public/Trades?pair=" + url.QueryEscape(sub.Symbol) + "&since=" + strconv.FormatInt(r.From, 10)})
	}
	return all, nil
}
