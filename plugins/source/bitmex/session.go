package bitmex

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Session dials and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	return source.DialAndSubscribe(p, r)
}

// Frames renders one request for each topic, a table of a symbol: the venue
// acknowledges each by itself, but refuses a request as a whole. A topic is its own
// token, for answers repeat it.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	op := r.Op("subscribe", "unsubscribe")
	return source.FrameEach(r, topics, func(t string) source.Frame {
		return source.Frame{Data: fmt.Sprintf(`{"op":"%s","args":["%s"]}`, op, t), Token: r.Op("", givenUp) + t}
	})
}

// givenUp begins the tokens of requests that give a topic up.
const givenUp = "-"

// topics are those of a subscription.
func topics(m market.Market, sub source.Subscription) ([]string, error) {
	if sub.Symbol == "" || strings.ContainsAny(sub.Symbol, `"\:,`) {
		return nil, fmt.Errorf("bitmex: %q is no symbol", sub.Symbol)
	}
	one := func(table string) ([]string, error) { return []string{table + ":" + sub.Symbol}, nil }
	contract := slices.Contains(contracts, m)
	switch c := sub.Channel; {
	case c == market.ChannelTrades:
		return one("trade")
	case c == market.ChannelBook:
		return one(cmp.Or(sub.Config.String("feed"), feedAll))
	case c == market.ChannelBBO:
		return one("quote")
	case c == market.ChannelTicker, contract && (c == market.ChannelFunding || c == market.ChannelMarkPrice || c == market.ChannelIndexPrice || c == market.ChannelOpenInterest):
		return one("instrument")
	case contract && c == market.ChannelLiquidations:
		return one("liquidation")
	case c == market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) string { return "tradeBin" + i.Name + ":" + sub.Symbol })
	}
	return nil, fmt.Errorf("bitmex: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// Requests renders the catalogue and the statistics, which are of all markets,
// and the trades of a span of time, of which the venue gives the first 1,000.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, p.manifest.Markets[0].HTTP[0]) + "/api/v1/"
	if r.Catalogue() {
		return []source.Request{{URL: base + "instrument/active", Weight: 1}}, nil
	}
	if r.Purpose == source.PurposeTickers {
		q := url.Values{"count": {"500"}, "filter": {`{"state":"Open"}`}, // 500 are the most
			"columns": {`["symbol","timestamp","lastPrice","prevPrice24h","highPrice","lowPrice","volume24h","foreignNotional24h","vwap"]`}}
		return []source.Request{{URL: base + "instrument?" + q.Encode(), Weight: 1}}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		if r.Purpose != source.PurposeHistory || sub.Channel != market.ChannelTrades {
			return nil, fmt.Errorf("bitmex: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
		q := url.Values{"symbol": {sub.Symbol}, "count": {"1000"}, "startTime": {moment(r.From)}, "endTime": {moment(r.To + int64(time.Millisecond) - 1)}}
		all = append(all, source.Request{URL: base + "trade?" + q.Encode(), Weight: 1})
	}
	return all, nil
}

// moment writes a time as the venue does, cut to milliseconds.
func moment(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z") }
