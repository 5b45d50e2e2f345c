package deribit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Ids of calls. Those of subscriptions are made by callID, above idTest.
const (
	idHeartbeat = "1"
	idLogin     = "2"
	idTest      = "3"
)

// loginToken is what a session of the raw feeds waits for.
const loginToken = "login"

// Session dials, has the venue ask for signs of life, logs in where the class
// needs it, and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	script, err := source.DialAndSubscribe(p, r)
	if err != nil {
		return script, err
	}
	steps := []source.Step{
		{Send: &source.Frame{Token: idHeartbeat, Data: fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"public/set_heartbeat","params":{"interval":%d}}`, idHeartbeat, heartbeat)}}}
	if r.Class == classLogin {
		// The connection is logged in for as long as what the venue grants is good for,
		// 15 minutes at least; it is asked for anew before that, with what it granted last.
		steps = append(steps, source.Step{Send: &source.Frame{
			Data: `{"jsonrpc":"2.0","id":` + idLogin + `,"method":"public/auth","params":{"grant_type":"client_signature","client_id":"${key}","timestamp":${timestamp},"nonce":"${nonce}","data":"","signature":"${signature}"}}`,
			Sign: &source.Sign{Scheme: source.SchemeHMACSHA256, Payload: "${timestamp}\n${nonce}\n", Timestamp: source.TimeMillis, Encoding: source.EncodingHex,
				Conceal: granted},
		}}, source.Step{Await: &source.Await{Token: loginToken, Timeout: 10 * time.Second, Refusals: refusals}},
			source.Step{Renew: &source.Renew{Every: renewEvery, Frame: &source.Frame{
				Data: `{"jsonrpc":"2.0","id":` + idLogin + `,"method":"public/auth","params":{"grant_type":"refresh_token","refresh_token":"${kept:refresh_token}"}}`,
				Sign: &source.Sign{Conceal: granted},
			}}})
	}
	script.Steps = slices.Insert(script.Steps, 1, steps...)
	return script, nil
}

const renewEvery = 10 * time.Minute

// granted are the members of an answer to a login that are secrets.
var granted = []string{"access_token", "refresh_token"}

// refusals are those after which a login may be tried again: too_many_requests,
// retry, too_many_concurrent_requests, system_maintenance, internal_server_error,
// temporarily_unavailable and timed_out. invalid_credentials (13004),
// unauthorized (13009), forbidden (13021) and the rest say that the key, its
// rights or its secret are wrong.
var refusals = []source.Refusal{
	{Reason: "10028", Kind: fault.Wait, After: time.Minute},
	{Reason: "10040", Kind: fault.Retry}, {Reason: "10066", Kind: fault.Wait, After: 10 * time.Second},
	{Reason: "11051", Kind: fault.Wait, After: time.Minute}, {Reason: "11094", Kind: fault.Retry},
	{Reason: "13028", Kind: fault.Retry}, {Reason: "13888", Kind: fault.Retry},
}

// alone is up to how many channels each has a call of its own, so that each is
// known to be refused by itself: as many as can be made at once, with room for
// the rest of a session.
const alone = 8

// Frames renders one call for each channel, or for as many as a call may name.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	all, err := source.Topics(r, streams)
	if err != nil {
		return nil, err
	}
	size := 1
	if len(all) > alone {
		size = maxChannels
	}
	return source.FrameBatches(all, func(batch []string, _ string) bool { return len(batch) < size },
		func(batch []string) source.Frame { return call(batch, r.Unsubscribe) }), nil
}

// call renders a call. Its id says what the answer can't: from the right,
// whether it unsubscribes, how many channels it names, and which.
func call(names []string, unsubscribe bool) source.Frame {
	list, _ := json.Marshal(names) // texts always marshal
	method, end := "public/subscribe", uint64(0)
	if unsubscribe {
		method, end = "public/unsubscribe", 1
	}
	h := fnv.New32a()
	h.Write(list)
	id := strconv.FormatUint(uint64(h.Sum32()|1)<<16|uint64(len(names))<<1|end, 10)
	return source.Frame{Token: id, Data: `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":{"channels":` + string(list) + `}}`}
}

// callOf reads an id of call: how many channels it names, 0 if the id is none.
func callOf(id []byte) (channels int, unsubscribe bool) {
	n, err := strconv.ParseUint(string(id), 10, 48)
	if err != nil || n>>16 == 0 {
		return 0, false
	}
	return int(n >> 1 & 0x7fff), n&1 == 1
}

// streams are the venue's channels that a subscription needs.
func streams(_ market.Market, sub source.Subscription) ([]string, error) {
	interval := cmp.Or(sub.Config.String("interval"), interval100)
	switch sub.Channel {
	case market.ChannelTrades, market.ChannelLiquidations:
		return []string{"trades." + sub.Symbol + "." + interval}, nil
	case market.ChannelBook:
		return []string{"book." + sub.Symbol + "." + interval}, nil
	case market.ChannelBBO:
		return []string{"quote." + sub.Symbol}, nil
	case market.ChannelTicker, market.ChannelFunding, market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest, market.ChannelOptions:
		return []string{"ticker." + sub.Symbol + "." + interval}, nil
	case market.ChannelVolatilityIndex:
		base, _, _ := strings.Cut(sub.Symbol, "-")
		return []string{"deribit_volatility_index." + strings.ToLower(base) + "_usd"}, nil
	case market.ChannelCandles:
		return source.CandleTopics(intervals, sub, func(i *source.Interval) string { return "chart.trades." + sub.Symbol + "." + i.Native })
	}
	return nil, fmt.Errorf("deribit: channel %s of %s is no stream", sub.Channel, sub.Symbol)
}

// Requests renders catalogues, and trade history, which is paged by the trades'
// numbers.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := cmp.Or(r.Base, p.manifest.Markets[0].HTTP[0]) + "/api/v2/public/"
	if r.Catalogue() {
		return []source.Request{{URL: base + "get_instruments?currency=any&kind=" + kind(r.Market), Weight: 1}}, nil
	}
	var all []source.Request
	for _, sub := range r.Subs {
		if r.Purpose != source.PurposeHistory || sub.Channel != market.ChannelTrades {
			return nil, fmt.Errorf("deribit: no %s request for %s of %s", r.Purpose, sub.Channel, sub.Symbol)
		}
		all = append(all, source.Request{Weight: 1, URL: fmt.Sprintf("%sget_last_trades_by_instrument?instrument_name=%s&start_seq=%d&end_seq=%d&count=1000&sorting=asc",
			base, url.QueryEscape(sub.Symbol), r.From, r.To)})
	}
	return all, nil
}

// kind is the venue's name of what a market lists; futures are of two markets.
func kind(m market.Market) string {
	switch m {
	case market.MarketSpot:
		return "spot"
	case market.MarketOption:
		return "option"
	}
	return "future"
}
