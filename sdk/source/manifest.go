package source

import (
	"path"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
)

// Manifest is what a venue is: data, versioned, each limit with the page and
// the date it was read.
type Manifest struct {
	Venue      string            `json:"venue"`
	Title      string            `json:"title"`
	Version    string            `json:"version"`  // of the plugin
	Revision   uint8             `json:"revision"` // raised when a build decodes differently
	Markets    []MarketSpec      `json:"markets"`
	Channels   []ChannelSpec     `json:"channels"`
	Attributes schema.Attributes `json:"attributes,omitempty"` // of the source block
	Docs       []Doc             `json:"docs"`
}

// Doc is a page that rules were taken from.
type Doc struct {
	URL  string `json:"url"`
	Date string `json:"date"` // read on, YYYY-MM-DD
	For  string `json:"for"`
}

// MarketSpec is one market of a venue: a feed.
type MarketSpec struct {
	Market    market.Market `json:"market"`
	Endpoints []Endpoint    `json:"endpoints"` // WebSocket, by class
	HTTP      []string      `json:"http"`      // base URLs, the first preferred
	Weight    WeightLimit   `json:"weight"`    // HTTP budget per IP
	// TickersWeight is that of a request of PurposeTickers; 0: the venue has none
	// that gives the volumes of all symbols, and nothing can be chosen by volume.
	TickersWeight int  `json:"tickers_weight,omitempty"`
	Connects      Rate `json:"connects"`            // new WebSocket connections per IP
	MaxConns      int  `json:"max_conns,omitempty"` // open at once per IP; 0: none stated
}

// Endpoint is a class of WebSocket endpoint with its limits.
type Endpoint struct {
	Class            string        `json:"class"` // "" where there is one
	URL              string        `json:"url"`
	Alternates       []string      `json:"alternates,omitempty"`
	MaxSubscriptions int           `json:"max_subscriptions"`          // per connection
	Messages         Rate          `json:"messages"`                   // sent per connection
	Subscribes       Rate          `json:"subscribes,omitzero"`        // of those, what subscribes or unsubscribes, where that has a limit of its own
	MaxFrameSent     int           `json:"max_frame_sent,omitempty"`   // bytes
	MaxFrame         int           `json:"max_frame,omitempty"`        // bytes received, 16 MiB if 0
	MaxAge           time.Duration `json:"max_age,omitempty"`          // the venue closes after
	SubscribeWithin  time.Duration `json:"subscribe_within,omitempty"` // from dial to first subscribe
	Heartbeat        Heartbeat     `json:"heartbeat"`
	Compression      Compression   `json:"compression,omitempty"` // of frames, beside permessage-deflate
	Login            *Login        `json:"login,omitempty"`       // that each connection needs; nil: none
}

// Rate is at most N in an interval; zero: none stated.
type Rate struct {
	N   int           `json:"n"`
	Per time.Duration `json:"per"`
}

// WeightLimit is a request budget in the venue's units.
type WeightLimit struct {
	Rate
	UsedHeader string `json:"used_header,omitempty"` // response header that tells the weight used: X-Mbx-Used-Weight-1m
}

// HeartbeatKind says who keeps a connection alive and how.
type HeartbeatKind string

// The kinds of heartbeat. The runtime answers protocol pings always.
const (
	HeartbeatServer HeartbeatKind = "server" // the venue pings, we answer
	HeartbeatPing   HeartbeatKind = "ping"   // we send protocol pings
	HeartbeatText   HeartbeatKind = "text"   // we send Payload
)

// Heartbeat is an endpoint's rule.
type Heartbeat struct {
	Kind    HeartbeatKind `json:"kind"`
	Every   time.Duration `json:"every"`             // between our pings, or the venue's
	Timeout time.Duration `json:"timeout"`           // without any sign of life: the connection is dead
	Payload string        `json:"payload,omitempty"` // of HeartbeatText
	Idle    bool          `json:"idle,omitempty"`    // only after Every of silence
}

// Compression of binary frames.
type Compression string

// The compressions.
const (
	CompressionNone    Compression = ""
	CompressionGzip    Compression = "gzip"
	CompressionDeflate Compression = "deflate"
)

// Transport says how a channel is had.
type Transport string

// The transports.
const (
	Stream Transport = "stream"
	Poll   Transport = "poll"
)

