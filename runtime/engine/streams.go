package engine

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/sdk/market"
)

// StreamStatus is one channel of one instrument. Counts are since the feed was
// started. Times and ages that are unknown are left out; durations are seconds.
type StreamStatus struct {
	Feed       string         `json:"feed"`
	Venue      string         `json:"venue"`
	Market     market.Market  `json:"market"`
	Channel    market.Channel `json:"channel"`
	Aggregate  bool           `json:"aggregate,omitempty"`
	Symbol     string         `json:"symbol"`
	Instrument string         `json:"instrument,omitempty"` // canonical name

	Age     *float64  `json:"age_seconds"` // of the last record, by this machine's clock; null: none came
	Event   time.Time `json:"last_event,omitzero"`
	Sent    time.Time `json:"last_sent,omitzero"`
	Recv    time.Time `json:"last_received,omitzero"`
	Records int64     `json:"records"`

	Gaps       int64      `json:"gaps"`
	Missing    int64      `json:"missing"`
	Duplicates int64      `json:"duplicates"`
	LastGap    *GapStatus `json:"last_gap,omitempty"`

	Book     *BookStatus      `json:"book,omitempty"`
	Exchange *ExchangeLatency `json:"exchange_to_receive,omitempty"`
	Journal  *JournalLatency  `json:"receive_to_journal,omitempty"`
	Sinks    []SinkLatency    `json:"receive_to_sink,omitempty"`
}

// BookStatus is a book's state.
type BookStatus struct {
	Synced      bool      `json:"synced"`
	Resyncs     int64     `json:"resyncs"` // times that it was asked for anew
	SyncedAt    time.Time `json:"synced_at,omitzero"`
	ResyncTook  float64   `json:"last_resync_seconds"` // from its break, or its first record, to the snapshot
	BrokenSince *float64  `json:"broken_seconds,omitempty"`
}

// ExchangeLatency is from the event by the venue's clock to the receipt by this
// machine's: how far the clocks differ is in it.
type ExchangeLatency struct {
	Last  float64 `json:"last_seconds"`
	P50   float64 `json:"p50_seconds"` // these weigh records of the last minutes most
	P90   float64 `json:"p90_seconds"`
	P99   float64 `json:"p99_seconds"`
	Max   float64 `json:"max_seconds"` // of the last 5 to 10 minutes
	Count uint64  `json:"count"`       // in the quantiles
}

// JournalLatency is from the receipt to the record in the records journal, of the
// oldest record of a burst.
type JournalLatency struct {
	Last float64 `json:"last_seconds"`
	Mean float64 `json:"mean_seconds"` // the newest bursts weigh most
	Max  float64 `json:"max_seconds"`  // of the last 5 to 10 minutes
}

// SinkLatency says whether the stream's last record is committed by a sink, and
// how long a record of the stream took from its receipt to that commit.
type SinkLatency struct {
	Sink      string   `json:"sink"`
	Committed bool     `json:"committed"`               // the last record is
	Waits     *float64 `json:"waits_seconds,omitempty"` // it isn't, for so long
	// Took is of the last record, or of one up to some seconds before it whose
	// commit is known. A commit that was long ago is known less exactly: it took
	// at most so long. Absent: none of them is committed, or before this run.
	Took *float64 `json:"took_seconds,omitempty"`
}

// GapStatus is a statement of a quality record.
type GapStatus struct {
	Feed      string         `json:"feed"`
	Channel   market.Channel `json:"channel,omitzero"` // absent: of all
	Aggregate bool           `json:"aggregate,omitempty"`
	Symbol    string         `json:"symbol,omitempty"` // absent: of the feed as a whole
	Cause     string         `json:"cause"`
	Open      bool           `json:"open"`
	Told      time.Time      `json:"told"`                // receive time of the frame that told
	From      time.Time      `json:"from,omitzero"`       // bounds of what is missing
	To        time.Time      `json:"to,omitzero"`         //
	FromSeq   *int64         `json:"from_seq,omitempty"`  //
	ToSeq     *int64         `json:"to_seq,omitempty"`    //
	Missing   *int64         `json:"missing,omitempty"`   // messages, where the venue numbers them
	Closed    time.Time      `json:"closed,omitzero"`     // receive time of what ended it
	Repaired  string         `json:"repaired,omitempty"`  // how
	Detail    string         `json:"detail,omitempty"`    //
	Frame     uint64         `json:"frame_pos,omitempty"` // of the frame that told, in the frames journal
}

func gapStatus(feed string, g *flow.Gap) *GapStatus {
	return &GapStatus{Feed: feed, Channel: g.Channel, Aggregate: g.Aggregate, Symbol: g.Symbol, Cause: g.Cause.String(), Open: g.Open, Told: clock(g.At),
		From: clock(g.FromTs), To: clock(g.ToTs), FromSeq: known(g.FromSeq), ToSeq: known(g.ToSeq), Missing: known(g.Missing),
		Closed: clock(g.Closed), Repaired: g.How, Detail: g.Detail, Frame: g.Pos}
}

func clock(ns int64) time.Time {
	if ns == market.None || ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func known(n int64) *int64 {
	if n == market.None {
		return nil
	}
	return &n
}

// seconds is in whole microseconds: digits beyond are noise in a list.
func seconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }

// StreamFilter chooses streams; an empty field takes all. Symbol is a pattern as
// path.Match's, without its slashes' meaning, for the native symbol or the
// canonical name.
type StreamFilter struct {
	Feed, Venue, Channel, Symbol string
	Offset, Limit                int
}

// fold has a pattern's star cross slashes, and symbols match in any case.
func fold(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "/", "\x01")) }

