package okx

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// loginToken is what a session of the fast feeds waits for.
const loginToken = "login"

// Session dials, logs in where the class needs it, and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	script, err := source.DialAndSubscribe(p, r)
	if err == nil && r.Class == classLogin {
		script.Steps = slices.Insert(script.Steps, 1, source.Step{Send: &source.Frame{
			Data: `{"op":"login","args":[{"apiKey":"${key}","passphrase":"${passphrase}","timestamp":"${timestamp}","sign":"${signature}"}]}`,
			Sign: &source.Sign{Scheme: source.SchemeHMACSHA256, Payload: "${timestamp}GET/users/self/verify", Timestamp: source.TimeSeconds, Encoding: source.EncodingBase64},
		}}, source.Step{Await: &source.Await{Token: loginToken, Timeout: 10 * time.Second, Refusals: refusals}})
	}
	return script, err
}

// refusals are those after which a login may be tried again: "Requests too
// frequent", "Bulk login requests too frequent", "Login failed due to internal
// error" and "Timestamp request expired", which a request in a long queue may meet.
// The other codes of a login (60005, 60007, 60009, 60024, 60031) say that
// the credentials are wrong.
var refusals = []source.Refusal{
	{Reason: "60006", Kind: fault.Retry},
	{Reason: "60014", Kind: fault.Wait, After: time.Minute}, {Reason: "60023", Kind: fault.Wait, After: time.Minute},
	{Reason: "63999", Kind: fault.Retry},
}

// arg names a channel in a request.
type arg struct {
	Channel string `json:"channel"`
	Type    string `json:"instType,omitempty"`
	Family  string `json:"instFamily,omitempty"`
	ID      string `json:"instId,omitempty"`
}

// Frames renders one request for each channel of a symbol, for a request has one
// id. Contracts share their index's channel.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	op := r.Op("subscribe", "unsubscribe")
	return source.FrameEach(r, arguments, func(a arg) source.Frame {
		body, _ := json.Marshal(a) // texts always marshal
		id := source.RequestID(op, string(body))
		return source.Frame{Data: `{"id":"` + id + `","op":"` + op + `","args":[` + string(body) + `]}`, Token: id}
	})
}

func arguments(m market.Market, sub source.Subscription) ([]arg, error) {
	one := func(channel string) ([]arg, error) { return []arg{{Channel: channel, ID: sub.Symbol}}, nil }
	switch sub.Channel {
	case market.ChannelTrades:
		if sub.Config.Bool("aggregate") {
			return one("trades")
		}
		return one("trades-all")
	case market.ChannelBook:
		return one(cmp.Or(sub.Config.String("feed"), feedBooks))
	case market.ChannelBBO:
		return one("bbo-tbt")
	case market.ChannelTicker:
		return one("tickers")
	case market.ChannelFunding:
		return one("funding-rate")
	case market.ChannelMarkPrice:
		return one("mark-price")
	case market.ChannelOpenInterest:
		return one("open-interest")
	case market.ChannelIndexPrice:
		return []arg{{Channel: "index-tickers", ID: pairOf(sub.Symbol)}}, nil
	case market.ChannelLiquidations:
		var all []arg
		for _, t := range types(m) {
			all = append(all, arg{Channel: "liquidation-orders", Type: t})
		}
		return all, nil
	case market.ChannelOptions:
		var all []arg
		for _, f := range familiesOf(sub) {
			all = append(all, arg{Channel: "opt-summary", Family: f})
		}
		return all, nil
	case market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) arg { return arg{Channel: "candle" + i.Native, ID: sub.Symbol} })
	}
	return nil, fmt.Errorf("okx: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

func familiesOf(sub source.Subscription) []string {
	if list := sub.Config.Strings("families"); len(list) > 0 {
		return list
	}
	return families
}

// types are the venue's products that a market is made of.
func types(m market.Market) []string {
	switch m {
	case market.MarketSpot:
		return []string{"SPOT"}
	case market.MarketOption:
		return []string{"OPTION"}
	}
	return []string{"SWAP", "FUTURES"}
}

// pairOf is the index of a contract: BTC-USD of BTC-USD-SWAP, BTC-USD_UM-SWAP
// and BTC-USD-240628.
func pairOf(symbol string) string {
	parts := strings.SplitN(symbol, "-", 3)
	if len(parts) < 2 {
		return symbol
	}
	return parts[0] + "-" + strings.TrimSuffix(parts[1], margined)
}

// Requests renders catalogues, book snapshots and trade history, which is paged
// by trade id.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, p.manifest.Markets[0].HTTP[0])
	if r.Catalogue() {
		return catalogues(base, r.Market), nil
	}
	if r.Purpose == source.PurposeTickers {
		var all []source.Request
		for _, t := range types(r.Market) {
			all = append(all, source.Request{URL: base + "/api/v5/market/tickers?instType=" + t})
		}
		return all, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		path := base + "/api/v5/market/"
		symbol := url.QueryEscape(sub.Symbol)
		switch {
		case r.Purpose == source.PurposeSnapshot && sub.Channel == market.ChannelBook:
			all = append(all, source.Request{URL: path + "books?instId=" + symbol + "&sz=400", Weight: 1})
		case r.Purpose == source.PurposeHistory && sub.Channel == market.ChannelTrades:
			all = append(all, source.Request{URL: fmt.Sprintf("%shistory-trades?instId=%s&type=1&before=%d&after=%d&limit=100", path, symbol, r.From-1, r.To+1), Weight: 1})
		default:
			return nil, fmt.Errorf("okx: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
	}
	return all, nil
}

func catalogues(base string, m market.Market) (all []source.Request) {
	for _, t := range types(m) {
		address := base + "/api/v5/public/instruments?instType=" + t
		if m != market.MarketOption {
			all = append(all, source.Request{URL: address, Weight: 1})
			continue
		}
		for _, f := range families { // options are listed by family only
			all = append(all, source.Request{URL: address + "&instFamily=" + f, Weight: 1})
		}
	}
	return all
}