// ChannelSpec is a channel on some markets of the venue.
type ChannelSpec struct {
	Channel    market.Channel    `json:"channel"`
	Markets    []market.Market   `json:"markets"`
	Kinds      []market.Kind     `json:"kinds"`
	Class      string            `json:"class,omitempty"`      // of endpoint
	ClassWhen  []ClassRule       `json:"class_when,omitempty"` // the first that applies names the class instead: see EndpointClass
	Transport  Transport         `json:"transport"`
	PollEvery  time.Duration     `json:"poll_every,omitempty"`
	PerMarket  bool              `json:"per_market,omitempty"` // one subscription serves all symbols
	Weight     int               `json:"weight,omitempty"`     // of one poll or snapshot request
	Attributes schema.Attributes `json:"attributes,omitempty"`
	StaleAfter time.Duration     `json:"stale_after,omitempty"` // silence that is suspicious; 0: none is
	Lossy      string            `json:"lossy,omitempty"`       // what the venue drops by design
	Book       *BookRule         `json:"book,omitempty"`        // of the book channel
	Login      *Login            `json:"login,omitempty"`       // that its requests need; of connections the endpoint says it
	Sequence   SequenceKind      `json:"sequence,omitempty"`    // of other channels: trades by id, increment or (first_id to id) range
	History    *History          `json:"history,omitempty"`     // of trades: how those that a gap took are asked for; nil: they can't be
}

// History is how trades of the past are asked for (PurposeHistory). An answer
// holds as many as the venue gives at once; the runtime asks on from there.
type History struct {
	By       HistoryBy     `json:"by"`
	Backward bool          `json:"backward,omitempty"` // an answer ends at To and the next one is before it; else it begins at From
	Single   bool          `json:"single,omitempty"`   // single trades alone: those that the venue merges (attribute aggregate) can't be asked for
	Coarse   time.Duration `json:"coarse,omitempty"`   // what times in answers are cut to; a millisecond if 0
}

// HistoryBy is what From and To of a request are.
type HistoryBy string

// The ways. Both ends are asked for.
const (
	HistorySequence HistoryBy = "sequence" // the numbers that the channel's sequence counts
	HistoryTime     HistoryBy = "time"     // ns at the venue
	HistoryRecent   HistoryBy = "recent"   // neither: the venue has its latest trades
)

// ClassRule moves a channel to another class of endpoint where an attribute has
// a value, or for the symbols that a glob matches.
type ClassRule struct {
	Attribute string `json:"attribute,omitempty"`
	Value     any    `json:"value,omitempty"`  // string or bool
	Symbol    string `json:"symbol,omitempty"` // a glob over native symbols as path.Match has it, in place of an attribute
	Class     string `json:"class"`
}

// EndpointClass is the class of endpoint that carries a symbol's channel when it
// is configured so.
func (c *ChannelSpec) EndpointClass(config schema.Values, symbol string) string {
	for _, r := range c.ClassWhen {
		applies := config[r.Attribute] == r.Value
		if r.Symbol != "" {
			applies, _ = path.Match(r.Symbol, symbol) // a glob that is none matches nothing
		}
		if applies {
			return r.Class
		}
	}
	return c.Class
}

// BookRule is all that the runtime needs to keep a venue's books.
type BookRule struct {
	Sequence     Sequence    `json:"sequence"`
	Checksum     Checksum    `json:"checksum,omitzero"`
	Snapshot     SnapshotWay `json:"snapshot"`
	Recovery     Recovery    `json:"recovery"`
	Depths       []int       `json:"depths,omitempty"`       // that can be subscribed; empty: unlimited
	CutToDepth   bool        `json:"cut_to_depth,omitempty"` // each side is cut to the subscribed depth after each update
	CrossedLegal bool        `json:"crossed_legal,omitempty"`
}

// SequenceKind is how consecutive updates are known to be consecutive.
type SequenceKind string

// The kinds. L is the sequence in force, first and last are the record's
// FirstSeq and Seq, prev its PrevSeq.
const (
	SequenceNone      SequenceKind = ""          // not verifiable by sequence; with a start, numbers are times: a snapshot must hold the first update held
	SequenceRange     SequenceKind = "range"     // first <= L+1 <= last
	SequenceChain     SequenceKind = "chain"     // prev == L
	SequenceIncrement SequenceKind = "increment" // last == L+1
)

