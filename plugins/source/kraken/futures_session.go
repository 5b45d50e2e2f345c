package kraken

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// The feeds of contracts.
const (
	feedBook   = "book"
	feedTrade  = "trade"
	feedTicker = "ticker"
)

// feedOf is the feed that has a channel; several share one.
func feedOf(sub source.Subscription) (string, error) {
	switch sub.Channel {
	case market.ChannelBook:
		return feedBook, nil
	case market.ChannelTrades, market.ChannelLiquidations:
		return feedTrade, nil
	case market.ChannelTicker, market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest, market.ChannelOptions:
		return feedTicker, nil
	}
	return "", fmt.Errorf("kraken: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// contractFrames renders one request for each feed of a product: the venue
// answers by product, in the order of requests. A feed that another subscription
// still needs goes on.
func contractFrames(r source.FrameRequest) ([]source.Frame, error) {
	event := "subscribe"
	if r.Unsubscribe {
		event = "unsubscribe"
	}
	at := map[[2]string]int{}
	for _, sub := range r.Live {
		feed, err := feedOf(sub)
		if err != nil {
			return nil, err
		}
		at[[2]string{feed, sub.Symbol}] = -1
	}
	var frames []source.Frame
	for i, sub := range r.Subscriptions {
		feed, err := feedOf(sub)
		if err != nil {
			return nil, err
		}
		key := [2]string{feed, sub.Symbol}
		j, ok := at[key]
		switch {
		case ok && j < 0:
		case ok:
			frames[j].Subs = append(frames[j].Subs, i)
		default:
			at[key] = len(frames)
			frames = append(frames, source.Frame{Token: event + " " + feed + " " + sub.Symbol, Subs: []int{i},
				Data: fmt.Sprintf(`{"event":%q,"feed":%q,"product_ids":[%q]}`, event, feed, sub.Symbol)})
		}
	}
	return frames, nil
}

// contractRequests renders the catalogue, candles, and the trades of late: they
// are paged by time, and only the newest 100 are had without one.
func contractRequests(r source.RequestFor) ([]source.Request, error) {
	base := r.Base
	if base == "" {
		base = contractSpec(r.Market).HTTP[0]
	}
	if r.Purpose == source.PurposeInstruments || r.Purpose == source.PurposePoll && len(r.Subs) > 0 && r.Subs[0].Channel == market.ChannelInstruments {
		return []source.Request{{URL: base + "/derivatives/api/v3/instruments", Weight: 1}}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		switch {
		case r.Purpose == source.PurposeHistory && sub.Channel == market.ChannelTrades:
			all = append(all, source.Request{Weight: 1, URL: base + "/derivatives/api/v3/history?symbol=" + url.QueryEscape(sub.Symbol)})
		case r.Purpose == source.PurposePoll && sub.Channel == market.ChannelCandles:
			names := sub.Config.Strings("intervals")
			if len(names) == 0 {
				names = []string{"1m"}
			}
			for _, name := range names {
				if !slices.ContainsFunc(contractIntervals, func(i contractInterval) bool { return i.name == name }) {
					return nil, fmt.Errorf("kraken: no candles of %q", name)
				}
				// The one before the newest is complete by then.
				all = append(all, source.Request{Weight: 1, URL: base + "/api/charts/v1/trade/" + url.PathEscape(sub.Symbol) + "/" + name + "?count=2"})
			}
		default:
			return nil, fmt.Errorf("kraken: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
	}
	return all, nil
}
