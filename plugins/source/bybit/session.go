package bybit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Session dials and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	script, err := source.DialAndSubscribe(p, r)
	if err != nil {
		return script, err
	}
	size := 0
	for _, f := range script.Steps[1].Subscribe {
		size += len(f.Token) + len(`"",`)
	}
	if size > maxArgs {
		return source.Script{}, fmt.Errorf("bybit: the topics of one connection have %d characters, the venue takes %d; subscribe fewer lengths of candles", size, maxArgs)
	}
	return script, nil
}

// Frames renders one request for each topic, for the venue refuses a request as
// a whole where one of its topics is wrong. The request's id is the topic: options
// are answered by topic, without an id.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	return source.FrameEach(r, topics, func(t string) source.Frame {
		name, _ := json.Marshal(t) // texts always marshal
		return source.Frame{Token: t, Data: fmt.Sprintf(`{"req_id":%s,"op":"%s","args":[%s]}`, name, r.Op("subscribe", "unsubscribe"), name)}
	})
}

// topics are those that carry a subscription.
func topics(m market.Market, sub source.Subscription) ([]string, error) {
	one := func(name string) ([]string, error) { return []string{name + "." + sub.Symbol}, nil }
	switch sub.Channel {
	case market.ChannelTrades:
		if m != market.MarketOption {
			return one(topicTrades)
		}
		list := sub.Config.Strings("coins")
		if len(list) == 0 {
			list = coins[:2]
		}
		var all []string
		for _, coin := range list {
			all = append(all, topicTrades+"."+coin)
		}
		return all, nil
	case market.ChannelBook:
		return one("orderbook." + strconv.Itoa(depth(m, sub.Config.Int("depth"))))
	case market.ChannelBBO:
		if m != market.MarketOption {
			return one("orderbook.1")
		}
		return one(topicTickers)
	case market.ChannelTicker, market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest, market.ChannelOptions:
		return one(topicTickers)
	case market.ChannelLiquidations:
		return one(topicLiquidations)
	case market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) string { return topicCandles + "." + i.Native + "." + sub.Symbol })
	}
	return nil, fmt.Errorf("bybit: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// depth is the least that the venue has for so many levels; the default for none.
func depth(m market.Market, levels int64) int {
	all := depths(m)
	return source.Depth(cmp.Or(max(levels, 0), int64(all[1])), all)
}

// Requests renders catalogues, polls, and the trades of the last minutes, which
// is all that the venue tells of the past.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, p.manifest.Markets[0].HTTP[0]) + "/v5/market/"
	category := "?category=" + r.Market.String()
	if r.Catalogue() {
		address := base + "instruments-info" + category + "&limit=1000"
		if r.Market != market.MarketOption {
			return []source.Request{{URL: address, Weight: 1}}, nil
		}
		var all []source.Request
		for _, coin := range coins {
			all = append(all, source.Request{URL: address + "&baseCoin=" + coin, Weight: 1})
		}
		return all, nil
	}
	if r.Purpose == source.PurposeTickers {
		if r.Market != market.MarketOption {
			return []source.Request{{URL: base + "tickers" + category}}, nil
		}
		var all []source.Request
		for _, coin := range coins {
			all = append(all, source.Request{URL: base + "tickers" + category + "&baseCoin=" + coin})
		}
		return all, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		symbol := "&symbol=" + url.QueryEscape(sub.Symbol)
		switch {
		case r.Purpose == source.PurposePoll && sub.Channel == market.ChannelLongShortRatio && r.Market != market.MarketSpot:
			all = append(all, source.Request{URL: base + "account-ratio" + category + symbol + "&period=5min&limit=1", Weight: 1})
		case r.Purpose == source.PurposeHistory && sub.Channel == market.ChannelTrades && sub.Symbol != "":
			limit := "&limit=1000"
			if r.Market == market.MarketSpot {
				limit = "&limit=60"
			}
			all = append(all, source.Request{URL: base + "recent-trade" + category + symbol + limit, Weight: 1})
		default:
			return nil, fmt.Errorf("bybit: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
	}
	return all, nil
}
