package oracle

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// witness is a test whose failures are read.
type witness struct {
	testing.TB
	said strings.Builder
}

func (w *witness) Errorf(format string, args ...any) { fmt.Fprintf(&w.said, format+"\n", args...) }

type ended struct{}

func (w *witness) Fatalf(format string, args ...any) { w.Errorf(format, args...); panic(ended{}) }
func (w *witness) Fatal(args ...any)                 { w.Fatalf("%s", fmt.Sprint(args...)) }

// failure is what a check says.
func failure(t *testing.T, check func(testing.TB)) string {
	w := &witness{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != (ended{}) {
				panic(r)
			}
		}()
		check(w)
	}()
	return w.said.String()
}

// venue has pairs with a dash and streams of trades, as good a plugin as each
// test leaves it.
type venue struct {
	source.Source
	man      source.Manifest
	symbol   string // that every name resolves to, if not empty
	frames   []source.Frame
	requests []source.Request
	refuses  error
}

func good() *venue {
	return &venue{frames: []source.Frame{{Data: "subscribe", Token: "1"}}, requests: []source.Request{{URL: "http://h/x", Weight: 2}},
		man: source.Manifest{Venue: "fake", Markets: []source.MarketSpec{{Market: market.MarketSpot, Endpoints: []source.Endpoint{{URL: "ws://h"}}, HTTP: []string{"http://h"}}},
			Channels: []source.ChannelSpec{
				{Channel: market.ChannelTrades, Markets: []market.Market{market.MarketSpot}, Transport: source.Stream,
					Attributes: schema.Attributes{{Name: "aggregate", Type: schema.Bool, Default: false}, {Name: "depth", Type: schema.Int, Default: 5}}},
				{Channel: market.ChannelFunding, Markets: []market.Market{market.MarketSpot}, Transport: source.Poll}}}}
}

func (v *venue) Describe() source.Manifest { return v.man }

func (v *venue) Resolve(name string) (market.Market, string, error) {
	if v.symbol != "" {
		return market.MarketSpot, v.symbol, nil
	}
	if _, err := market.ParseName(name); err != nil {
		return 0, "", errors.Join(v.refuses, err)
	}
	return market.MarketSpot, name, nil
}

func (v *venue) Identify(m market.Market, symbol string) market.Instrument {
	return market.Instrument{Market: m, Symbol: symbol, Name: symbol}
}

func (v *venue) Session(r source.SessionRequest) (source.Script, error) {
	return source.Script{Steps: []source.Step{{Dial: &source.Dial{URL: r.Endpoint}}}}, v.refuses
}

func (v *venue) Frames(source.FrameRequest) ([]source.Frame, error)   { return v.frames, v.refuses }
func (v *venue) Requests(source.RequestFor) ([]source.Request, error) { return v.requests, v.refuses }
func ofTrades(_ market.Market, c market.Channel) source.Subscription  { return Sub(c, "A-B") }
func data(f source.Frame) string                                      { return f.Data }

