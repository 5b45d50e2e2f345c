package bitget

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Session dials and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	return source.DialAndSubscribe(p, r)
}

// arg names a stream. The venue repeats it in its answer, which has no id: it is
// the token.
type arg struct{ product, channel, symbol string }

// token is what the answer to a request is known by.
func (a arg) token(unsubscribe bool) string {
	t := a.channel + "|" + a.product + "|" + a.symbol
	if unsubscribe {
		t = "-" + t
	}
	return t
}

// Frames renders one request for each stream, for the venue answers each by
// itself.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	op := r.Op("subscribe", "unsubscribe")
	return source.FrameEach(r, arguments, func(a arg) source.Frame {
		text := fmt.Sprintf(`{"op":"%s","args":[{"instType":"%s","channel":"%s","instId":"%s"}]}`, op, a.product, a.channel, a.symbol)
		if a.symbol == "" {
			text = fmt.Sprintf(`{"op":"%s","args":[{"instType":"%s","topic":"%s"}]}`, op, a.product, a.channel)
		}
		return source.Frame{Data: text, Token: a.token(r.Unsubscribe)}
	})
}

// arguments are the streams of a subscription.
func arguments(m market.Market, sub source.Subscription) ([]arg, error) {
	if strings.ContainsAny(sub.Symbol, `"\`) {
		return nil, fmt.Errorf("bitget: %q is no symbol", sub.Symbol)
	}
	one := func(channel string) ([]arg, error) { return []arg{{product(m, sub.Symbol), channel, sub.Symbol}}, nil }
	switch sub.Channel {
	case market.ChannelTrades:
		return one("trade")
	case market.ChannelBook:
		return one(cmp.Or(sub.Config.String("feed"), feedBooks))
	case market.ChannelBBO:
		return one(feedOne)
	case market.ChannelTicker, market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest:
		return one("ticker")
	case market.ChannelLiquidations:
		var all []arg
		for _, p := range products(m) {
			all = append(all, arg{strings.ToLower(p), "liquidation", ""})
		}
		return all, nil
	case market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) arg { return arg{product(m, sub.Symbol), "candle" + i.Native, sub.Symbol} })
	}
	return nil, fmt.Errorf("bitget: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// products are the venue's that a market is made of.
func products(m market.Market) []string {
	switch m {
	case market.MarketLinear:
		return []string{"USDT-FUTURES", "USDC-FUTURES"}
	case market.MarketInverse:
		return []string{"COIN-FUTURES"}
	}
	return []string{"SPOT"}
}

// product is that of a symbol. A wrong one is acknowledged by the venue, and
// brings nothing.
func product(m market.Market, symbol string) string {
	if _, quote := market.CutQuote(pairOf(symbol), contractQuotes); m == market.MarketLinear && (quote == perpetual || quote == "USDC") {
		return "USDC-FUTURES"
	}
	return products(m)[0]
}

// Requests renders catalogues, ratios, and the trades of a span of time.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, p.manifest.Markets[0].HTTP[0]) + "/api/v2/"
	var all []source.Request
	if r.Catalogue() {
		if r.Market == market.MarketSpot {
			return []source.Request{{URL: base + "spot/public/symbols", Weight: 1}}, nil
		}
		for _, t := range products(r.Market) {
			all = append(all, source.Request{URL: base + "mix/market/contracts?productType=" + t, Weight: 1})
		}
		return all, nil
	}
	if r.Purpose == source.PurposeTickers {
		if r.Market == market.MarketSpot {
			return []source.Request{{URL: base + "spot/market/tickers"}}, nil
		}
		for _, t := range products(r.Market) {
			all = append(all, source.Request{URL: base + "mix/market/tickers?productType=" + t})
		}
		return all, nil
	}
	for _, sub := range r.Subs {
		symbol := "?symbol=" + url.QueryEscape(sub.Symbol)
		switch {
		case r.Purpose == source.PurposePoll && sub.Channel == market.ChannelLongShortRatio && r.Market == market.MarketLinear:
			for _, of := range []string{"account", "position"} {
				all = append(all, source.Request{URL: base + "mix/market/" + of + "-long-short" + symbol + "&period=5m", Weight: weightRatio})
			}
		case r.Purpose == source.PurposeHistory && sub.Channel == market.ChannelTrades:
			path := "spot/market/fills-history" + symbol
			if r.Market != market.MarketSpot {
				path = "mix/market/fills-history" + symbol + "&productType=" + product(r.Market, sub.Symbol)
			}
			all = append(all, source.Request{URL: fmt.Sprintf("%s%s&startTime=%d&endTime=%d&limit=1000", base, path, r.From/1_000_000, r.To/1_000_000), Weight: weightHistory})
		default:
			return nil, fmt.Errorf("bitget: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
	}
	return all, nil
}
