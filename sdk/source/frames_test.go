package source

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
)

// topicsOf: a subscription's symbol lists its topics.
func topicsOf(_ market.Market, sub Subscription) ([]string, error) {
	if sub.Symbol == "" {
		return nil, fmt.Errorf("no topics")
	}
	return strings.Split(sub.Symbol, " "), nil
}

func subs(symbols ...string) (all []Subscription) {
	for _, s := range symbols {
		all = append(all, Subscription{Symbol: s})
	}
	return all
}

func TestFrameEach(t *testing.T) {
	for _, c := range []struct {
		r    FrameRequest
		want []Frame
	}{
		{FrameRequest{}, []Frame{}},
		{FrameRequest{Subscriptions: subs("a b", "c", "b d b", "a")}, []Frame{
			{Data: "sub a", Subs: []int{0, 3}}, {Data: "sub b", Subs: []int{0, 2}}, {Data: "sub c", Subs: []int{1}}, {Data: "sub d", Subs: []int{2}}}},
		{FrameRequest{Unsubscribe: true, Subscriptions: subs("a b", "c"), Live: subs("x b", "c")}, []Frame{{Data: "unsub a", Subs: []int{0}}}},
	} {
		got, err := FrameEach(c.r, topicsOf, func(name string) Frame { return Frame{Data: c.r.Op("sub ", "unsub ") + name} })
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v:\n got %+v, %v\nwant %+v", c.r, got, err, c.want)
		}
	}
	for _, r := range []FrameRequest{{Subscriptions: subs("a", "")}, {Subscriptions: subs("a"), Live: subs("")}} {
		if got, err := FrameEach(r, topicsOf, func(string) Frame { return Frame{} }); err == nil {
			t.Errorf("%+v gives %+v, want the error of what has no topics", r, got)
		}
	}
}

// TestFrameBatches: three topics of one kind go into a frame, which concerns each
// subscription once.
func TestFrameBatches(t *testing.T) {
	topics, err := Topics(FrameRequest{Subscriptions: subs("a1 b1", "a2", "a3 a4 b2", "c1")}, topicsOf)
	if err != nil {
		t.Fatal(err)
	}
	got := FrameBatches(topics, func(batch []string, next string) bool { return batch[0][0] == next[0] && len(batch) < 3 },
		func(batch []string) Frame { return Frame{Data: strings.Join(batch, ",")} })
	want := []Frame{{Data: "a1,a2,a3", Subs: []int{0, 1, 2}}, {Data: "b1,b2", Subs: []int{0, 2}}, {Data: "a4", Subs: []int{2}}, {Data: "c1", Subs: []int{3}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func TestRequestID(t *testing.T) {
	seen := map[string]string{}
	for i := range 1000 {
		what := fmt.Sprint("topic", i)
		id := RequestID("subscribe", what)
		if other, ok := seen[id]; ok {
			t.Errorf("%s is the id of %s and of %s", id, what, other)
		}
		if len(id) > len("2147483647") || len(id) == len("2147483647") && id > "2147483647" {
			t.Errorf("%s has more than 31 bits", id)
		}
		if seen[id] = what; RequestID("unsubscribe", what) == id {
			t.Errorf("%s is the id of giving %s up too", id, what)
		}
	}
}

func TestDepth(t *testing.T) {
	for levels, want := range map[int64]int{-1: 100, 0: 100, 1: 5, 5: 5, 6: 20, 100: 100, 101: 100} {
		if got := Depth(levels, []int{5, 20, 100}); got != want {
			t.Errorf("%d levels are had by a depth of %d, want %d", levels, got, want)
		}
	}
}

func TestIntervals(t *testing.T) {
	l := NewIntervals("10s 1m=1min 4h 1d=D 1w 1M=mon 1y")
	for name, want := range map[string]int64{"10s": 10, "1m": 60, "4h": 4 * 3600, "1d": 86400, "1w": 7 * 86400, "1M": 31 * 86400, "1y": 366 * 86400} {
		i := l.Named(name)
		if i == nil {
			t.Fatalf("there is no %s", name)
		}
		c := market.Candle{OpenTs: 1704067200_000_000_000} // 2024-01-01
		i.Put(&c, 0)
		if string(c.Interval) != name || (c.CloseTs-c.OpenTs)/1e9 != want {
			t.Errorf("a candle of %s is one of %s and %d s, want %d s", name, c.Interval, (c.CloseTs-c.OpenTs)/1e9, want)
		}
	}
	// A month of Hong Kong begins 8 hours before UTC's, and so does the next.
	c := market.Candle{OpenTs: (1706745600 - 8*3600) * 1_000_000_000} // February 2024
	if l.Named("1M").Put(&c, 8*3600e9); (c.CloseTs-c.OpenTs)/1e9 != 29*86400 {
		t.Errorf("a February has %d s", (c.CloseTs-c.OpenTs)/1e9)
	}
	if i := l.Native([]byte("1min")); i == nil || i.Name != "1m" || l.Native([]byte("1m")) != nil || l.Lasting(i.Length) != i || l.Lasting(0) != nil {
		t.Errorf("1min is %+v", i)
	}
	if left := l.Without("1y", "10s"); len(left) != 5 || left.Named("1y") != nil || l.Named("1y") == nil {
		t.Errorf("without 10s and 1y there are %d, of %d", len(left), len(l))
	}
	if a := l.Attribute("doc"); len(a.Allowed) != len(l) {
		t.Errorf("%+v", a)
	}
	topic := func(i *Interval) string { return i.Native }
	if got, err := CandleTopics(l, Subscription{Config: schema.Values{"intervals": []string{"1d", "4h"}}}, topic); err != nil || strings.Join(got, " ") != "D 4h" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := CandleTopics(l, Subscription{}, topic); err != nil || strings.Join(got, " ") != "1min" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := CandleTopics(l, Subscription{Config: schema.Values{"intervals": []string{"7m"}}}, topic); err == nil {
		t.Errorf("candles of 7m are %v", got)
	}
	for n, want := range map[int64]string{-1: "", 0: "", 1: "1h", 8: "8h", 168: "168h", 169: ""} {
		if got := string(Hours(n)); got != want {
			t.Errorf("%d hours are called %q, want %q", n, got, want)
		}
	}
}
