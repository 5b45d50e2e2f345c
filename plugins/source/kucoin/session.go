package kucoin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// welcome is what the venue begins a connection with; before it, nothing may be
// sent.
const welcome = "welcome"

// Names of topics and channels that are subscribed.
const (
	topicTrades  = "/market/match"
	topicBest    = "/spotMarket/level1"
	topicTicker  = "/market/snapshot"
	topicCandles = "/market/candles"
	topicMark    = "/indicator/markPrice"
	topicIndex   = "/indicator/index"

	topicTradesFutures  = "/contractMarket/execution"
	topicBestFutures    = "/contractMarket/tickerV2"
	topicTickerFutures  = "/contractMarket/snapshot"
	topicCandlesFutures = "/contractMarket/limitCandle"

	channelBook    = "obu"
	channelMark    = "mark-price"
	channelFunding = "funding-fee"
)

// conceal strikes the token out of the answer that grants it, before it is
// journalled or seen here; the runtime puts it into the address that it dials.
var conceal = &source.Sign{Conceal: []string{"token"}}

// Session asks for a token, on the classic socket, dials, waits for the welcome
// and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	script, err := source.DialAndSubscribe(p, r)
	if err != nil {
		return script, err
	}
	steps, subscribe := script.Steps[:1], script.Steps[1]
	if r.Class == classClassic {
		if n := topicCount(subscribe.Subscribe); n > maxTopics {
			return source.Script{}, fmt.Errorf("kucoin: one connection would have %d topics, the venue takes %d; subscribe fewer lengths of candles", n, maxTopics)
		}
		base := cmp.Or(r.Base, p.spec(r.Market).HTTP[0])
		steps = []source.Step{{Request: &source.Request{Method: "POST", URL: base + bullet, Weight: 10, Sign: conceal}}}
		if len(r.Replies) == 0 {
			return source.Script{Steps: steps}, nil
		}
		address, every, err := granted(r.Replies[0].Body)
		if err != nil {
			return source.Script{}, fmt.Errorf("kucoin: answer to %s: %w", bullet, err)
		}
		if address == "" || r.Endpoint != p.spec(r.Market).Endpoints[0].URL { // the user names another server
			address = r.Endpoint
		}
		steps = append(steps, source.Step{Dial: &source.Dial{URL: address + "?token=${kept:token}", Sign: &source.Sign{}}})
		if every > 0 && every < heartbeat.Every {
			steps = append(steps, source.Step{Renew: &source.Renew{Every: every, Frame: &source.Frame{Data: heartbeat.Payload}}})
		}
	}
	return source.Script{Steps: append(steps, source.Step{Await: &source.Await{Token: welcome, Timeout: 10 * time.Second}}, subscribe)}, nil
}

// bullet is the request that grants a token.
const bullet = "/api/v1/bullet-public"

// granted reads which server a token is for, "" if none is named, and how often
// it wants to be pinged.
func granted(body []byte) (address string, every time.Duration, err error) {
	var r struct {
		Code string
		Msg  string
		Data struct {
			InstanceServers []struct {
				Endpoint     string
				PingInterval int64 // ms
			}
		}
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return "", 0, err
	}
	if r.Code != codeOK {
		return "", 0, fmt.Errorf("code %.20q: %.200s", r.Code, r.Msg)
	}
	for _, s := range r.Data.InstanceServers {
		if strings.HasPrefix(s.Endpoint, "wss://") && !strings.ContainsAny(s.Endpoint, "?#") {
			address, every = s.Endpoint, time.Duration(min(max(s.PingInterval, 0), 600_000))*time.Millisecond
			break
		}
	}
	if every > 0 {
		every = max(every*4/5, time.Second) // early enough on a slow way
	}
	return address, every, nil
}

func topicCount(frames []source.Frame) (n int) {
	for i := range frames {
		_, topic, _ := strings.Cut(frames[i].Data, `"topic":"`)
		topic, _, _ = strings.Cut(topic, `"`)
		n += 1 + strings.Count(topic, ",")
	}
	return n
}

func (p *plugin) spec(m market.Market) *source.MarketSpec {
	i := slices.Index(everywhere, m)
	return &p.manifest.Markets[max(i, 0)]
}

