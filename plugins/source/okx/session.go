package okx

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"
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
	subscribe, err := p.Frames(source.FrameRequest{Market: r.Market, Class: r.Class, Subscriptions: r.Subscriptions})
	if err != nil {
		return source.Script{}, err
	}
	steps := []source.Step{{Dial: &source.Dial{URL: r.Endpoint}}}
	if r.Class == classLogin {
		steps = append(steps, source.Step{Send: &source.Frame{
			Data: `{"op":"login","args":[{"apiKey":"${key}","passphrase":"${passphrase}","timestamp":"${timestamp}","sign":"${signature}"}]}`,
			Sign: &source.Sign{Scheme: source.SchemeHMACSHA256, Payload: "${timestamp}GET/users/self/verify", Timestamp: source.TimeSeconds, Encoding: source.EncodingBase64},
		}}, source.Step{Await: &source.Await{Token: loginToken, Timeout: 10 * time.Second, Refusals: refusals}})
	}
	return source.Script{Steps: append(steps, source.Step{Subscribe: subscribe})}, nil
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

// Frames renders one request for each channel of a symbol: a request has one
// id, and what the venue refuses of one doesn't concern the others.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	op := "subscribe"
	if r.Unsubscribe {
		op = "unsubscribe"
	}
	var frames []source.Frame
	at := map[arg]int{} // contracts share their index's channel
	for i, sub := range r.Subscriptions {
		args, err := arguments(r.Market, sub)
		if err != nil {
			return nil, err
		}
		for _, a := range args {
			if j, ok := at[a]; ok {
				frames[j].Subs = append(frames[j].Subs, i)
				continue
			}
			at[a] = len(frames)
			frames = append(frames, frame(op, a, i))
		}
	}
	return frames, nil
}

// frame renders a request. Its id follows from what it says: a plugin has no
// counter that would outlive a restart.
func frame(op string, a arg, sub int) source.Frame {
	body, _ := json.Marshal(a) // texts always marshal
	h := fnv.New32a()
	h.Write([]byte(op))
	h.Write(body)
	id := strconv.FormatUint(uint64(h.Sum32()), 10)
	return source.Frame{Data: `{"id":"` + id + `","op":"` + op + `","args":[` + string(body) + `]}`, Token: id, Subs: []int{sub}}
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
		if feed := sub.Config.String("feed"); feed != "" {
			return one(feed)
		}
		return one(feedBooks)
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
		names := sub.Config.Strings("intervals")
		if len(names) == 0 {
			names = []string{"1m"}
		}
		var all []arg
		for _, name := range names {
			native := ""
			for _, i := range intervals {
				if i.name == name {
					native = i.native
				}
			}
			if native == "" {
				return nil, fmt.Errorf("okx: no candles of %q", name)
			}
			all = append(all, arg{Channel: "candle" + native, ID: sub.Symbol})
		}
		return all, nil
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
	base := r.Base
	if base == "" {
		base = p.manifest.Markets[0].HTTP[0]
	}
	if r.Purpose == source.PurposeInstruments || r.Purpose == source.PurposePoll && len(r.Subs) > 0 && r.Subs[0].Channel == market.ChannelInstruments {
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
