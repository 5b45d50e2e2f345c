package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// Sub is a subscription; config has names and values in turn, as a channel's
// block gives them.
func Sub(c market.Channel, symbol string, config ...any) source.Subscription {
	s := source.Subscription{Channel: c, Symbol: symbol, Config: schema.Values{}}
	for i := 0; i < len(config); i += 2 {
		s.Config[config[i].(string)] = config[i+1]
	}
	return s
}

// Session renders a connection's script. It ends the test unless the script has
// that many steps, of which the first dials the endpoint of the request.
func Session(t testing.TB, s source.Source, r source.SessionRequest, steps int) []source.Step {
	t.Helper()
	script, err := s.Session(r)
	if err != nil || len(script.Steps) != steps || script.Steps[0].Dial == nil || script.Steps[0].Dial.URL != r.Endpoint {
		t.Fatalf("want %d steps that begin with a dial of %s, got %+v, %v", steps, r.Endpoint, script, err)
	}
	return script.Steps
}

// Render renders frames for a live connection.
func Render(t testing.TB, s source.Source, r source.FrameRequest) []source.Frame {
	t.Helper()
	frames, err := s.Frames(r)
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// Frames renders frames for a live connection and compares them as Rendered does.
func Frames(t testing.TB, s source.Source, r source.FrameRequest, text func(source.Frame) string, want ...string) {
	t.Helper()
	Rendered(t, Render(t, s, r), text, want...)
}

// Rendered compares frames, each as text states it, with what is wanted.
func Rendered(t testing.TB, frames []source.Frame, text func(source.Frame) string, want ...string) {
	t.Helper()
	for i, f := range frames {
		if got := text(f); i >= len(want) {
			t.Errorf("frame %d: %s, which isn't wanted", i, got)
		} else if got != want[i] {
			t.Errorf("frame %d:\n got %s\nwant %s", i, got, want[i])
		}
	}
	if len(frames) < len(want) {
		t.Errorf("%d frames, the next wanted is %s", len(frames), want[len(frames)])
	}
}

// Tokens fails if two frames have one token: the venue's answer to one of them
// would be taken for the other's.
func Tokens(t testing.TB, frames []source.Frame) {
	t.Helper()
	seen := map[string]string{}
	for _, f := range frames {
		if other, ok := seen[f.Token]; ok {
			t.Errorf("token %q is that of %s and of %s", f.Token, other, f.Data)
		}
		seen[f.Token] = f.Data
	}
}

// Requests renders requests, compares them with what is wanted, and gives their
// weight. One is stated by its URL; before it the method, unless that is GET,
// behind it the body if there is one.
func Requests(t testing.TB, s source.Source, r source.RequestFor, want ...string) (weight int) {
	t.Helper()
	rs, err := s.Requests(r)
	var got []string
	for _, q := range rs {
		text := strings.TrimSpace(q.URL + " " + q.Body)
		if q.Method != "" && q.Method != "GET" {
			text = q.Method + " " + text
		}
		got = append(got, text)
		weight += q.Weight
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s of %s, %v:\n got %s\nwant %s", r.Purpose, r.Market, err, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	return weight
}

// RefusesFrames goes through subscriptions that no frame makes on the market.
func RefusesFrames(t testing.TB, s source.Source, m market.Market, subs ...source.Subscription) {
	t.Helper()
	for _, one := range subs {
		if f, err := s.Frames(source.FrameRequest{Market: m, Subscriptions: []source.Subscription{one}}); err == nil {
			t.Errorf("%s on %s %v is subscribed by %v, want a refusal", one.Channel, m, one.Config, f)
		}
	}
}

// RefusesRequests goes through what the venue doesn't answer.
func RefusesRequests(t testing.TB, s source.Source, rs ...source.RequestFor) {
	t.Helper()
	for _, r := range rs {
		if got, err := s.Requests(r); err == nil {
			t.Errorf("%s of %v on %s is requested by %v, want a refusal", r.Purpose, r.Subs, r.Market, got)
		}
	}
}

// Manifest holds a manifest to what the plugin renders: each channel stands once
// for a market, on markets that the venue has; with the attributes' defaults, and
// with each value that moves it to another class of endpoint, the market has that
// endpoint and there are frames that subscribe it; what is polled has an HTTP
// endpoint and requests. It gives the most frames or requests that one
// subscription took.
func Manifest(t testing.TB, s source.Source, sub func(market.Market, market.Channel) source.Subscription) (most int) {
	t.Helper()
	man := s.Describe()
	seen := map[string]bool{}
	for i := range man.Channels {
		c := &man.Channels[i]
		for _, m := range c.Markets {
			what := fmt.Sprintf("%s: %s on %s", man.Venue, c.Channel, m)
			at := slices.IndexFunc(man.Markets, func(x source.MarketSpec) bool { return x.Market == m })
			if at < 0 {
				t.Errorf("%s, which is none of its markets", what)
				continue
			}
			if seen[what] {
				t.Errorf("%s stands twice", what)
			}
			seen[what] = true
			one := sub(m, c.Channel)
			one.Config = withDefaults(c, one.Config)
			if c.Transport == source.Poll {
				r, err := s.Requests(source.RequestFor{Purpose: source.PurposePoll, Market: m, Subs: []source.Subscription{one}})
				if err != nil || len(r) == 0 || len(man.Markets[at].HTTP) == 0 {
					t.Errorf("%s can't be polled: %v, %v", what, r, err)
				}
				most = max(most, len(r))
				continue
			}
			configs := []schema.Values{one.Config}
			classes := []string{c.Class}
			for _, r := range c.ClassWhen {
				classes = append(classes, r.Class)
				if r.Attribute != "" {
					config := maps.Clone(one.Config)
					config[r.Attribute] = r.Value
					configs = append(configs, config)
				}
			}
			for _, class := range classes {
				if !slices.ContainsFunc(man.Markets[at].Endpoints, func(e source.Endpoint) bool { return e.Class == class }) {
					t.Errorf("%s: the market has no endpoint of class %q", what, class)
				}
			}
			for _, one.Config = range configs {
				f, err := s.Frames(source.FrameRequest{Market: m, Class: c.EndpointClass(one.Config, one.Symbol), Subscriptions: []source.Subscription{one}})
				if err != nil || len(f) == 0 {
					t.Errorf("%s can't be subscribed with %v: %v, %v", what, one.Config, f, err)
				}
				most = max(most, len(f))
			}
		}
	}
	return most
}

// withDefaults is a channel's configuration as the runtime gives it; defaults
// that HCL writes with a unit are left out.
func withDefaults(c *source.ChannelSpec, config schema.Values) schema.Values {
	all := schema.Values{}
	for _, a := range c.Attributes {
		switch d := a.Default.(type) {
		case nil:
		case int:
			all[a.Name] = int64(d)
		default:
			if a.Type != schema.Duration && a.Type != schema.Size {
				all[a.Name] = d
			}
		}
	}
	maps.Copy(all, config)
	return all
}