func (f *StreamFilter) takesSymbol(pattern, native, name string) bool {
	if pattern == "" {
		return true
	}
	for _, s := range []string{native, name} {
		if ok, _ := path.Match(pattern, fold(s)); ok && s != "" {
			return true
		}
	}
	return false
}

// Streams lists streams by feed, channel and symbol, and how many the filter
// takes in all.
func (e *Engine) Streams(f StreamFilter) (page []StreamStatus, total int) {
	_, feeds, sinks := e.now()
	now := time.Now()
	type found struct {
		feed *feed
		name string
		s    flow.StreamStats
	}
	var all []found
	pattern := fold(f.Symbol)
	for _, fd := range feeds {
		if f.Feed != "" && f.Feed != fd.p.Name || f.Venue != "" && f.Venue != fd.p.Venue {
			continue
		}
		name := func(id market.InstrumentID) string {
			if i := e.registry.Get(id); i != nil {
				return i.Name
			}
			return ""
		}
		for _, s := range fd.lane.Streams(func(ch market.Channel, _ bool, id market.InstrumentID, symbol string) bool {
			return (f.Channel == "" || f.Channel == ch.String()) && f.takesSymbol(pattern, symbol, name(id))
		}) {
			all = append(all, found{fd, name(s.Instrument), s})
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(strings.Compare(a.feed.p.Name, b.feed.p.Name), cmp.Compare(a.s.Channel, b.s.Channel), strings.Compare(a.s.Symbol, b.s.Symbol),
			cmp.Compare(fmtBool(a.s.Aggregate), fmtBool(b.s.Aggregate)))
	})
	from := min(f.Offset, len(all))
	to := min(from+f.Limit, len(all))
	page = make([]StreamStatus, 0, to-from)
	for i := from; i < to; i++ {
		page = append(page, all[i].feed.stream(&all[i].s, all[i].name, sinks, now))
	}
	return page, len(all)
}

func fmtBool(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (f *feed) stream(s *flow.StreamStats, name string, sinks []*sinkDriver, now time.Time) StreamStatus {
	o := StreamStatus{Feed: f.p.Name, Venue: f.p.Venue, Market: f.p.Market, Channel: s.Channel, Aggregate: s.Aggregate, Symbol: s.Symbol, Instrument: name,
		Records: s.Records, Gaps: s.Gaps, Missing: s.Missing, Duplicates: s.Duplicates}
	if s.LastGap != nil {
		o.LastGap = gapStatus(f.p.Name, s.LastGap)
	}
	if s.HasBook {
		o.Book = &BookStatus{Synced: s.Synced, Resyncs: s.Resyncs, SyncedAt: clock(s.SyncedAt), ResyncTook: seconds(s.ResyncTook)}
		if !s.Synced && s.BrokeAt > 0 {
			o.Book.BrokenSince = new(seconds(now.Sub(time.Unix(0, s.BrokeAt))))
		}
	}
	if s.Records == 0 {
		return o
	}
	recv := time.Unix(0, s.LastRecv)
	o.Age = new(seconds(now.Sub(recv)))
	o.Event, o.Sent, o.Recv = clock(s.LastTs), clock(s.LastSend), clock(s.LastRecv)
	if s.Delay.Known {
		o.Exchange = &ExchangeLatency{Last: seconds(s.Delay.Last), P50: seconds(s.Delay.Quantile(0.5)), P90: seconds(s.Delay.Quantile(0.9)),
			P99: seconds(s.Delay.Quantile(0.99)), Max: seconds(s.Delay.Max), Count: s.Delay.Count}
	}
	o.Journal = &JournalLatency{Last: seconds(s.Lane), Mean: seconds(s.LaneMean), Max: seconds(s.LaneMax)}
	for _, d := range sinks {
		for _, t := range d.tracks {
			if t.j != f.records || !slices.ContainsFunc(d.p.Inputs, func(in plan.Selection) bool { return takes(&in, f.p.Name, s) }) {
				continue
			}
			o.Sinks = append(o.Sinks, t.latency(d.p.Name, s, o.Age))
		}
	}
	return o
}

// latency says how long a stream's record took to this sink: the newest one that
// is committed, of those that are known.
func (t *track) latency(sink string, s *flow.StreamStats, age *float64) SinkLatency {
	k, cursor := SinkLatency{Sink: sink}, t.slot.Load().Cursor
	for i, r := range append([]flow.Received{{Pos: s.LastPos, Recv: s.LastRecv}}, s.Before...) {
		at, committed := t.past.when(r.Pos, cursor)
		if i == 0 {
			if k.Committed = committed; !committed {
				k.Waits = age
			}
		}
		if at != 0 {
			k.Took = new(seconds(max(time.Duration(at-r.Recv), 0)))
			return k
		}
	}
	return k
}

// takes says whether a selection of the feed's records journal has a stream.
func takes(in *plan.Selection, feed string, s *flow.StreamStats) bool {
	return in.Feed == feed && in.Processor == "" && (len(in.Channels) == 0 || slices.Contains(in.Channels, s.Channel)) &&
		(in.All || slices.ContainsFunc(in.Instruments, func(i plan.Instrument) bool { return i.Symbol == s.Symbol }))
}

// Gaps lists the latest gaps of all feeds that were told or closed since a
// time, oldest first. Each feed remembers its last 512.
func (e *Engine) Gaps(since time.Time, feed string) []*GapStatus {
	_, feeds, _ := e.now()
	out := []*GapStatus{}
	for _, f := range feeds {
		if feed != "" && feed != f.p.Name {
			continue
		}
		gaps := f.lane.Gaps()
		for i := range gaps {
			if g := gapStatus(f.p.Name, &gaps[i]); g.Open || !g.Told.Before(since) || !g.Closed.Before(since) {
				out = append(out, g)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *GapStatus) int { return a.Told.Compare(b.Told) })
	return out
}