// TestChecks: a check passes what is right, and names what differs.
func TestChecks(t *testing.T) {
	spot := func(l Listing) []Listing { l.Market, l.Symbol = market.MarketSpot, "A-B"; return []Listing{l} }
	no := errors.New("fake: no")
	for want, check := range map[string]func(testing.TB, *venue){
		"": func(t testing.TB, v *venue) {
			Names(t, v, spot(Listing{Name: "A-B", Base: "A", Quote: "B", Settle: "B"}))
		},
		"its base is A":                        func(t testing.TB, v *venue) { Names(t, v, spot(Listing{Base: "X"})) },
		"its settlement is B":                  func(t testing.TB, v *venue) { Names(t, v, spot(Listing{Settle: "X"})) },
		"its contract size is ":                func(t testing.TB, v *venue) { Names(t, v, spot(Listing{ContractSize: "1"})) },
		"A-B resolves to C on":                 func(t testing.TB, v *venue) { v.symbol = "C"; Names(t, v, spot(Listing{})) },
		"are both A-B":                         func(t testing.TB, v *venue) { Names(t, v, append(spot(Listing{}), spot(Listing{})...)) },
		"has no good name":                     func(t testing.TB, v *venue) { Names(t, v, []Listing{{Market: market.MarketSpot, Symbol: "AB"}}) },
		"want no name":                         func(t testing.TB, v *venue) { Nameless(t, v, market.MarketSpot, "AB") },
		"want a refusal":                       func(t testing.TB, v *venue) { RefusesNames(t, v, "A-B") },
		"doesn't begin with fake":              func(t testing.TB, v *venue) { RefusesNames(t, v, "AB") },
		"steps that begin with":                func(t testing.TB, v *venue) { Session(t, v, source.SessionRequest{Endpoint: "ws://h"}, 2) },
		"frame 0:\n got subscribe\nwant other": func(t testing.TB, v *venue) { Frames(t, v, source.FrameRequest{}, data, "other") },
		"the next wanted is other":             func(t testing.TB, v *venue) { Frames(t, v, source.FrameRequest{}, data, "subscribe", "other") },
		"which isn't wanted":                   func(t testing.TB, v *venue) { Frames(t, v, source.FrameRequest{}, data) },
		`token "1"`:                            func(t testing.TB, v *venue) { Tokens(t, append(v.frames, v.frames...)) },
		"want http://h/y":                      func(t testing.TB, v *venue) { Requests(t, v, source.RequestFor{}, "http://h/y") },
		"is subscribed by":                     func(t testing.TB, v *venue) { RefusesFrames(t, v, market.MarketSpot, Sub(market.ChannelTrades, "")) },
		"is requested by":                      func(t testing.TB, v *venue) { RefusesRequests(t, v, source.RequestFor{}) },
		"none of its markets":                  func(t testing.TB, v *venue) { v.man.Markets = nil; Manifest(t, v, ofTrades) },
		"stands twice":                         func(t testing.TB, v *venue) { v.man.Channels[1] = v.man.Channels[0]; Manifest(t, v, ofTrades) },
		"no endpoint of class":                 func(t testing.TB, v *venue) { v.man.Channels[0].Class = "x"; Manifest(t, v, ofTrades) },
		`class "y"`: func(t testing.TB, v *venue) {
			v.man.Channels[0].ClassWhen = []source.ClassRule{{Attribute: "aggregate", Value: true, Class: "y"}}
			Manifest(t, v, ofTrades)
		},
		"trades on spot can't be subscribed with map[aggregate:false depth:5]": func(t testing.TB, v *venue) { v.refuses = no; Manifest(t, v, ofTrades) },
		"funding on spot can't be polled":                                      func(t testing.TB, v *venue) { v.man.Markets[0].HTTP = nil; Manifest(t, v, ofTrades) },
	} {
		got := failure(t, func(w testing.TB) { check(w, good()) })
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
	}
	for name, check := range map[string]func(testing.TB){
		"manifest": func(t testing.TB) {
			if most := Manifest(t, good(), ofTrades); most != 1 {
				t.Errorf("%d frames", most)
			}
		},
		"requests": func(t testing.TB) {
			v := good()
			v.requests[0].Method, v.requests[0].Body = "POST", "{}"
			if w := Requests(t, v, source.RequestFor{}, "POST http://h/x {}"); w != 2 {
				t.Errorf("weight %d", w)
			}
		},
		"refusals": func(t testing.TB) {
			v := good()
			v.refuses = no
			RefusesFrames(t, v, market.MarketSpot, Sub(market.ChannelTrades, ""))
			RefusesRequests(t, v, source.RequestFor{})
			RefusesNames(t, v, "AB")
		},
	} {
		if got := failure(t, check); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestCatalogue reads what the venue wrote, and says which listing is wrong.
func TestCatalogue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json.gz")
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(`[{"symbol":"A"},{"symbol":7}]`))
	z.Close()
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	raw, list := Catalogue[struct{ Symbol any }](t, path)
	if len(raw) != 2 || string(raw[1]) != `{"symbol":7}` || list[0].Symbol != "A" {
		t.Errorf("%s %v", raw, list)
	}
	if got := failure(t, func(w testing.TB) { Catalogue[struct{ Symbol string }](w, path) }); !strings.Contains(got, "listing 1") {
		t.Error(got)
	}
}
