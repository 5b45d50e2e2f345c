package plan

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

const (
	// subscriptionBytes is what one subscription takes in a subscribe frame,
	// for the estimate of frames: "btcusdt@depth@100ms", and room.
	subscriptionBytes = 40
	// subscriptionsPerFrame is assumed where a venue states no frame size.
	subscriptionsPerFrame = 100
)

// connections shards a feed's subscriptions: in order, each connection of a
// class filled to the endpoint's limit, so that a symbol added at the end moves
// no other one.
func (b *builder) connections(f *Feed) {
	byClass := map[string][]Subscription{}
	var classes []string
	add := func(c *Channel, symbol string) {
		class := c.Spec.EndpointClass(c.Config, symbol)
		if !slices.Contains(classes, class) {
			classes = append(classes, class)
		}
		byClass[class] = append(byClass[class], Subscription{c.Channel, symbol})
	}
	channels := func(perMarket bool) []*Channel {
		var cs []*Channel
		for _, c := range f.Channels {
			if !c.Derived && c.Transport != source.Poll && c.PerMarket == perMarket {
				cs = append(cs, c)
			}
		}
		return cs
	}
	for _, c := range channels(true) {
		add(c, "")
	}
	perSymbol := channels(false)
	for _, i := range f.Instruments { // a symbol's channels side by side
		for _, c := range perSymbol {
			if slices.Contains(c.Symbols, i.Symbol) {
				add(c, i.Symbol)
			}
		}
	}
	slices.Sort(classes)
	for _, class := range classes {
		e := endpoint(f.Spec, class)
		if e == nil {
			b.errorf(b.in.Sources[0].Range, "Plugin is wrong", "%s puts channels into endpoint class %q, but its market %s has no such endpoint. This is a fault of the plugin %s.",
				f.Venue, class, f.Market, f.Plugin)
			continue
		}
		for _, part := range shard(f, byClass[class], e.MaxSubscriptions) {
			f.Connections = append(f.Connections, Connection{
				Name: f.Name + "/" + strconv.Itoa(len(f.Connections)), Class: class, URL: e.URL, Alternates: e.Alternates,
				Frames: frames(f, e, part), Subscriptions: part,
			})
		}
	}
	if most := f.Spec.MaxConns; most > 0 && len(f.Connections) > most {
		b.errorf(f.Channels[0].at, "Too many connections", "The feed %s needs %d connections; %s allows %d from one address. Take fewer symbols or channels.",
			f.Name, len(f.Connections), f.Venue, most)
	} else if n := 2*len(f.Connections) + 1; most > 0 && f.Standby && n > most*max(1, len(f.Egress)) {
		b.errorf(f.at, "No room for standby", "The feed %s needs %s; standby doubles them, and one more is needed to replace one: %d. %s allows %d from one address. Leave standby out, take fewer symbols or channels, or give more addresses as egress.",
			f.Name, count(len(f.Connections), "connection"), n, f.Venue, most)
	}
}

// shard cuts subscriptions into connections of at most most streams; 0: no limit.
func shard(f *Feed, subs []Subscription, most int) [][]Subscription {
	var parts [][]Subscription
	from, n := 0, 0
	for i, s := range subs {
		c := streams(f, s)
		if most > 0 && n > 0 && n+c > most {
			parts = append(parts, subs[from:i:i])
			from, n = i, 0
		}
		n += c
	}
	return append(parts, subs[from:])
}

// streams is what a subscription counts for at the venue: candles of several
// intervals are one stream each.
func streams(f *Feed, s Subscription) int {
	return max(len(f.Channel(s.Channel).Config.Strings("intervals")), 1)
}

func endpoint(m source.MarketSpec, class string) *source.Endpoint {
	for i := range m.Endpoints {
		if m.Endpoints[i].Class == class {
			return &m.Endpoints[i]
		}
	}
	return nil
}

// frames estimates how many subscribe frames a connection needs: at least one
// for each channel, since some venues take one channel a frame.
func frames(f *Feed, e *source.Endpoint, subs []Subscription) int {
	each := subscriptionsPerFrame
	if e.MaxFrameSent > 0 {
		each = max(e.MaxFrameSent/subscriptionBytes, 1)
	}
	var channels []market.Channel
	n := 0
	for _, s := range subs {
		n += streams(f, s)
		if !slices.Contains(channels, s.Channel) {
			channels = append(channels, s.Channel)
		}
	}
	return max((n+each-1)/each, len(channels))
}

// wait is how long n events take under a rate, the first N being free.
func wait(n int, r source.Rate) float64 {
	if r.N <= 0 || r.Per <= 0 || n <= r.N {
		return 0
	}
	return float64((n-1)/r.N) * r.Per.Seconds()
}

