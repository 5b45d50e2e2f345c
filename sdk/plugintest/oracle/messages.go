package oracle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
	"github.com/marketprism/marketprism/sdk/source"
)

// Message is a recorded message with the events that it states.
type Message struct {
	Line      int    `json:"-"`
	Market    string `json:"market"`
	Channel   string `json:"channel"`
	Transport string `json:"transport"`
	Request   string `json:"request"`
	Raw       string `json:"raw"`
	Context   []any  `json:"context"`
	Source    string `json:"source"`

	Expected []event `json:"expected"`
}

// Input is the answer to the request that stands with a message ("GET /path",
// without the query it was sent with), else a text frame.
func (m *Message) Input() source.Input {
	_, path, ok := strings.Cut(m.Request, " ")
	if !ok {
		return source.Input{Kind: source.InputText}
	}
	return source.Input{Kind: source.InputHTTP, Status: 200, URL: []byte("https://api.example" + path)}
}

// Messages says how a plugin is held to the messages of a venue.
type Messages struct {
	Venue string
	// Market gives the market whose decoder reads the message, or why it is out of scope.
	Market func(m *Message) (market.Market, string)
	// Input makes the input of a message; the default is Message.Input.
	Input func(m *Message) source.Input
	// Normalise brings what the message states into the form of records where the
	// two differ by definition; nil for no difference.
	Normalise func(m *Message, e map[string]any)
	// Exceptions are messages that are decoded otherwise on purpose, by line, with the reason.
	Exceptions map[int]string
}

// Run decodes each message and compares.
func (o Messages) Run(t *testing.T, s source.Source) {
	path := corpus.Path(t, "messages", o.Venue+".jsonl")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	outside := map[string]int{}
	equal := 0
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, capture.MaxLine)
	for line := 1; sc.Scan(); line++ {
		m := &Message{Line: line}
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.UseNumber()
		if err := d.Decode(m); err != nil {
			t.Fatalf("%s:%d: %v", path, line, err)
		}
		mk, why := o.Market(m)
		if why != "" {
			outside[why]++
			continue
		}
		got := o.check(t, s, m, mk)
		if why, ok := o.Exceptions[line]; ok {
			if got == "" {
				t.Errorf("%s:%d is as expected, though it is an exception (%s)", path, line, why)
			} else {
				t.Logf("%s:%d: exception: %s: %s", path, line, why, got)
			}
			continue
		}
		if got != "" {
			t.Errorf("%s:%d: %s %s %s: %s\n%.300s", path, line, m.Market, m.Transport, m.Channel, got, m.Raw)
			continue
		}
		equal++
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages equal, %d exceptions, out of scope: %v", equal, len(o.Exceptions), outside)
}

// unstated are kinds that the corpus has no values for.
func unstated(k market.Kind) bool {
	return k == market.KindInstrument || k == market.KindOptionSummary || k == market.KindVolatilityIndex
}

// check is empty if the message is decoded as it states.
func (o Messages) check(t *testing.T, s source.Source, m *Message, mk market.Market) string {
	f := NewFeed(t, s, mk)
	for _, c := range m.Context {
		text, ok := c.(string)
		if !ok {
			b, _ := json.Marshal(c)
			text = string(b)
		}
		in := source.Input{Kind: source.InputText, Recv: 1, Data: []byte(text)}
		if _, err := f.Decode(t, &in); err != nil {
			return fmt.Sprintf("context: %v", err)
		}
	}
	in := m.Input()
	if o.Input != nil {
		in = o.Input(m)
	}
	in.Recv, in.Data = 1, []byte(m.Raw)
	items, err := f.Decode(t, &in)
	if err != nil {
		return err.Error()
	}
	got := map[string][]event{}
	for _, it := range items {
		if it.Record == nil || unstated(it.Record.Kind()) {
			continue
		}
		e := eventOf(it.Record, it.Instrument)
		kind := e["kind"].(string)
		got[kind] = append(got[kind], e)
	}
	want := map[string][]event{}
	for _, e := range m.Expected {
		if o.Normalise != nil {
			o.Normalise(m, e)
		}
		kind, _ := e["kind"].(string)
		if e["symbol"] == nil {
			delete(e, "symbol")
		}
		want[kind] = append(want[kind], e)
	}
	// A ticker record holds the best bid and offer that the ticker states.
	if len(got["bbo"]) == 0 && len(want["bbo"]) == len(got["ticker"]) {
		got["bbo"] = got["ticker"]
		for _, e := range want["bbo"] {
			delete(e, "kind")
		}
	}
	for kind := range got {
		if len(got[kind]) != len(want[kind]) {
			return fmt.Sprintf("%d %s, want %d", len(got[kind]), kind, len(want[kind]))
		}
	}
	for kind, events := range want {
		if len(got[kind]) != len(events) {
			return fmt.Sprintf("%d %s, want %d", len(got[kind]), kind, len(events))
		}
		for i, w := range events {
			if d := differs(got[kind][i], w); d != "" {
				return fmt.Sprintf("%s %d: %s", kind, i, d)
			}
		}
	}
	return ""
}
