package source

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
)

// Interval is a length of candles.
type Interval struct {
	Name   string // as configurations and records have it: 10s, 1m, 4h, 1d, 1w, 1M, 1y
	Native string // as the venue has it
	Length time.Duration
	Months int // in place of Length
	text   []byte
}

// Intervals are the lengths that a venue has.
type Intervals []Interval

// NewIntervals reads a table of names, each with the venue's own behind "=" where
// that is another: "1m=1 1h=60 1d=D".
func NewIntervals(table string) (all Intervals) {
	for _, f := range strings.Fields(table) {
		name, native, ok := strings.Cut(f, "=")
		if !ok {
			native = name
		}
		i := Interval{Name: name, Native: native, text: []byte(name)}
		n, _ := strconv.Atoi(name[:len(name)-1]) // 0: a name that TestManifest of the plugin finds
		switch name[len(name)-1] {
		case 's':
			i.Length = time.Duration(n) * time.Second
		case 'm':
			i.Length = time.Duration(n) * time.Minute
		case 'h':
			i.Length = time.Duration(n) * time.Hour
		case 'd':
			i.Length = time.Duration(n) * 24 * time.Hour
		case 'w':
			i.Length = time.Duration(n) * 7 * 24 * time.Hour
		case 'M':
			i.Months = n
		case 'y':
			i.Months = 12 * n
		}
		all = append(all, i)
	}
	return all
}

// Without are the others, for a market that lacks some.
func (l Intervals) Without(names ...string) Intervals {
	return slices.DeleteFunc(slices.Clone(l), func(i Interval) bool { return slices.Contains(names, i.Name) })
}

// Named finds an interval by its name; nil if there is none.
func (l Intervals) Named(name string) *Interval {
	for i := range l {
		if l[i].Name == name {
			return &l[i]
		}
	}
	return nil
}

// Native finds an interval by the venue's name.
func (l Intervals) Native(name []byte) *Interval {
	for i := range l {
		if l[i].Native == string(name) {
			return &l[i]
		}
	}
	return nil
}

// Lasting finds an interval by its length.
func (l Intervals) Lasting(d time.Duration) *Interval {
	for i := range l {
		if l[i].Length == d && d > 0 {
			return &l[i]
		}
	}
	return nil
}

// Attribute is that of a channel's block by which intervals are chosen; see CandleTopics.
func (l Intervals) Attribute(doc string) schema.Attribute {
	names := make([]string, len(l))
	for i := range l {
		names[i] = l[i].Name
	}
	return schema.Attribute{Name: "intervals", Type: schema.Strings, Default: []string{"1m"}, Allowed: names, Doc: doc}
}

// CandleTopics are the topics of a subscription of candles, one for each interval
// that it chose, 1m if it chose none.
func CandleTopics[T any](l Intervals, sub Subscription, topic func(*Interval) T) ([]T, error) {
	names := sub.Config.Strings("intervals")
	if len(names) == 0 {
		names = []string{"1m"}
	}
	all := make([]T, len(names))
	for i, name := range names {
		length := l.Named(name)
		if length == nil {
			return nil, fmt.Errorf("source: there are no candles of %q of %s", name, sub.Symbol)
		}
		all[i] = topic(length)
	}
	return all, nil
}

// Text is the name, to be put into a record.
func (i *Interval) Text() []byte { return i.text }

// Put gives a candle its length and its end. Days of the venue begin so much ahead
// of UTC's: 8 hours where they are those of Hong Kong.
func (i *Interval) Put(t *market.Candle, ahead time.Duration) {
	t.Interval = i.text
	if t.CloseTs = t.OpenTs + int64(i.Length); i.Months > 0 {
		t.CloseTs = time.Unix(0, t.OpenTs).UTC().Add(ahead).AddDate(0, i.Months, 0).Add(-ahead).UnixNano()
	}
}

// hourNames are those of whole hours up to a week.
var hourNames = func() (all [169][]byte) {
	for i := range all {
		all[i] = strconv.AppendInt(nil, int64(i), 10)
		all[i] = append(all[i], 'h')
	}
	return all
}()

// Hours names the interval of a funding rate, "8h"; nil if it has no name.
func Hours(n int64) []byte {
	if n <= 0 || n >= int64(len(hourNames)) {
		return nil
	}
	return hourNames[n]
}
