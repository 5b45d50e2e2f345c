package binance

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Session dials the endpoint of combined streams and subscribes by message, so
// that one address serves every set of subscriptions.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	script, err := source.DialAndSubscribe(p, r)
	if err != nil {
		return script, err
	}
	switch dial := script.Steps[0].Dial; {
	case r.Class == classSBE:
		dial.Header, dial.Sign = map[string]string{"X-MBX-APIKEY": "${key}"}, &source.Sign{Scheme: source.SchemeKey}
	case r.Market == market.MarketSpot && r.Config.String("time_unit") == "us":
		dial.URL += "?timeUnit=MICROSECOND"
	}
	return script, nil
}

// frameBytes is what a frame may be long, its method and id taken off the
// venue's 4,096.
const frameBytes = 4000

// Frames puts as many streams into a frame as fit.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	all, err := source.Topics(r, streams)
	if err != nil {
		return nil, err
	}
	method := r.Op("SUBSCRIBE", "UNSUBSCRIBE")
	return source.FrameBatches(all, func(batch []string, next string) bool {
		size := len(next) + len(`"",`)
		for _, name := range batch {
			size += len(name) + len(`"",`)
		}
		return size <= frameBytes
	}, func(batch []string) source.Frame {
		list, _ := json.Marshal(batch) // texts always marshal
		id := source.RequestID(method, string(list))
		return source.Frame{Data: `{"method":"` + method + `","params":` + string(list) + `,"id":` + id + `}`, Token: id}
	}), nil
}

