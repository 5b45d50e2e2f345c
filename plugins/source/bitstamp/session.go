package bitstamp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

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
	return source.DialAndSubscribe(p, r)
}

// Frames renders one request for each of the venue's channels.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	return source.FrameEach(r, channelOf, func(name string) source.Frame {
		text, _ := json.Marshal(name) // texts always marshal
		return source.Frame{Data: `{"event":"` + r.Op("bts:subscribe", "bts:unsubscribe") + `","data":{"channel":` + string(text) + `}}`, Token: r.Op("", gaveUp) + name}
	})
}

// channelOf is the venue's channel that carries a subscription.
func channelOf(m market.Market, sub source.Subscription) ([]string, error) {
	one := func(name string) ([]string, error) { return []string{name + "_" + sub.Symbol}, nil }
	switch sub.Channel {
	case market.ChannelTrades:
		return one(nameTrades)
	case market.ChannelBook:
		return one(cmp.Or(sub.Config.String("feed"), feedDiff))
	case market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice:
		if m == market.MarketLinear {
			return one(nameFunding)
		}
	}
	return nil, fmt.Errorf("bitstamp: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// Requests renders catalogues, books, tickers, candles and the newest trades.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, p.manifest.Markets[0].HTTP[0])
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
			candles, err := source.CandleTopics(intervals, sub, func(i *source.Interval) source.Request {
				return get(fmt.Sprintf("%s/%s/?step=%d&limit=2", pathCandles, sub.Symbol, i.Length/time.Second))
			})
			if err != nil {
				return nil, err
			}
			all = append(all, candles...)
		default:
			return nil, fmt.Errorf("bitstamp: channel %s of %s is not polled", sub.Channel, sub.Symbol)
		}
	}
	return all, nil
}
