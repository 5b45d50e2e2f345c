package gateio

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decimals asks for contracts' sizes as they are: without it the venue cuts off
// what they have behind the point.
var decimals = map[string]string{"X-Gate-Size-Decimal": "1"}

// Session dials and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	script, err := source.DialAndSubscribe(p, r)
	if err == nil && r.Market != market.MarketSpot {
		script.Steps[0].Dial.Header = decimals
	}
	return script, err
}

// Frames renders one request for each channel of a symbol, for the venue refuses
// a request as a whole where one of its symbols is wrong. It wants a time only of
// requests that are signed.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	event := r.Op("subscribe", "unsubscribe")
	return source.FrameEach(r, requests, func(what string) source.Frame {
		id := source.RequestID(event, what)
		channel, rest, _ := strings.Cut(what, separator)
		payload, _ := json.Marshal(strings.Split(rest, separator)) // texts always marshal
		return source.Frame{Token: id, Data: fmt.Sprintf(`{"id":%s,"channel":"%s","event":"%s","payload":%s}`, id, channel, event, payload)}
	})
}

// separator stands between a channel and what it is of, in requests.
const separator = "\x00"

// inTickers are the channels that come with tickers beside the ticker.
var inTickers = map[market.Market][]market.Channel{
	market.MarketLinear:  {market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest},
	market.MarketInverse: {market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest},
	market.MarketOption:  {market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest, market.ChannelOptions},
}

// requests are those that a subscription needs: channels and what they are of.
func requests(m market.Market, sub source.Subscription) ([]string, error) {
	family, tickers, candles := familyFutures+".", "tickers", "candlesticks"
	perpetual := false
	switch m {
	case market.MarketSpot:
		family = familySpot + "."
	case market.MarketOption:
		family, tickers, candles = familyOptions+".", "contract_tickers", "contract_candlesticks"
	default:
		perpetual = !delivered(sub.Symbol)
	}
	one := func(name string, payload ...string) ([]string, error) {
		return []string{family + name + separator + strings.Join(payload, separator)}, nil
	}
	switch c := sub.Channel; {
	case c == market.ChannelTrades:
		return one("trades", sub.Symbol)
	case c == market.ChannelBook && (perpetual || m == market.MarketSpot):
		levels := deepLevels
		if n := sub.Config.Int("depth"); n > 0 && n <= fastLevels {
			levels = fastLevels
		}
		return one("obu", "ob."+sub.Symbol+"."+strconv.Itoa(levels))
	case c == market.ChannelBook:
		return one("order_book_update", sub.Symbol, "100ms", strconv.Itoa(updateLevels(m)))
	case c == market.ChannelBBO:
		return one("book_ticker", sub.Symbol)
	case c == market.ChannelTicker || slices.Contains(inTickers[m], c):
		return one(tickers, sub.Symbol)
	case c == market.ChannelLiquidations && family == familyFutures+".":
		return one("public_liquidates", sub.Symbol)
	case c == market.ChannelLongShortRatio && family == familyFutures+".":
		return one("contract_stats", sub.Symbol, "1m")
	case c == market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) string { return family + candles + separator + i.Name + separator + sub.Symbol })
	}
	return nil, fmt.Errorf("gateio: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// updateLevels are those of the books that begin with a requested one.
func updateLevels(m market.Market) int {
	if m == market.MarketOption {
		return 50
	}
	return 100
}

// Requests renders catalogues, book snapshots, and the newest trades.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, p.manifest.Markets[0].HTTP[0]) + "/api/v4/"
	header := decimals
	if r.Market == market.MarketSpot {
		header = nil
	}
	get := func(path string) source.Request { return source.Request{URL: base + path, Header: header, Weight: 1} }
	if r.Catalogue() {
		var all []source.Request
		for _, path := range catalogues(r.Market) {
			all = append(all, get(path))
		}
		return all, nil
	}
	if r.Purpose == source.PurposeTickers && r.Market != market.MarketOption {
		var all []source.Request
		for _, path := range catalogues(r.Market) { // beside each of them
			all = append(all, get(path[:strings.LastIndexByte(path, '/')]+"/tickers"))
		}
		return all, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		path, name := products(r.Market, sub.Symbol), "?contract="
		if r.Market == market.MarketSpot {
			name = "?currency_pair="
		}
		symbol := name + url.QueryEscape(sub.Symbol)
		switch {
		case r.Purpose == source.PurposeSnapshot && sub.Channel == market.ChannelBook:
			all = append(all, get(fmt.Sprintf("%s/order_book%s&limit=%d&with_id=true", path, symbol, updateLevels(r.Market))))
		case r.Purpose == source.PurposeHistory && sub.Channel == market.ChannelTrades:
			all = append(all, get(path+"/trades"+symbol+"&limit=1000"))
		default:
			return nil, fmt.Errorf("gateio: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
	}
	return all, nil
}

// products is the path of what a symbol is one of.
func products(m market.Market, symbol string) string {
	settle := "usdt"
	switch {
	case m == market.MarketSpot:
		return "spot"
	case m == market.MarketOption:
		return "options"
	case m == market.MarketInverse:
		settle = "btc"
	case strings.HasSuffix(symbol, "_USD1"):
		settle = "usd1"
	}
	if delivered(symbol) {
		return "delivery/" + settle
	}
	return "futures/" + settle
}

func catalogues(m market.Market) (all []string) {
	switch m {
	case market.MarketSpot:
		return []string{"spot/currency_pairs"}
	case market.MarketInverse: // no delivery contract is settled in bitcoin any more
		return []string{"futures/btc/contracts"}
	case market.MarketOption:
		for _, u := range underlyings {
			all = append(all, "options/contracts?underlying="+u)
		}
		return all
	}
	return []string{"futures/usdt/contracts", "futures/usd1/contracts", "delivery/usdt/contracts"}
}