// budget adds up what starting and polling cost.
func (b *builder) budget(f *Feed) {
	s := &f.Startup
	s.ConnectSeconds = wait(len(f.Connections), f.Spec.Connects)
	for _, c := range f.Connections {
		s.SubscribeFrames += c.Frames
		if e := endpoint(f.Spec, c.Class); e != nil {
			s.SubscribeSeconds = max(s.SubscribeSeconds, wait(c.Frames, e.Messages), wait(c.Frames, e.Subscribes))
		}
	}
	if n := len(f.Connections); f.Standby && n > 0 {
		s.Standby = &Standby{Connections: n, SubscribeFrames: s.SubscribeFrames, ConnectSeconds: wait(2*n, f.Spec.Connects)}
	}
	limit := f.Spec.Weight.Rate
	per := limit.Per
	if limit.N <= 0 || per <= 0 {
		limit, per = source.Rate{}, time.Minute
	} else {
		s.WeightLimit, s.WeightPer = limit.N, pipefile.FormatDuration(per)
	}
	var polling *Channel
	for _, c := range f.Channels {
		weight, n := max(c.Spec.Weight, 1), len(c.Symbols)
		if c.PerMarket {
			n = 1
		}
		switch {
		case c.Transport == source.Poll:
			every := c.Spec.PollEvery
			if d := c.Config.Duration("every"); d > 0 { // the attribute that polled channels take
				every = d
			}
			f.Polls = append(f.Polls, Poll{c.Channel, Duration(every), n, weight})
			s.Requests += n
			s.Weight += n * weight
			if every > 0 {
				s.PollWeight += float64(n*weight) * float64(per) / float64(every)
				if polling == nil {
					polling = c
				}
			}
		case c.Spec.Book != nil && c.Spec.Book.Snapshot == source.SnapshotHTTP:
			s.Snapshots += n
			s.Requests += n
			s.Weight += n * weight
		}
	}
	if f.Channel(market.ChannelInstruments) == nil { // the catalogue is had at start in any case
		if spec := Catalogue(f.Manifest, f.Market); spec != nil && spec.Transport == source.Poll {
			s.Requests++
			s.Weight += max(spec.Weight, 1)
		}
	}
	s.PollWeight += b.followWeight(f, float64(per))
	s.PollWeight = math.Round(s.PollWeight*10) / 10
	if limit.N > 0 {
		left := float64(limit.N) - s.PollWeight
		if left <= 0 {
			at, instead := f.Channels[0].at, "take fewer symbols"
			if polling != nil {
				at = polling.at
			} else if i := slices.IndexFunc(b.out.Selected, func(x Selected) bool { return slices.Contains(f.Sources, x.Source) }); i >= 0 {
				at, instead = b.out.Selected[i].Origin.SelectorRange, "raise refresh, the time between catalogues"
			}
			b.errorf(at, "Polls exceed the request budget", "Polling for %s takes a weight of %.0f in %s; %s allows %d. Poll less often, or %s.",
				f.Name, s.PollWeight, s.WeightPer, f.Venue, limit.N, instead)
			return
		}
		if s.Weight > limit.N {
			s.SnapshotSeconds = math.Ceil(float64(s.Weight-limit.N)/left) * per.Seconds()
		}
	}
	s.ReadySeconds = s.ConnectSeconds + s.SubscribeSeconds + s.SnapshotSeconds
}

// Rate is what Assumed counts with, for one symbol.
type Rate struct {
	FramesPerSecond         float64
	FrameBytes, RecordBytes int64 // headers and alignment included
}

// Rates are the assumptions, by channel: for trades, book and bbo what BTCUSDT
// had on Binance spot in ten minutes of August 2024, so a pipeline of few great
// pairs comes out right and one of many small pairs at a tenth of this or less.
// The others are sent about once a second. Sizes are those of frames of that
// recording and of records of this build, each with 32 bytes of journal header.
var Rates = map[market.Channel]Rate{
	market.ChannelTrades:          {30, 200, 200},
	market.ChannelBook:            {10, 1640, 1750}, // 50 levels changed
	market.ChannelBBO:             {110, 180, 176},
	market.ChannelTicker:          {1, 640, 312},
	market.ChannelCandles:         {1, 370, 256},
	market.ChannelFunding:         {1, 280, 160},
	market.ChannelMarkPrice:       {1, 280, 128},
	market.ChannelIndexPrice:      {1, 280, 128},
	market.ChannelLiquidations:    {0.1, 320, 160},
	market.ChannelVolatilityIndex: {1, 200, 128},
	market.ChannelOptions:         {1, 640, 376},
	market.ChannelOrders:          {50, 240, 200},
}

// polled is assumed of responses.
var polled = Rate{0, 320, 144}

