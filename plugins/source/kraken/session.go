package kraken

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Session dials and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	subscribe, err := p.Frames(source.FrameRequest{Market: r.Market, Class: r.Class, Subscriptions: r.Subscriptions})
	if err != nil {
		return source.Script{}, err
	}
	return source.Script{Steps: []source.Step{{Dial: &source.Dial{URL: r.Endpoint}}, {Subscribe: subscribe}}}, nil
}

// params are those of a subscribe or unsubscribe request.
type params struct {
	Channel      string   `json:"channel"`
	Symbol       []string `json:"symbol,omitempty"`
	Depth        int      `json:"depth,omitempty"`
	Interval     int64    `json:"interval,omitempty"`
	EventTrigger string   `json:"event_trigger,omitempty"`
	Snapshot     *bool    `json:"snapshot,omitempty"`
}

// Frames renders one request for each symbol: the venue answers by symbol, and
// one that it refuses doesn't concern the others.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	if isContract(r.Market) {
		return contractFrames(r)
	}
	method := "subscribe"
	if r.Unsubscribe {
		method = "unsubscribe"
	}
	var frames []source.Frame
	for i, sub := range r.Subscriptions {
		all, err := requests(sub)
		if err != nil {
			return nil, err
		}
		for _, one := range all {
			if r.Unsubscribe {
				one.Snapshot = nil
			}
			frames = append(frames, frame(method, one, i))
		}
	}
	return frames, nil
}

// frame renders a request. Its id follows from what it says: a plugin has no
// counter that would outlive a restart.
func frame(method string, one params, sub int) source.Frame {
	body, _ := json.Marshal(one) // texts and numbers always marshal
	h := fnv.New32a()
	h.Write([]byte(method))
	h.Write(body)
	id := strconv.FormatUint(uint64(h.Sum32()), 10)
	return source.Frame{Data: `{"method":"` + method + `","params":` + string(body) + `,"req_id":` + id + `}`, Token: id, Subs: []int{sub}}
}

func requests(sub source.Subscription) ([]params, error) {
	yes := true
	one := params{Symbol: []string{sub.Symbol}, Snapshot: &yes}
	switch sub.Channel {
	case market.ChannelTrades:
		one.Channel = "trade" // the snapshot repairs what a reconnect missed
	case market.ChannelBook:
		one.Channel, one.Depth = "book", depth(sub.Config.Int("depth"))
	case market.ChannelBBO:
		one.Channel, one.EventTrigger = "ticker", "bbo"
	case market.ChannelTicker:
		one.Channel, one.EventTrigger = "ticker", sub.Config.String("event_trigger")
	case market.ChannelCandles:
		return candles(one, sub.Config.Strings("intervals"))
	case market.ChannelInstruments:
		one.Channel, one.Symbol = "instrument", nil
	default:
		return nil, fmt.Errorf("kraken: channel %s of %s is no stream", sub.Channel, sub.Symbol)
	}
	return []params{one}, nil
}

// depth is the smallest that can be subscribed and holds n levels.
func depth(n int64) int {
	if n <= 0 {
		n = 100
	}
	for _, d := range depths {
		if n <= int64(d) {
			return d
		}
	}
	return depths[len(depths)-1]
}

func candles(one params, names []string) ([]params, error) {
	if len(names) == 0 {
		names = []string{"1m"}
	}
	all := make([]params, len(names))
	for i, name := range names {
		one.Channel, one.Interval = "ohlc", minutes(name)
		if one.Interval == 0 {
			return nil, fmt.Errorf("kraken: no candles of %q", name)
		}
		all[i] = one
	}
	return all, nil
}

func minutes(name string) int64 {
	for _, i := range intervals {
		if i.name == name {
			return i.minutes
		}
	}
	return 0
}

// Requests renders the catalogue and trade history, which is paged by time.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	if isContract(r.Market) {
		return contractRequests(r)
	}
	base := r.Base
	if base == "" {
		base = p.manifest.Markets[0].HTTP[0]
	}
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
