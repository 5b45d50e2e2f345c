package htx

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Session dials and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	return source.DialAndSubscribe(p, r)
}

// request subscribes to a topic, or gives it up: with sub or unsub, at the
// notification endpoints with op and topic.
type request struct {
	Sub   string `json:"sub,omitempty"`
	Unsub string `json:"unsub,omitempty"`
	Req   string `json:"req,omitempty"`
	Data  string `json:"data_type,omitempty"`
	ID    string `json:"id,omitempty"`
	Op    string `json:"op,omitempty"`
	Cid   string `json:"cid,omitempty"`
	Topic string `json:"topic,omitempty"`
}

func (q request) text() string {
	b, _ := json.Marshal(q) // texts always marshal
	return string(b)
}

// Frames renders one request for each topic, for a list is answered topic by
// topic and refused as a whole. Contracts of one pair share its index.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	verb := r.Op("sub", "unsub")
	return source.FrameEach(r, topics, func(t string) source.Frame {
		id := source.RequestID(verb, t)
		q := request{ID: id}
		switch {
		case strings.HasPrefix(t, "public."):
			q = request{Op: verb, Cid: id, Topic: t}
		case r.Unsubscribe:
			q.Unsub = t
		default:
			q.Sub = t
		}
		if strings.HasSuffix(t, highFrequency) {
			q.Data = "incremental"
		}
		return source.Frame{Data: q.text(), Token: id}
	})
}

// highFrequency ends the topics of contracts' books; without data_type they are
// whole each time.
const highFrequency = ".high_freq"

// topics are those that a subscription needs.
func topics(m market.Market, sub source.Subscription) ([]string, error) {
	spot := m == market.MarketSpot
	one := func(what string) ([]string, error) { return []string{"market." + sub.Symbol + "." + what}, nil }
	switch c := sub.Channel; {
	case c == market.ChannelTrades:
		return one("trade.detail")
	case c == market.ChannelBook && spot:
		return one("mbp." + levels(sub, spotDepths))
	case c == market.ChannelBook:
		return one("depth.size_" + levels(sub, contractDepths) + highFrequency)
	case c == market.ChannelBBO:
		return one("bbo")
	case c == market.ChannelTicker && spot:
		return one("ticker")
	case c == market.ChannelTicker:
		return one("detail")
	case c == market.ChannelMarkPrice && !spot:
		return one("mark_price.1min")
	case c == market.ChannelIndexPrice && !spot:
		return []string{"market." + pairOf(sub.Symbol) + ".index.1min"}, nil
	case c == market.ChannelFunding && !spot:
		return []string{"public." + sub.Symbol + ".funding_rate"}, nil
	case c == market.ChannelLiquidations && !spot:
		return []string{"public.*.liquidation_orders"}, nil
	case c == market.ChannelCandles:
		return source.CandleTopics(intervalsOf(m), sub, func(i *source.Interval) string { return "market." + sub.Symbol + ".kline." + i.Native })
	}
	return nil, fmt.Errorf("htx: channel %s of %s is no stream on %s", sub.Channel, sub.Symbol, m)
}

// levels is the next depth that the venue has.
func levels(sub source.Subscription, depths []int) string {
	return strconv.Itoa(source.Depth(sub.Config.Int("depth"), depths))
}

// Requests renders whole books, which are asked for on the connection that
// carries their changes, catalogues, all tickers, polls, and the newest trades.
func (p *plugin) Requests(r source.RequestFor) ([]source.Request, error) {
	base := r.Base
	if base == "" {
		if base = futuresHTTP; r.Market == market.MarketSpot {
			base = p.manifest.Markets[0].HTTP[0]
		}
	}
	var all []source.Request
	get := func(path string) { all = append(all, source.Request{URL: base + path, Weight: 1}) }
	if r.Catalogue() {
		for _, path := range catalogues(r.Market) {
			get(path)
		}
		return all, nil
	}
	if r.Purpose == source.PurposeTickers {
		path := map[market.Market]string{market.MarketSpot: "/market/tickers", market.MarketLinear: ofLinear.data + batchMerged, market.MarketInverse: ofInverse.data + batchMerged}
		get(path[r.Market])
		return all, nil
	}
	for _, sub := range r.Subs {
		symbol := url.QueryEscape(sub.Symbol)
		f := familyOf(r.Market, sub.Symbol)
		switch {
		case r.Purpose == source.PurposeSnapshot && sub.Channel == market.ChannelBook && f == ofSpot:
			all = append(all, mbp(sub))
		case r.Purpose == source.PurposeHistory && sub.Channel == market.ChannelTrades:
			get(f.data + "/market/history/trade?" + f.key + "=" + symbol + "&size=2000")
		case r.Purpose == source.PurposePoll && sub.Channel == market.ChannelOpenInterest && f != ofSpot:
			path := f.api + "open_interest?contract_code=" + symbol
			if f == ofLinear && sub.Symbol != pairOf(sub.Symbol) {
				path += "&business_type=futures"
			}
			get(path)
		case r.Purpose == source.PurposePoll && sub.Channel == market.ChannelLongShortRatio && f != ofSpot && sub.Symbol == pairOf(sub.Symbol):
			get(f.api + "elite_account_ratio?contract_code=" + symbol + "&period=5min")
			get(f.api + "elite_position_ratio?contract_code=" + symbol + "&period=5min")
		default:
			return nil, fmt.Errorf("htx: no %s request for %s of %s on %s", r.Purpose, sub.Channel, sub.Symbol, r.Market)
		}
	}
	return all, nil
}

// batchMerged are the tickers of a family's perpetuals.
const batchMerged = "/market/detail/batch_merged"

// mbp asks for the whole book whose changes a subscription brings.
func mbp(sub source.Subscription) source.Request {
	topic := "market." + sub.Symbol + ".mbp." + levels(sub, spotDepths)
	return source.Request{Socket: true, Body: request{Req: topic, ID: source.RequestID("req", topic)}.text(), Weight: 1}
}

// family says where the products of a market lie.
type family struct {
	data string // market data
	api  string // everything else
	key  string // that names an instrument in market data
}

var (
	ofSpot    = family{"", "", "symbol"}
	ofLinear  = family{"/linear-swap-ex", "/linear-swap-api/v1/swap_", "contract_code"}
	ofInverse = family{"/swap-ex", "/swap-api/v1/swap_", "contract_code"}
	ofDated   = family{"", "/api/v1/contract_", "symbol"}
)

func familyOf(m market.Market, symbol string) family {
	switch {
	case m == market.MarketSpot:
		return ofSpot
	case m == market.MarketLinear:
		return ofLinear
	case strings.Contains(symbol, "-"):
		return ofInverse
	}
	return ofDated
}

func catalogues(m market.Market) []string {
	switch m {
	case market.MarketSpot:
		return []string{"/v1/settings/common/market-symbols"}
	case market.MarketLinear:
		return []string{ofLinear.api + "contract_info?business_type=all"}
	}
	return []string{ofInverse.api + "contract_info", ofDated.api + "contract_info"}
}