// Frames renders requests. On the classic socket one names up to 100 symbols of a
// topic, save candles, which the page shows one by one; the venue acknowledges
// symbols that it doesn't have, so that none spoils the others. On the pro socket
// each symbol has a request.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	op := r.Op("subscribe", "unsubscribe")
	all, err := source.Topics(r, topics)
	if err != nil {
		return nil, err
	}
	return source.FrameBatches(all, func(batch []string, next string) bool {
		name, _, _ := strings.Cut(next, ":")
		return len(batch) < maxBatch && strings.HasPrefix(batch[0], name+":") && isClassic(name) && !strings.Contains(name, "andle")
	}, func(batch []string) source.Frame {
		name, symbols, _ := strings.Cut(batch[0], ":")
		if !isClassic(name) {
			return proFrame(op, name, r.Market, symbols)
		}
		for _, next := range batch[1:] {
			symbols += "," + next[len(name)+1:]
		}
		topic, _ := json.Marshal(name + ":" + symbols) // texts always marshal
		id := source.RequestID(op, string(topic))
		return source.Frame{Data: `{"id":"` + id + `","type":"` + op + `","topic":` + string(topic) + `,"response":true}`, Token: id}
	}), nil
}

// isClassic tells the classic socket's topics from the pro one's channels.
func isClassic(name string) bool { return strings.HasPrefix(name, "/") }

// proChannel is the pro socket's for a channel; "" for those of the classic one.
func proChannel(m market.Market, c market.Channel) string {
	switch c {
	case market.ChannelBook:
		return channelBook
	case market.ChannelFunding:
		return channelFunding
	case market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest:
		if m != market.MarketSpot {
			return channelMark
		}
	}
	return ""
}

// proFrame renders a request. Funding rates and mark prices have no trade type.
func proFrame(op, channel string, m market.Market, symbol string) source.Frame {
	name, _ := json.Marshal(symbol) // texts always marshal
	rest := ""
	if channel == channelBook {
		product := "FUTURES"
		if m == market.MarketSpot {
			product = "SPOT"
		}
		rest = `,"tradeType":"` + product + `","depth":"increment@10ms"`
	}
	id := source.RequestID(op, channel, symbol)
	return source.Frame{Data: `{"id":"` + id + `","action":"` + op + `","channel":"` + channel + `","symbol":` + string(name) + rest + `}`, Token: id}
}

// topics are those that carry a subscription, of the pro socket its channel and the
// symbol.
func topics(m market.Market, sub source.Subscription) ([]string, error) {
	if channel := proChannel(m, sub.Channel); channel != "" {
		return []string{channel + ":" + sub.Symbol}, nil
	}
	one := func(ofSpot, ofContracts string) ([]string, error) {
		if m == market.MarketSpot {
			ofContracts = ofSpot
		}
		return []string{ofContracts + ":" + sub.Symbol}, nil
	}
	switch sub.Channel {
	case market.ChannelTrades:
		return one(topicTrades, topicTradesFutures)
	case market.ChannelBBO:
		return one(topicBest, topicBestFutures)
	case market.ChannelTicker:
		return one(topicTicker, topicTickerFutures)
	case market.ChannelMarkPrice:
		return one(topicMark, "")
	case market.ChannelIndexPrice:
		return one(topicIndex, "")
	case market.ChannelCandles:
		topic, of := topicCandlesFutures, contractsIntervals
		if m == market.MarketSpot {
			topic, of = topicCandles, spotIntervals
		}
		return source.CandleTopics(of, sub, func(i *source.Interval) string { return topic + ":" + sub.Symbol + "_" + i.Native })
	}
	return nil, fmt.Errorf("kucoin: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// Requests renders catalogues and the last trades, which is all that the venue
// tells of the past.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, p.spec(r.Market).HTTP[0])
	if r.Catalogue() {
		if r.Market == market.MarketSpot {
			return []source.Request{{URL: base + "/api/v2/symbols", Weight: 4}}, nil
		}
		return []source.Request{{URL: base + "/api/v1/contracts/active", Weight: 3}}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		if r.Purpose != source.PurposeHistory || sub.Channel != market.ChannelTrades || sub.Symbol == "" {
			return nil, fmt.Errorf("kucoin: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
		path, weight := "/api/v1/trade/history", 5
		if r.Market == market.MarketSpot {
			path, weight = "/api/v1/market/histories", 3
		}
		all = append(all, source.Request{URL: base + path + "?symbol=" + url.QueryEscape(sub.Symbol), Weight: weight})
	}
	return all, nil
}
