package conn

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// subscribed replays what the venue was asked, by connection.
func subscribed(t *testing.T, as []arrival) map[int]map[string]bool {
	t.Helper()
	have := make(map[int]map[string]bool)
	for _, a := range as {
		if strings.HasPrefix(a.text, "DIAL") {
			have[a.conn] = make(map[string]bool)
		}
		if strings.HasPrefix(a.text, "GONE") {
			delete(have, a.conn)
		}
		var r request
		if json.Unmarshal([]byte(a.text), &r) != nil {
			continue
		}
		for _, s := range r.Args {
			switch {
			case r.Op == "subscribe" && have[a.conn][s], r.Op == "unsubscribe" && !have[a.conn][s]:
				t.Errorf("connection %d: %s of %s is one too many", a.conn, r.Op, s)
			case r.Op == "subscribe":
				have[a.conn][s] = true
			default:
				delete(have[a.conn], s)
			}
		}
	}
	return have
}

func sizes(have map[int]map[string]bool) (out []int) {
	for _, m := range have {
		out = append(out, len(m))
	}
	slices.Sort(out)
	return out
}

func TestSharding(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		r := start(t, s, subs(market.ChannelTrades, 1025))
		time.Sleep(time.Second)
		if n := sizes(subscribed(t, v.arrivals())); !slices.Equal(n, []int{1, 1024}) {
			t.Errorf("1025 subscriptions are dealt %v", n)
		}
		st := r.Stats()
		if len(st) != 2 || st[0].Conn == st[1].Conn {
			t.Errorf("%+v", st)
		}
	})
}

func TestClassesAndMarketChannels(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Spec.Endpoints = append(s.Spec.Endpoints, source.Endpoint{Class: "business", URL: "wss://ws.testex.example/business"})
		s.Channels[1].Class = "business"
		all := slices.Concat(subs(market.ChannelTrades, 3), subs(market.ChannelBook, 3), subs(market.ChannelLiquidations, 3), subs(market.ChannelTrades, 2))
		r := start(t, s, all)
		time.Sleep(time.Second)
		have := subscribed(t, v.arrivals())
		if n := sizes(have); !slices.Equal(n, []int{3, 4}) {
			t.Errorf("dealt %v: %v", n, have)
		}
		for _, m := range have {
			for k := range m {
				if strings.HasPrefix(k, "liquidations:") && k != "liquidations:" {
					t.Errorf("the market's channel was subscribed for a symbol: %s", k)
				}
			}
		}
		urls := []string{}
		for _, st := range r.Stats() {
			urls = append(urls, st.Class+" "+st.URL)
		}
		slices.Sort(urls)
		if !slices.Equal(urls, []string{" wss://ws.testex.example/stream", "business wss://ws.testex.example/business"}) {
			t.Errorf("%v", urls)
		}
		if err := r.SetSubscriptions(subs(market.ChannelOptions, 1)); fault.Of(err) != fault.Stop {
			t.Errorf("a channel that the venue lacks: %v", err)
		}
	})
}

func TestSetSubscriptionsSendsTheDifference(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		endpoint(&s, func(e *source.Endpoint) { e.MaxSubscriptions = 4 })
		all := subs(market.ChannelTrades, 12)
		set := func(r *running, list []source.Subscription, want ...int) {
			t.Helper()
			if err := r.SetSubscriptions(list); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			have := subscribed(t, v.arrivals())
			union := make(map[string]bool)
			for _, m := range have {
				for k := range m {
					union[k] = true
				}
			}
			for _, sub := range list {
				if !union["trades:"+sub.Symbol] {
					t.Errorf("%s is missing", sub.Symbol)
				}
			}
			if n := sizes(have); len(union) != len(list) || !slices.Equal(n, want) {
				t.Errorf("%d subscribed of %d, dealt %v, want %v", len(union), len(list), n, want)
			}
		}
		r := start(t, s, all[:4])
		set(r, all[:4], 4)
		set(r, all[:6], 2, 4)
		set(r, all[2:8], 2, 4) // what left makes room where it was
		if n := len(dials(v.arrivals())); n != 2 {
			t.Errorf("%d dials", n)
		}
		set(r, all, 4, 4, 4)
		set(r, all[6:8], 2) // those that carry nothing are closed
		set(r, nil)
		if n := count(source.InputClose, "no subscriptions left")(r.mem.all()); n != 3 {
			t.Errorf("%d closed for want of subscriptions:\n%s", n, dump(r.mem.all()))
		}
		set(r, all[:1], 1)
	})
}

