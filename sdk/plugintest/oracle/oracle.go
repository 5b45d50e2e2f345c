// Package oracle holds a plugin's decoder to frames whose meaning is known:
// golden files beside the plugin, single messages with the values they state,
// and whole recordings with their totals.
//
// It feeds a decoder directly, without the runtime: what the book engine makes
// of the records is tested where that lives. All functions are for tests and
// end them through testing.TB.
package oracle

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// Item is a record with its instrument, or a signal.
type Item struct {
	Record     market.View // nil for a signal
	Instrument market.Instrument
	Signal     source.Signal
}

// Feed runs one decoder the way the runtime does: everything it writes is
// checked as if it came from another process.
type Feed struct {
	dec         source.Decoder
	out         *source.Out
	instruments map[market.InstrumentID]market.Instrument
	items       []Item
}

// NewFeed starts a decoder of a market: of the channels that are in use, or of
// all if none is named.
func NewFeed(t testing.TB, s source.Source, m market.Market, use ...source.Subscription) *Feed {
	t.Helper()
	set := source.DecoderSettings{Market: m}
	for _, u := range use {
		if set.Channels == nil {
			set.Channels = map[market.Channel]schema.Values{}
		}
		set.Channels[u.Channel] = u.Config
	}
	dec, err := s.NewDecoder(set)
	if err != nil {
		t.Fatal(err)
	}
	return &Feed{dec: dec, out: source.NewOut(s, m), instruments: map[market.InstrumentID]market.Instrument{}}
}

// Decode feeds one input and gives what came out, valid until the next call.
// The error is the decoder's; bytes that no reader would accept fail the test.
func (f *Feed) Decode(t testing.TB, in *source.Input) ([]Item, error) {
	t.Helper()
	f.out.Begin(in)
	err := f.dec.Decode(in, f.out)
	if err != nil {
		f.out.Rollback()
	}
	f.items = f.items[:0]
	for b := f.out.Bytes(); len(b) > 0; {
		if !source.IsSignal(b) {
			v, verr := market.Validate(b)
			if verr != nil {
				t.Fatalf("%.200q: %v", in.Data, verr)
			}
			i, ok := f.instruments[v.Instrument()]
			if !ok {
				t.Fatalf("%.200q: a %s of instrument %d, which was not introduced", in.Data, v.Kind(), v.Instrument())
			}
			f.items = append(f.items, Item{Record: v, Instrument: i})
			b = b[len(v):]
			continue
		}
		s, n, serr := source.ParseSignal(b)
		if serr != nil {
			t.Fatalf("%.200q: %v", in.Data, serr)
		}
		if s.Kind == source.SignalDefine {
			f.define(t, s)
		}
		f.items = append(f.items, Item{Signal: s, Instrument: f.instruments[s.Instrument]})
		b = b[n:]
	}
	return f.items, err
}

// Records feeds a text frame, which must be right, and gives its records.
func (f *Feed) Records(t testing.TB, text string) (vs []market.View) {
	t.Helper()
	items, err := f.Decode(t, &source.Input{Kind: source.InputText, Recv: 1, Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		if i.Record != nil {
			vs = append(vs, i.Record)
		}
	}
	return vs
}

// Kinds are the kinds of records.
func Kinds(vs []market.View) (ks []market.Kind) {
	for _, v := range vs {
		ks = append(ks, v.Kind())
	}
	return ks
}

func (f *Feed) define(t testing.TB, s source.Signal) {
	t.Helper()
	var i market.Instrument
	if err := json.Unmarshal(s.Text, &i); err != nil || i.ID != s.Instrument {
		t.Fatalf("definition %s of instrument %d: %v", s.Text, s.Instrument, err)
	}
	if old, ok := f.instruments[i.ID]; ok { // a precision told later
		old.Precision = i.Precision
		i = old
	}
	f.instruments[i.ID] = i
}

// event states a record as the oracles do: by field names of the record schema,
// numbers as trimmed text.
type event map[string]any

func eventOf(v market.View, i market.Instrument) event {
	e := event{"kind": v.Kind().String(), "symbol": i.Symbol, "ts": v.Ts()}
	if v.Flags()&market.FlagTsEstimated != 0 {
		e["ts"] = nil
	}
	for _, f := range market.Fields(v.Kind()) {
		switch f.Type {
		case market.FieldDec:
			e[f.Name] = nil
			if d := v.Dec(f.Offset); !d.IsNull() {
				e[f.Name] = d.String()
			}
		case market.FieldInt, market.FieldTime:
			e[f.Name] = nil
			if n := v.Int(f.Offset); n != market.None {
				e[f.Name] = n
			}
		case market.FieldEnum:
			e[f.Name] = f.Enum[v.Int(f.Offset)]
		case market.FieldText:
			e[f.Name] = string(v.Text(f.Offset))
		case market.FieldLevels:
			ls := v.Levels(f.Offset)
			out := make([]any, ls.Len())
			for j := range out {
				l := ls.At(j)
				out[j] = []any{l.Price.String(), l.Amount.String()}
			}
			e[f.Name] = out
		}
	}
	if v.Kind() == market.KindCandle {
		e["closed"] = v.Flags()&market.FlagClosed != 0
	}
	if k := v.Kind(); (k == market.KindTrade || k == market.KindCandle) && v.Origin() == market.OriginHistory {
		e["history"] = true
	}
	return e
}

// differs names the first field of want that got states otherwise; fields that
// want leaves out, and times it leaves null, are not asserted.
func differs(got, want event) string {
	for name, w := range want {
		if name == "ts" && w == nil {
			continue
		}
		g, ok := got[name]
		if !ok {
			return fmt.Sprintf("%s is not in the record, want %v", name, w)
		}
		if text(g) != text(w) {
			return fmt.Sprintf("%s = %s, want %s", name, text(g), text(w))
		}
	}
	return ""
}

// text makes values comparable that came from JSON and from records.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case int64:
		return strconv.FormatInt(v, 10)
	case json.Number:
		return v.String()
	case string:
		return v
	}
	b, _ := json.Marshal(v) // lists of texts and bools
	return string(b)
}
