package htx

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Session dials and subscribes.
func (p *plugin) Session(r source.SessionRequest) (source.Script, error) {
	subscribe, err := p.Frames(source.FrameRequest{Market: r.Market, Class: r.Class, Subscriptions: r.Subscriptions})
	if err != nil {
		return source.Script{}, err
	}
	return source.Script{Steps: []source.Step{{Dial: &source.Dial{URL: r.Endpoint}}, {Subscribe: subscribe}}}, nil
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

// id is what the venue repeats in its answer. It follows from what is asked: a
// plugin has no counter that would outlive a restart.
func id(verb, topic string) string {
	h := fnv.New32a()
	h.Write([]byte(verb + " " + topic))
	return strconv.FormatUint(uint64(h.Sum32()), 10)
}

// Frames renders one request for each topic, for a list is answered topic by
// topic and refused as a whole. Contracts of one pair share its index, which is
// named once and not given up while another needs it.
func (p *plugin) Frames(r source.FrameRequest) ([]source.Frame, error) {
	verb := "sub"
	if r.Unsubscribe {
		verb = "unsub"
	}
	needed := map[string]bool{}
	for _, sub := range r.Live {
		all, err := topics(r.Market, sub)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			needed[t] = true
		}
	}
	var frames []source.Frame
	at := map[string]int{}
	for i, sub := range r.Subscriptions {
		all, err := topics(r.Market, sub)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			if j, ok := at[t]; ok {
				frames[j].Subs = append(frames[j].Subs, i)
				continue
			}
			if needed[t] {
				continue
			}
			at[t] = len(frames)
			token := id(verb, t)
			q := request{ID: token}
			switch {
			case strings.HasPrefix(t, "public."):
				q = request{Op: verb, Cid: token, Topic: t}
			case r.Unsubscribe:
				q.Unsub = t
			default:
				q.Sub = t
			}
			if strings.HasSuffix(t, highFrequency) {
				q.Data = "incremental"
			}
			frames = append(frames, source.Frame{Data: q.text(), Token: token, Subs: []int{i}})
		}
	}
	return frames, nil
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
		list := sub.Config.Strings("intervals")
		if len(list) == 0 {
			list = []string{"1m"}
		}
		var all []string
		for _, name := range list {
			native := ""
			for _, i := range intervals {
				if i.name == name && (spot || i.months <= 1) {
					native = i.native
				}
			}
			if native == "" {
				return nil, fmt.Errorf("htx: no candles of %q on %s", name, m)
			}
			all = append(all, "market."+sub.Symbol+".kline."+native)
		}
		return all, nil
	}
	return nil, fmt.Errorf("htx: channel %s of %s is no stream on %s", sub.Channel, sub.Symbol, m)
}

// levels is the next depth that the venue has.
func levels(sub source.Subscription, depths []int) string {
	n := depths[len(depths)-1]
	if want := int(sub.Config.Int("depth")); want > 0 {
		for _, d := range depths {
			if d >= want {
				n = d
				break
			}
		}
	}
	return strconv.Itoa(n)
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
	if r.Purpose == source.PurposeInstruments || r.Purpose == source.PurposePoll && len(r.Subs) > 0 && r.Subs[0].Channel == market.ChannelInstruments {
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
	return source.Request{Socket: true, Body: request{Req: topic, ID: id("req", topic)}.text(), Weight: 1}
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