// TestLengthsTakePlaces: each length of a candle is a channel of the venue, as the
// plan counts it.
func TestLengthsTakePlaces(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Spec.Endpoints[0].MaxSubscriptions = 5
		all := subs(market.ChannelTrades, 4)
		for i := range all[:3] {
			all[i].Config = schema.Values{"intervals": []string{"1m", "1h"}}
		}
		start(t, s, all)
		time.Sleep(time.Second)
		if n := sizes(subscribed(t, v.arrivals())); !slices.Equal(n, []int{2, 2}) {
			t.Errorf("dealt %v", n)
		}
	})
}

func TestSubscriptionsWithAttributesAreDistinct(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		one := source.Subscription{Channel: market.ChannelTrades, Symbol: "A", Config: schema.Values{"interval": "1m"}}
		five := one
		five.Config = schema.Values{"interval": "5m"}
		r := start(t, s, []source.Subscription{one, five, one})
		time.Sleep(time.Second)
		if st := r.Stats(); len(st) != 1 || st[0].Subscriptions != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// TestAddedSubscriptionsAreAnnounced: what is added to a live connection is told
// when the venue has acknowledged it, by itself; what it refuses is not.
func TestAddedSubscriptionsAreAnnounced(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Renderer = &plugin{batch: 1, tokens: true}
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			v.serve(n, ws, func(r request) []string {
				switch {
				case r.Args[0] == "trades:SYM3":
					return []string{fmt.Sprintf(`{"reject":%q}`, r.ID)}
				case r.Args[0] == "trades:SYM4":
					time.Sleep(2 * time.Second)
				}
				return []string{fmt.Sprintf(`{"ack":%q}`, r.ID)}
			})
		}
		all := subs(market.ChannelTrades, 5)
		r := decoded(t, s, all[:2])
		time.Sleep(time.Second)
		if err := r.SetSubscriptions(all[1:]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if ev := r.seen(EventSubscribed); len(ev) != 1 || len(ev[0].Subs) != 2 {
			t.Errorf("before the acknowledgement: %+v", ev)
		}
		time.Sleep(10 * time.Second)
		r.Resubscribe(all[2]) // it is carried already
		time.Sleep(10 * time.Second)
		ev := r.seen(EventSubscribed)
		if len(ev) != 2 || len(ev[1].Subs) != 2 || ev[1].Subs[0].Symbol != "SYM2" || ev[1].Subs[1].Symbol != "SYM4" || ev[1].Conn != ev[0].Conn {
			t.Errorf("%+v", ev)
		}
	})
}

func TestResubscribeTouchesOneSymbol(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		all := subs(market.ChannelBook, 5)
		r := start(t, s, all)
		time.Sleep(time.Second)
		n := len(v.arrivals())
		r.Resubscribe(all[3])
		r.Resubscribe(source.Subscription{Channel: market.ChannelBook, Symbol: "UNKNOWN"})
		time.Sleep(time.Second)
		got := v.arrivals()[n:]
		if len(got) != 2 || !strings.Contains(got[0].text, `"unsubscribe"`) || !strings.Contains(got[1].text, `"subscribe"`) ||
			!strings.Contains(got[0].text, `["book:SYM3"]`) || !strings.Contains(got[1].text, `["book:SYM3"]`) {
			t.Errorf("%v", got)
		}
		if n := sizes(subscribed(t, v.arrivals())); !slices.Equal(n, []int{5}) {
			t.Errorf("dealt %v", n)
		}
	})
}

// TestUnsubscribeNamesWhatStays: channels may share one of the venue's, so that a
// plugin must know what it may not give up.
func TestUnsubscribeNamesWhatStays(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		all := slices.Concat(subs(market.ChannelTrades, 1), subs(market.ChannelBook, 2))
		r := start(t, s, all)
		time.Sleep(time.Second)
		if err := r.SetSubscriptions(slices.Concat(all[:2], subs(market.ChannelLiquidations, 1))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		r.plugin.mu.Lock()
		defer r.plugin.mu.Unlock()
		asked := r.plugin.asked
		if len(asked) != 2 || !asked[0].Unsubscribe || asked[1].Unsubscribe || asked[1].Live != nil {
			t.Fatalf("%+v", asked)
		}
		live := map[market.Channel]string{}
		for _, s := range asked[0].Live {
			live[s.Channel] = s.Symbol
		}
		if len(asked[0].Live) != 2 || live[market.ChannelTrades] != all[0].Symbol || live[market.ChannelBook] != all[1].Symbol {
			t.Errorf("%v stay", live)
		}
	})
}
