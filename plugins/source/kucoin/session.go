package kucoin

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/url"
	"slices"
	"strconv"
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
	subscribe, err := p.Frames(source.FrameRequest{Market: r.Market, Class: r.Class, Subscriptions: r.Subscriptions})
	if err != nil {
		return source.Script{}, err
	}
	steps := []source.Step{{Dial: &source.Dial{URL: r.Endpoint}}}
	if r.Class == classClassic {
		if n := topicCount(subscribe); n > maxTopics {
			return source.Script{}, fmt.Errorf("kucoin: one connection would have %d topics, the venue takes %d; subscribe fewer lengths of candles", n, maxTopics)
		}
		base := r.Base
		if base == "" {
			base = p.spec(r.Market).HTTP[0]
		}
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
	return source.Script{Steps: append(steps, source.Step{Await: &source.Await{Token: welcome, Timeout: 10 * time.Second}},
		source.Step{Subscribe: subscribe})}, nil
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
	op := "subscribe"
	if r.Unsubscribe {
		op = "unsubscribe"
	}
	var frames []source.Frame
	at := map[string]int{} // of a topic or a channel's symbol: its frame
	var batches []batch
	open := map[string]int{}
	for i, sub := range r.Subscriptions {
		if channel := proChannel(r.Market, sub.Channel); channel != "" {
			if r.Unsubscribe && slices.ContainsFunc(r.Live, func(o source.Subscription) bool {
				return o.Symbol == sub.Symbol && proChannel(r.Market, o.Channel) == channel
			}) {
				continue // another channel needs it
			}
			if j, ok := at[channel+sub.Symbol]; ok {
				frames[j].Subs = append(frames[j].Subs, i)
				continue
			}
			at[channel+sub.Symbol] = len(frames)
			frames = append(frames, proFrame(op, channel, r.Market, sub.Symbol, i))
			continue
		}
		topics, err := topics(r.Market, sub)
		if err != nil {
			return nil, err
		}
		for _, t := range topics {
			name, symbol, _ := strings.Cut(t, ":")
			j, ok := open[name]
			if !ok || len(batches[j].symbols) == maxBatch || strings.Contains(name, "andle") {
				j = len(batches)
				open[name] = j
				batches = append(batches, batch{name: name})
			}
			batches[j].symbols = append(batches[j].symbols, symbol)
			batches[j].subs = append(batches[j].subs, i)
		}
	}
	for _, b := range batches {
		frames = append(frames, b.frame(op))
	}
	return frames, nil
}

// batch is one topic of several symbols.
type batch struct {
	name    string
	symbols []string
	subs    []int
}

func (b *batch) frame(op string) source.Frame {
	topic, _ := json.Marshal(b.name + ":" + strings.Join(b.symbols, ",")) // texts always marshal
	id := idOf(op, string(topic))
	return source.Frame{Data: `{"id":"` + id + `","type":"` + op + `","topic":` + string(topic) + `,"response":true}`, Token: id, Subs: b.subs}
}

// idOf names a request by what it says: a plugin has no counter that would
// outlive a restart.
func idOf(op, what string) string {
	h := fnv.New32a()
	h.Write([]byte(op + what))
	return strconv.FormatUint(uint64(h.Sum32()), 10)
}

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
func proFrame(op, channel string, m market.Market, symbol string, sub int) source.Frame {
	name, _ := json.Marshal(symbol) // texts always marshal
	rest := ""
	if channel == channelBook {
		product := "FUTURES"
		if m == market.MarketSpot {
			product = "SPOT"
		}
		rest = `,"tradeType":"` + product + `","depth":"increment@10ms"`
	}
	id := idOf(op, channel+symbol)
	return source.Frame{Data: `{"id":"` + id + `","action":"` + op + `","channel":"` + channel + `","symbol":` + string(name) + rest + `}`,
		Token: id, Subs: []int{sub}}
}

// topics are those of the classic socket that carry a subscription.
func topics(m market.Market, sub source.Subscription) ([]string, error) {
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
		names := sub.Config.Strings("intervals")
		if len(names) == 0 {
			names = []string{"1m"}
		}
		var all []string
		for _, name := range names {
			i := slices.IndexFunc(intervals, func(i interval) bool { return i.name == name && slices.Contains(i.on, m) })
			if i < 0 {
				return nil, fmt.Errorf("kucoin: no candles of %q on %s", name, m)
			}
			t, _ := one(topicCandles, topicCandlesFutures)
			all = append(all, t[0]+"_"+intervals[i].native)
		}
		return all, nil
	}
	return nil, fmt.Errorf("kucoin: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// Requests renders catalogues and the last trades, which is all that the venue
// tells of the past.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := r.Base
	if base == "" {
		base = p.spec(r.Market).HTTP[0]
	}
	if r.Purpose == source.PurposeInstruments || r.Purpose == source.PurposePoll && len(r.Subs) > 0 && r.Subs[0].Channel == market.ChannelInstruments {
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
