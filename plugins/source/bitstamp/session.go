package bitstamp

import (
	"encoding/json"
	"fmt"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Names of channels before the symbol, beside the feeds of books.
const (
	nameTrades  = "live_trades"
	nameFunding = "funding_rate"
)

// gaveUp begins the token of a frame that unsubscribes. The venue's answers name
// the channel; its errors name nothing, and are those of the oldest frame.
const gaveUp = "-"

// Session dials and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	subscribe, err := p.Frames(source.FrameRequest{Market: r.Market, Subscriptions: r.Subscriptions})
	if err != nil {
		return source.Script{}, err
	}
	return source.Script{Steps: []source.Step{{Dial: &source.Dial{URL: r.Endpoint}}, {Subscribe: subscribe}}}, nil
}

// Frames renders one request for each of the venue's channels. One that several
// channels share isn't given up while another needs it.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	needed := map[string]bool{}
	for _, sub := range r.Live {
		name, err := channelOf(r.Market, sub)
		if err != nil {
			return nil, err
		}
		needed[name] = r.Unsubscribe
	}
	event, before := "bts:subscribe", ""
	if r.Unsubscribe {
		event, before = "bts:unsubscribe", gaveUp
	}
	var frames []source.Frame
	at := map[string]int{}
	for i, sub := range r.Subscriptions {
		name, err := channelOf(r.Market, sub)
		if err != nil {
			return nil, err
		}
		if needed[name] {
			continue
		}
		if j, ok := at[name]; ok {
			frames[j].Subs = append(frames[j].Subs, i)
			continue
		}
		at[name] = len(frames)
		text, _ := json.Marshal(name) // texts always marshal
		frames = append(frames, source.Frame{Data: `{"event":"` + event + `","data":{"channel":` + string(text) + `}}`, Token: before + name, Subs: []int{i}})
	}
	return frames, nil
}

// channelOf is the venue's channel that carries a subscription.
func channelOf(m market.Market, sub source.Subscription) (string, error) {
	switch sub.Channel {
	case market.ChannelTrades:
		return nameTrades + "_" + sub.Symbol, nil
	case market.ChannelBook:
		if sub.Config.String("feed") == feedWhole {
			return feedWhole + "_" + sub.Symbol, nil
		}
		return feedDiff + "_" + sub.Symbol, nil
	case market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice:
		if m == market.MarketLinear {
			return nameFunding + "_" + sub.Symbol, nil
		}
	}
	return "", fmt.Errorf("bitstamp: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// Requests renders catalogues, books, tickers, candles and the newest trades.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := r.Base
	if base == "" {
		base = p.manifest.Markets[0].HTTP[0]
	}
	get := func(path string) source.Request { return source.Request{URL: base + "/api/v2/" + path, Weight: 1} }
	switch r.Purpose {
	case source.PurposeInstruments:
		return []source.Request{get(pathMarkets + "/")}, nil
	case source.PurposeTickers:
		return []source.Request{get(pathTicker + "/#" + markStatistics)}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		switch {
		case r.Purpose == source.PurposeSnapshot && sub.Channel == market.ChannelBook:
			all = append(all, get(pathBook+"/"+sub.Symbol+"/?group=1"))
		case r.Purpose == source.PurposeHistory && sub.Channel == market.ChannelTrades:
			all = append(all, get(pathTrades+"/"+sub.Symbol+"/?time=hour"))
		case r.Purpose != source.PurposePoll:
			return nil, fmt.Errorf("bitstamp: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		case sub.Channel == market.ChannelInstruments:
			all = append(all, get(pathMarkets+"/"))
		case sub.Channel == market.ChannelTicker:
			all = append(all, get(pathTicker+"/"+sub.Symbol+"/"))
		case sub.Channel == market.ChannelOpenInterest:
			all = append(all, get(pathTicker+"/"))
		case sub.Channel == market.ChannelCandles:
			for _, name := range sub.Config.Strings("intervals") {
				seconds := secondsOf(name)
				if seconds == 0 {
					return nil, fmt.Errorf("bitstamp: no candles of %q", name)
				}
				all = append(all, get(fmt.Sprintf("%s/%s/?step=%d&limit=2", pathCandles, sub.Symbol, seconds)))
			}
		default:
			return nil, fmt.Errorf("bitstamp: channel %s of %s is not polled", sub.Channel, sub.Symbol)
		}
	}
	return all, nil
}

// secondsOf is the length of candles; 0 where the venue has none so long.
func secondsOf(name string) int64 {
	for _, i := range intervals {
		if i.name == name {
			return i.seconds
		}
	}
	return 0
}