// streams are the names of the streams that carry a subscription.
func streams(m market.Market, sub source.Subscription) ([]string, error) {
	symbol := strings.ToLower(sub.Symbol)
	if sub.Config.String("feed") == feedSBE {
		return sbeStream(symbol, sub)
	}
	switch sub.Channel {
	case market.ChannelTrades:
		if sub.Config.Bool("aggregate") {
			return []string{symbol + "@aggTrade"}, nil
		}
		return []string{symbol + "@trade"}, nil
	case market.ChannelBook:
		speed := sub.Config.String("speed")
		switch {
		case speed == "":
			speed = "@100ms"
		case m == market.MarketSpot && speed == "1000ms", m != market.MarketSpot && speed == "250ms":
			speed = "" // the venue's default has no name
		default:
			speed = "@" + speed
		}
		return []string{symbol + "@depth" + speed}, nil
	case market.ChannelBBO:
		return []string{symbol + "@bookTicker"}, nil
	case market.ChannelTicker:
		return []string{symbol + "@ticker"}, nil
	case market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) string { return symbol + "@kline_" + i.Name })
	case market.ChannelIndexPrice:
		if m == market.MarketInverse { // COIN-M states it by pair
			return []string{pairOf(symbol) + "@indexPrice@1s"}, nil
		}
		return []string{symbol + "@markPrice@1s"}, nil
	case market.ChannelMarkPrice, market.ChannelFunding:
		return []string{symbol + "@markPrice@1s"}, nil
	case market.ChannelLiquidations:
		return []string{symbol + "@forceOrder"}, nil
	}
	return nil, fmt.Errorf("binance: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// sbeStream is like streams, of the SBE streams.
func sbeStream(symbol string, sub source.Subscription) ([]string, error) {
	switch {
	case sub.Channel == market.ChannelTrades && sub.Config.Bool("aggregate"):
		return nil, fault.Errorf(fault.Stop, "binance: %s: the SBE streams have no aggregate trades: leave out aggregate, or give feed the value %q", sub.Symbol, feedJSON)
	case sub.Channel == market.ChannelTrades:
		return []string{symbol + "@trade"}, nil
	case sub.Channel == market.ChannelBook:
		return []string{symbol + "@depth"}, nil
	case sub.Channel == market.ChannelBBO:
		return []string{symbol + "@bestBidAsk"}, nil
	}
	return nil, fmt.Errorf("binance: channel %s of %s is no SBE stream", sub.Channel, sub.Symbol)
}

// api is the path of a market's requests.
func api(m market.Market) string {
	switch m {
	case market.MarketLinear:
		return "/fapi/v1"
	case market.MarketInverse:
		return "/dapi/v1"
	}
	return "/api/v3"
}

// Requests renders catalogues, book snapshots, polls and trade history.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := r.Base
	if base == "" {
		for i := range p.manifest.Markets {
			if p.manifest.Markets[i].Market == r.Market {
				base = p.manifest.Markets[i].HTTP[0]
			}
		}
	}
	if r.Catalogue() {
		return []source.Request{catalogue(base, r.Market)}, nil
	}
	if r.Purpose == source.PurposeTickers {
		return []source.Request{{URL: base + api(r.Market) + "/ticker/24hr"}}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		symbol := url.QueryEscape(sub.Symbol)
		path := base + api(r.Market)
		switch {
		case r.Purpose == source.PurposeSnapshot && sub.Channel == market.ChannelBook:
			limit, weight := bookLimit(r.Market, sub.Config.Int("depth"))
			all = append(all, source.Request{URL: fmt.Sprintf("%s/depth?symbol=%s&limit=%d", path, symbol, limit), Weight: weight})
		case r.Purpose == source.PurposePoll && sub.Channel == market.ChannelOpenInterest && r.Market != market.MarketSpot:
			all = append(all, source.Request{URL: path + "/openInterest?symbol=" + symbol, Weight: 1})
		case r.Purpose == source.PurposePoll && sub.Channel == market.ChannelLongShortRatio && r.Market != market.MarketSpot:
			who := "symbol=" + symbol
			if r.Market == market.MarketInverse {
				who = "pair=" + url.QueryEscape(pairOf(sub.Symbol))
			}
			all = append(all, source.Request{URL: base + ratioPath(sub.Config.String("population")) + "?" + who + "&period=5m&limit=1", Weight: 1})
		case r.Purpose == source.PurposeHistory && sub.Channel == market.ChannelTrades:
			all = append(all, history(path, symbol, r, sub.Config.Bool("aggregate")))
		default:
			return nil, fmt.Errorf("binance: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
	}
	return all, nil
}

func catalogue(base string, m market.Market) source.Request {
	if m == market.MarketSpot { // without permission sets it is a third of the size
		return source.Request{URL: base + api(m) + "/exchangeInfo?showPermissionSets=false", Weight: 20}
	}
	return source.Request{URL: base + api(m) + "/exchangeInfo", Weight: 1}
}

// bookLimit is the snapshot size for a depth, and its weight.
func bookLimit(m market.Market, depth int64) (limit int64, weight int) {
	if depth <= 0 {
		depth = 1000
	}
	type step struct {
		limit  int64
		weight int
	}
	steps := []step{{50, 2}, {100, 5}, {500, 10}, {1000, 20}}
	if m == market.MarketSpot {
		steps = []step{{100, 5}, {500, 25}, {1000, 50}, {5000, 250}}
	}
	for _, s := range steps {
		if depth <= s.limit {
			return s.limit, s.weight
		}
	}
	last := steps[len(steps)-1]
	return last.limit, last.weight
}

func ratioPath(population string) string {
	switch population {
	case "top_accounts":
		return "/futures/data/topLongShortAccountRatio"
	case "top_positions":
		return "/futures/data/topLongShortPositionRatio"
	}
	return "/futures/data/globalLongShortAccountRatio"
}

// history asks for trades from an id on. Futures give single trades from an id
// only to holders of a key; the last thousand need none.
func history(path, symbol string, r source.RequestFor, aggregate bool) source.Request {
	from := "&limit=1000&fromId=" + strconv.FormatInt(r.From, 10)
	switch {
	case aggregate:
		return source.Request{URL: path + "/aggTrades?symbol=" + symbol + from, Weight: 20}
	case r.Market == market.MarketSpot:
		return source.Request{URL: path + "/historicalTrades?symbol=" + symbol + from, Weight: 25}
	}
	return source.Request{URL: path + "/trades?symbol=" + symbol + "&limit=1000", Weight: 5}
}