// SequenceStart is how the first update after a snapshot S is found that comes
// beside the updates: by a request, or in the stream behind some of them
// (SnapshotInBand). Until it comes they are held.
type SequenceStart string

// The ways to start.
const (
	StartInBand  SequenceStart = ""        // the snapshot is in the stream, the next update follows it
	StartRange   SequenceStart = "range"   // drop last <= S; then first <= S+1 <= last (Binance spot)
	StartOverlap SequenceStart = "overlap" // drop last < S; then first <= S <= last, or prev <= S <= last (Binance futures)
	StartChain   SequenceStart = "chain"   // drop last <= S; then prev <= S < last (OKX)
)

// Scope is what a sequence runs over.
type Scope string

// The scopes.
const (
	ScopeInstrument Scope = "instrument"
	// The venue counts the frames of a connection (Out.Sequence): one that is
	// missing voids every book that the connection brings. A record's number only
	// tells repeats; one without a number comes by a feed that counts nothing.
	ScopeConnection Scope = "connection"
	// Each subscription has numbers of its own: those of two connections that bring
	// the same book have nothing to do with each other. One of them counts, and
	// another takes over with its snapshot.
	ScopeSubscription Scope = "subscription"
)

// OfConnection says whether a book's numbers mean something on one connection alone.
func (s Scope) OfConnection() bool { return s == ScopeConnection || s == ScopeSubscription }

// Sequence is a book's rule.
type Sequence struct {
	Kind  SequenceKind  `json:"kind,omitempty"`
	Start SequenceStart `json:"start,omitempty"`
	Scope Scope         `json:"scope,omitempty"` // instrument if empty
}

// ChecksumKind is an algorithm over the top levels.
type ChecksumKind string

// The algorithms.
const (
	ChecksumNone   ChecksumKind = ""
	ChecksumKraken ChecksumKind = "kraken" // CRC32 of digits without point and leading zeros, asks ascending, then bids descending
	ChecksumPairs  ChecksumKind = "pairs"  // signed CRC32 of bid:ask interleaved, texts as sent, joined by ":" (OKX, Bitget)
	ChecksumScript ChecksumKind = "script" // pairs, numbers as JavaScript prints them, amounts of asks negative (Bitfinex)
)

// Checksum is a book's rule. Where the venue has moved from checksums to
// sequences, a rule has both: a record that has no number is proven by its checksum.
type Checksum struct {
	Kind   ChecksumKind `json:"kind,omitempty"`
	Levels int          `json:"levels,omitempty"`
	Until  string       `json:"until,omitempty"` // YYYY-MM-DD: the venue has sent none since; recordings from before are verified
}

// SnapshotWay is where a book starts.
type SnapshotWay string

// The ways.
const (
	SnapshotInBand SnapshotWay = "in_band" // first message of the stream
	SnapshotHTTP   SnapshotWay = "http"    // by a request, spliced into buffered updates
	SnapshotSocket SnapshotWay = "socket"  // by a request on the same connection
	SnapshotEach   SnapshotWay = "each"    // every message is a whole book
)

// Recovery is what brings back a book that broke.
type Recovery string

// The recoveries.
const (
	RecoverRequest     Recovery = "request"     // the snapshot again
	RecoverResubscribe Recovery = "resubscribe" // this symbol alone
	RecoverReconnect   Recovery = "reconnect"
)

// StreamOf is a channel that comes by a subscription for each symbol.
func StreamOf(c market.Channel, ms []market.Market, ks ...market.Kind) ChannelSpec {
	return ChannelSpec{Channel: c, Markets: ms, Kinds: ks, Transport: Stream}
}

// PollOf is a channel that is asked for again and again, by requests of weight 1.
func PollOf(c market.Channel, ms []market.Market, every time.Duration, ks ...market.Kind) ChannelSpec {
	return ChannelSpec{Channel: c, Markets: ms, Kinds: ks, Transport: Poll, PollEvery: every, Weight: 1}
}

// CatalogueOf is the channel of what the markets list, asked for each hour.
func CatalogueOf(ms []market.Market) ChannelSpec {
	c := PollOf(market.ChannelInstruments, ms, time.Hour, market.KindInstrument)
	c.PerMarket = true
	return c
}