// assume adds up a feed's rates.
func (b *builder) assume(f *Feed) {
	var frameBytes, recordBytes float64
	for _, c := range f.Channels {
		n, r := float64(len(c.Symbols)*streams(f, Subscription{Channel: c.Channel})), Rates[c.Channel]
		if c.Transport == source.Poll {
			r = polled
			for _, p := range f.Polls {
				if p.Channel == c.Channel && p.Every > 0 {
					n, r.FramesPerSecond = float64(p.Requests), 1/p.Every.Std().Seconds()
				}
			}
		}
		records := n * r.FramesPerSecond
		if c.Derived { // records without frames of their own
			recordBytes += records * float64(r.RecordBytes)
			continue
		}
		frames := records
		if f.Standby && c.Transport != source.Poll { // both are journalled, and each record is kept once
			frames *= 2
		}
		f.Assumed.FramesPerSecond += frames
		frameBytes += frames * float64(r.FrameBytes)
		recordBytes += records * float64(r.RecordBytes)
	}
	f.Assumed.FramesPerSecond = math.Round(f.Assumed.FramesPerSecond*100) / 100
	f.Assumed.FrameBytesPerDay = int64(frameBytes * 86400)
	f.Assumed.RecordBytesPerDay = int64(recordBytes * 86400)
}

// totals adds the journals and sums up.
func (b *builder) totals() {
	p, t := b.out, &b.out.Totals
	for _, f := range p.Feeds {
		b.journal(f.Journal(Frames), f.Name, Frames, f.Assumed.FrameBytesPerDay)
		b.journal(f.Journal(Records), f.Name, Records, f.Assumed.RecordBytesPerDay)
		for _, x := range p.Processors {
			for i, in := range x.Inputs {
				if in.Feed == f.Name {
					n := len(in.Instruments)
					if in.All {
						n = len(f.Instruments)
					}
					b.journal(x.Journals[i], f.Name, Derived, derivedPerDay(x, n))
				}
			}
		}
		t.Connections += len(f.Connections)
		if s := f.Startup.Standby; s != nil {
			t.Standbys += s.Connections
		}
		for _, c := range f.Connections {
			t.Subscriptions += len(c.Subscriptions)
		}
		t.Instruments += len(f.Instruments)
		t.FramesPerSecond += f.Assumed.FramesPerSecond
		t.ReadySeconds = max(t.ReadySeconds, f.Startup.ReadySeconds)
	}
	t.Processes = len(p.Processes)
	t.FramesPerSecond = math.Round(t.FramesPerSecond*100) / 100
	for _, j := range p.Journals {
		t.Preallocated += j.Preallocated
		t.MaxBytes += j.MaxBytes
		t.BytesPerDay += j.BytesPerDay
	}
	b.rolls()
}

// derivedPerDay is what book_snapshot writes: 32 bytes a level of both sides,
// and its headers.
func derivedPerDay(x *Processor, instruments int) int64 {
	every := x.Config.Duration("every")
	if every <= 0 {
		return 0
	}
	each := 152 + 2*32*x.Config.Int("depth")
	return int64(float64(24*time.Hour)/float64(every)) * each * int64(instruments)
}

// reserveBytes is the segment that a frames journal keeps for the gap that a
// full disk makes.
const reserveBytes = 256 << 10

// journal adds one: two segments stand at once, the one being written and the
// next.
func (b *builder) journal(name, feed string, c Content, perDay int64) {
	set := b.in.Settings.Journal
	j := Journal{
		Name: name, Feed: feed, Content: c, SegmentBytes: set.SegmentSize, Preallocated: 2 * set.SegmentSize,
		MaxBytes: set.MaxSize, MaxAge: Duration(set.MaxAge), BytesPerDay: perDay, Holds: Duration(set.MaxAge),
	}
	if c == Frames {
		j.Preallocated += reserveBytes
	}
	if perDay > 0 {
		if d := float64(set.MaxSize) / float64(perDay) * float64(24*time.Hour); d < float64(set.MaxAge) {
			j.Holds = Duration(time.Duration(d).Truncate(time.Minute))
		}
	}
	b.out.Journals = append(b.out.Journals, j)
}

// rolls warns where a journal may be too small for a sink that closes files.
func (b *builder) rolls() {
	for i, s := range b.out.Sinks {
		if s.Roll == nil {
			continue
		}
		for _, name := range s.Journals {
			k := slices.IndexFunc(b.out.Journals, func(j Journal) bool { return j.Name == name })
			if j := b.out.Journals[k]; j.Holds < s.Roll.Every {
				b.diags = append(b.diags, b.in.Warnf(b.in.Sinks[i].Range, "Journal may be too small",
					"At the assumed rate the journal %s reaches back %s, but %s closes its files every %s. Raise journal { max_size }, or lower roll_every.",
					j.Name, j.Holds, s.Name, s.Roll.Every))
			}
		}
	}
}
