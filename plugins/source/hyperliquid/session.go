package hyperliquid

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Session dials and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	return source.DialAndSubscribe(p, r)
}

// subscription is what the venue takes and repeats in its answer, where the order
// of its members is another and defaults are filled in. Its token is what it is
// known by there: a coin has one book on a connection, whatever its depth.
type subscription struct {
	Type     string `json:"type"`
	Coin     string `json:"coin"`
	Interval string `json:"interval,omitempty"`
	Fast     bool   `json:"fast,omitempty"`
}

// appendToken writes a subscription's token: "candle BTC 1m".
func appendToken(b, kind, coin, interval []byte) []byte {
	b = append(append(append(b, kind...), ' '), coin...)
	if len(interval) > 0 {
		b = append(append(b, ' '), interval...)
	}
	return b
}

func (s *subscription) token() string {
	return string(appendToken(nil, []byte(s.Type), []byte(s.Coin), []byte(s.Interval)))
}

// Names of the venue's subscriptions and channels.
const (
	nameTrades      = "trades"
	nameBook        = "l2Book"
	nameBBO         = "bbo"
	nameCandle      = "candle"
	nameContext     = "activeAssetCtx"
	nameSpotContext = "activeSpotAssetCtx" // is subscribed as the other
)

// Frames renders one request for each of the venue's subscriptions, for it takes
// one at a time.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	return source.FrameEach(r, subscriptions, func(s subscription) source.Frame {
		body, _ := json.Marshal(s) // texts always marshal
		return source.Frame{Token: s.token(), Data: `{"method":"` + r.Op("subscribe", "unsubscribe") + `","subscription":` + string(body) + `}`}
	})
}

// subscriptions are those of the venue that a subscription needs.
func subscriptions(_ market.Market, sub source.Subscription) ([]subscription, error) {
	one := func(kind string) ([]subscription, error) {
		return []subscription{{Type: kind, Coin: sub.Symbol}}, nil
	}
	switch sub.Channel {
	case market.ChannelTrades:
		return one(nameTrades)
	case market.ChannelBBO:
		return one(nameBBO)
	case market.ChannelBook:
		return []subscription{{Type: nameBook, Coin: sub.Symbol, Fast: depth(sub.Config.Int("depth")) == levelsFast}}, nil
	case market.ChannelTicker, market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest:
		return one(nameContext)
	case market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) subscription {
			return subscription{Type: nameCandle, Coin: sub.Symbol, Interval: i.Name}
		})
	}
	return nil, fmt.Errorf("hyperliquid: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// depth is the least that the venue has for so many levels; the default for none.
func depth(levels int64) int64 {
	if levels > 0 && levels <= levelsFast {
		return levelsFast
	}
	return levelsSlow
}

// Weights of requests: "All other documented info requests have weight 20."
const weightInfo = 20

// Requests renders catalogues and the latest trades. All requests have one
// address and say in their body what they ask for; answers are known by their shape.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, p.manifest.Markets[0].HTTP[0])
	info := func(weight int, body map[string]string) source.Request {
		text, _ := json.Marshal(body) // texts always marshal
		return source.Request{Method: "POST", URL: base + "/info", Header: map[string]string{"Content-Type": "application/json"}, Body: string(text), Weight: weight}
	}
	if r.Catalogue() {
		kind := "allPerpMetas" // of the venue's own perpetuals and of each builder's
		if r.Market == market.MarketSpot {
			kind = "spotMeta"
		}
		return []source.Request{info(weightInfo, map[string]string{"type": kind})}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		if r.Purpose != source.PurposeHistory || sub.Channel != market.ChannelTrades || sub.Symbol == "" {
			return nil, fmt.Errorf("hyperliquid: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
		all = append(all, info(weightInfo+1, map[string]string{"type": "recentTrades", "coin": sub.Symbol}))
	}
	return all, nil
}
