package coinbase

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// answer is the token of every request: the venue names none, but answers each,
// in their order, on the connection that it came by.
const answer = "answer"

// loginToken is what a session of the feeds that need a login waits for: an
// answer to the first request that isn't a refusal of the login.
const loginToken = "login"

// Session dials and subscribes, heartbeats first: what is silent the venue closes.
// Where each request signs in by itself, the first one shows whether the venue
// takes the credentials: the others are sent if it does.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	script, err := source.DialAndSubscribe(p, r)
	if err != nil {
		return script, err
	}
	frames := script.Steps[1].Subscribe
	if r.Class == classAdvanced || r.Class == classBook {
		frames = append([]source.Frame{{Data: `{"type":"subscribe","channel":"heartbeats"}`, Token: answer}}, frames...)
	}
	steps := script.Steps[:1]
	if r.Class == classLogin && len(frames) > 0 {
		steps = append(steps, source.Step{Subscribe: frames[:1]}, source.Step{Await: &source.Await{Token: loginToken, Timeout: 10 * time.Second}})
		frames = frames[1:]
	}
	return source.Script{Steps: append(steps, source.Step{Subscribe: frames})}, nil
}

// Frames renders one request for each channel of a product: what the venue
// refuses of one doesn't concern the others.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	frames := make([]source.Frame, len(r.Subscriptions))
	for i, sub := range r.Subscriptions {
		feed, err := feedOf(sub)
		if err != nil {
			return nil, err
		}
		product, _ := json.Marshal([]string{sub.Symbol}) // texts always marshal
		op := `{"type":"subscribe","product_ids":`
		if r.Unsubscribe {
			op = `{"type":"unsubscribe","product_ids":`
		}
		f := source.Frame{Token: answer, Subs: []int{i}}
		switch channel := exchangeChannel(feed); {
		case channel == "":
			f.Data = op + string(product) + `,"channel":"` + feed + `"}`
		case r.Unsubscribe:
			f.Data = op + string(product) + `,"channels":["` + channel + `"]}`
		default:
			f.Data = op + string(product) + `,"channels":["` + channel + `","heartbeat"]`
			if feed == feedFull || feed == feedLogin {
				f.Data += `,"key":"${key}","passphrase":"${passphrase}","timestamp":"${timestamp}","signature":"${signature}"`
				f.Sign = &source.Sign{Scheme: source.SchemeHMACSHA256, Secret: source.SecretBase64, Payload: "${timestamp}GET/users/self/verify",
					Timestamp: source.TimeSeconds, Encoding: source.EncodingBase64}
			}
			f.Data += "}"
		}
		frames[i] = f
	}
	return frames, nil
}

func feedOf(sub source.Subscription) (string, error) {
	feed := sub.Config.String("feed")
	switch sub.Channel {
	case market.ChannelTrades:
		return cmp.Or(feed, feedTrades), nil
	case market.ChannelBook:
		return cmp.Or(feed, feedBook), nil
	case market.ChannelTicker:
		return cmp.Or(feed, feedTicker), nil
	case market.ChannelCandles:
		for _, i := range sub.Config.Strings("intervals") {
			if i != candleName {
				return "", fmt.Errorf("coinbase: no candles of %q, only of %s", i, candleName)
			}
		}
		return "candles", nil
	}
	return "", fmt.Errorf("coinbase: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// Requests renders catalogues, what is told of a contract, and trade history,
// which the Exchange pages by trade id.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, advancedHTTP)
	kind := "SPOT"
	if r.Market == market.MarketLinear {
		kind = "FUTURE"
	}
	products := base + "/api/v3/brokerage/market/products"
	if r.Catalogue() {
		return []source.Request{{URL: products + "?product_type=" + kind, Weight: 1}}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		address := ""
		switch {
		case r.Purpose == source.PurposePoll && sub.Channel == market.ChannelFunding:
			address = products + "/" + url.PathEscape(sub.Symbol)
		case r.Purpose == source.PurposePoll && sub.Channel == market.ChannelOpenInterest:
			address = products + "?product_type=" + kind + "&product_ids=" + url.QueryEscape(sub.Symbol)
		case r.Purpose == source.PurposeHistory && sub.Channel == market.ChannelTrades && r.Market == market.MarketSpot:
			if base == advancedHTTP {
				base = exchangeHTTP
			}
			address = base + "/products/" + url.PathEscape(sub.Symbol) + "/trades?limit=1000&after=" + strconv.FormatInt(r.To+1, 10)
		default:
			return nil, fmt.Errorf("coinbase: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
		all = append(all, source.Request{URL: address, Weight: 1})
	}
	return all, nil
}
