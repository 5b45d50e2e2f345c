package kraken

import (
	"cmp"
	"fmt"
	"net/url"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// The feeds of contracts.
const (
	feedBook   = "book"
	feedTrade  = "trade"
	feedTicker = "ticker"
)

// feedsOf is the feed that has a channel, and the product; several share one.
func feedsOf(_ market.Market, sub source.Subscription) ([][2]string, error) {
	switch sub.Channel {
	case market.ChannelBook:
		return [][2]string{{feedBook, sub.Symbol}}, nil
	case market.ChannelTrades, market.ChannelLiquidations:
		return [][2]string{{feedTrade, sub.Symbol}}, nil
	case market.ChannelTicker, market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest, market.ChannelOptions:
		return [][2]string{{feedTicker, sub.Symbol}}, nil
	}
	return nil, fmt.Errorf("kraken: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// contractFrames renders one request for each feed of a product: the venue
// answers by product, in the order of requests.
func contractFrames(r source.FrameRequest) ([]source.Frame, error) {
	event := r.Op("subscribe", "unsubscribe")
	return source.FrameEach(r, feedsOf, func(of [2]string) source.Frame {
		return source.Frame{Token: event + " " + of[0] + " " + of[1], Data: fmt.Sprintf(`{"event":%q,"feed":%q,"product_ids":[%q]}`, event, of[0], of[1])}
	})
}

// contractRequests renders the catalogue, candles, and the trades of late: they
// are paged by time, and only the newest 100 are had without one.
func contractRequests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, contractSpec(r.Market).HTTP[0])
	if r.Catalogue() {
		return []source.Request{{URL: base + "/derivatives/api/v3/instruments", Weight: 1}}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		switch {
		case r.Purpose == source.PurposeHistory && sub.Channel == market.ChannelTrades:
			all = append(all, source.Request{Weight: 1, URL: base + "/derivatives/api/v3/history?symbol=" + url.QueryEscape(sub.Symbol)})
		case r.Purpose == source.PurposePoll && sub.Channel == market.ChannelCandles:
			candles, err := source.CandleTopics(contractIntervals, sub, func(i *source.Interval) source.Request {
				// The one before the newest is complete by then.
				return source.Request{Weight: 1, URL: base + "/api/charts/v1/trade/" + url.PathEscape(sub.Symbol) + "/" + i.Name + "?count=2"}
			})
			if err != nil {
				return nil, err
			}
			all = append(all, candles...)
		default:
			return nil, fmt.Errorf("kraken: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
	}
	return all, nil
}
