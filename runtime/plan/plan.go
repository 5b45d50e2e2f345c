// Package plan turns a Pipeline into a checked graph: which plugin processes
// run, which connections carry which subscriptions, what starting and polling
// cost of each venue's budgets, which journals stand on the disk, and what each
// sink gets.
//
// It is pure: no clock, no I/O, no random number. The same pipeline gives the
// same Plan, the same text and the same digest on every machine. What a venue's
// naming rules say comes from the Resolver that is passed in; everything else
// is data of the pipeline and the plugins' manifests.
//
// Order: Build once per pipeline; a Plan is immutable then and may be read by
// several goroutines. It shares values with the Pipeline, and both must be left
// as they are.
//
// Secrets: values for the engine (Config, Credentials) are left out of JSON, text and
// digest; what is shown in their place (Shown) has secrets struck out.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/sign"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
)

// FormatVersion is the version of the JSON form. Fields may be added within it.
const FormatVersion = "1.0"

// Plan is what a pipeline will do.
type Plan struct {
	FormatVersion string           `json:"format_version"`
	Pipeline      string           `json:"pipeline"`
	Digest        string           `json:"digest"` // of everything else here
	DataDir       string           `json:"data_dir"`
	Latency       pipefile.Latency `json:"latency"`
	Listen        string           `json:"listen"`
	TokenFile     string           `json:"token_file,omitempty"`
	Hosts         []string         `json:"hosts,omitempty"`
	Exemplars     bool             `json:"exemplars,omitempty"`
	Proxy         string           `json:"proxy,omitempty"` // without its password
	Sync          string           `json:"sync"`
	Feeds         []*Feed          `json:"feeds"`
	Processors    []*Processor     `json:"processors"`
	Sinks         []*Sink          `json:"sinks"`
	Processes     []Process        `json:"processes"`
	Journals      []Journal        `json:"journals"`
	Totals        Totals           `json:"totals"`
	Selected      []Selected       `json:"selected,omitempty"` // what selectors have chosen

	in     *pipefile.Pipeline // for Choose
	names  *memo
	chosen Choices
}

// Feed is one venue and market: the union of what all sources ask of it.
type Feed struct {
	Name        string         `json:"name"` // binance-spot; begins the names of its journals
	Venue       string         `json:"venue"`
	Market      market.Market  `json:"market"`
	Sources     []string       `json:"sources"` // addresses of the blocks
	Plugin      string         `json:"plugin"`
	Config      schema.Values  `json:"-"`
	Shown       pipefile.Shown `json:"config,omitempty"`
	HTTP        []string       `json:"http,omitempty"`   // base URLs, overrides applied
	Egress      []string       `json:"-"`                // with passwords
	ShownEgress []string       `json:"egress,omitempty"` // without
	Standby     bool           `json:"standby,omitempty"`
	Backfill    bool           `json:"backfill,omitempty"` // trades that a gap took are asked for again, where the venue has them
	Login       []string       `json:"login,omitempty"`    // names of the credentials that there are: key, secret, passphrase
	Channels    []*Channel     `json:"channels"`
	Instruments []Instrument   `json:"instruments"`
	Connections []Connection   `json:"connections"`
	Polls       []Poll         `json:"polls,omitempty"`
	Startup     Startup        `json:"startup"`
	Assumed     Assumed        `json:"assumed"`

	Credentials *sign.Credentials `json:"-"`

	Spec     source.MarketSpec `json:"-"` // endpoints with overrides applied
	Manifest *source.Manifest  `json:"-"`

	at pipefile.Range // of the first block that made it
}

// Channel is one channel of a feed.
type Channel struct {
	Channel   market.Channel     `json:"channel"`
	Transport source.Transport   `json:"transport,omitempty"`
	Class     string             `json:"class,omitempty"`
	PerMarket bool               `json:"per_market,omitempty"`
	Derived   bool               `json:"derived,omitempty"` // made by the runtime from the book
	Lossy     string             `json:"lossy,omitempty"`   // what the venue drops by design
	Kinds     []market.Kind      `json:"kinds"`
	Symbols   []string           `json:"symbols"` // native
	Config    schema.Values      `json:"-"`
	Shown     pipefile.Shown     `json:"config,omitempty"`
	Spec      source.ChannelSpec `json:"-"` // zero if Derived

	at pipefile.Range // of the first block that asked for it
	by string         // the source of that block
}

// Instrument is a canonical name with its native symbol.
type Instrument struct {
	Name   string `json:"instrument"`
	Symbol string `json:"symbol"`
}

// Connection is one WebSocket.
type Connection struct {
	Name          string         `json:"name"` // binance-spot/0
	Class         string         `json:"class,omitempty"`
	URL           string         `json:"url"`
	Alternates    []string       `json:"alternates,omitempty"`
	Frames        int            `json:"subscribe_frames"` // estimate
	Subscriptions []Subscription `json:"subscriptions"`
}

// Subscription is one channel of one symbol on a connection.
type Subscription struct {
	Channel market.Channel `json:"channel"`
	Symbol  string         `json:"symbol,omitempty"` // empty where the channel is of the whole market
}

// Poll is a channel that is had by HTTP.
type Poll struct {
	Channel  market.Channel `json:"channel"`
	Every    Duration       `json:"every"`
	Requests int            `json:"requests"` // each time
	Weight   int            `json:"weight"`   // of one request
}

// Startup is what coming up costs, and how long the venue's limits make it last
// at least.
type Startup struct {
	ConnectSeconds   float64 `json:"connect_seconds"`
	SubscribeFrames  int     `json:"subscribe_frames"`
	SubscribeSeconds float64 `json:"subscribe_seconds"` // of the connection that takes longest
	Snapshots        int     `json:"snapshots"`         // of books, by HTTP
	Requests         int     `json:"requests"`          // catalogue, snapshots, first polls
	Weight           int     `json:"weight"`            // of these
	WeightLimit      int     `json:"weight_limit,omitempty"`
	WeightPer        string  `json:"weight_per,omitempty"`
	PollWeight       float64 `json:"poll_weight"` // in each WeightPer, or each minute if the venue states no limit
	SnapshotSeconds  float64 `json:"snapshot_seconds"`
	ReadySeconds     float64 `json:"ready_seconds"` // from start to all subscriptions and snapshots

	Standby *Standby `json:"standby,omitempty"` // what comes on top where standby is set
}

// Standby is what the second connections of a feed cost. They come when the first
// ones are up, so nothing waits for them.
type Standby struct {
	Connections     int     `json:"connections"` // at most
	SubscribeFrames int     `json:"subscribe_frames"`
	ConnectSeconds  float64 `json:"connect_seconds"` // from start to the last connection
}

// Assumed is what a feed brings at the rates that Rates assumes. Real rates
// vary a hundredfold by instrument and tenfold by hour.
type Assumed struct {
	FramesPerSecond   float64 `json:"frames_per_second"`
	FrameBytesPerDay  int64   `json:"frame_bytes_per_day"`
	RecordBytesPerDay int64   `json:"record_bytes_per_day"`
}

// Selection is what a reader takes of one journal: records of these kinds of
// these instruments, and of the feed as a whole (instrument 0); quality and
// coverage records if they are of these channels. A reader with several
// selections takes a record that one of them takes, once.
type Selection struct {
	Feed        string           `json:"feed"`
	Processor   string           `json:"processor,omitempty"` // if the journal is one's output
	Journal     string           `json:"journal"`
	Channels    []market.Channel `json:"channels,omitempty"`
	Kinds       []market.Kind    `json:"kinds"`         // quality and coverage are in each selection of a feed
	All         bool             `json:"all,omitempty"` // instruments of the feed, as they come and go; none are listed
	Instruments []Instrument     `json:"instruments"`
}

// Processor is a processor block.
type Processor struct {
	Name     string         `json:"name"` // book_snapshot.top
	Type     string         `json:"type"`
	Config   schema.Values  `json:"-"`
	Shown    pipefile.Shown `json:"config,omitempty"`
	Inputs   []Selection    `json:"inputs"` // one for each feed
	Kinds    []market.Kind  `json:"kinds"`  // that it gives
	Journals []string       `json:"journals"`
}

// Sink is a sink block.
type Sink struct {
	Name       string          `json:"name"` // parquet.lake
	Plugin     string          `json:"plugin"`
	Commit     sink.Commit     `json:"commit"`
	Idempotent bool            `json:"idempotent"`
	Config     schema.Values   `json:"-"`
	Shown      pipefile.Shown  `json:"config,omitempty"`
	Inputs     []Selection     `json:"inputs"`
	Journals   []string        `json:"journals"` // one cursor in each
	Batch      Batch           `json:"batch"`
	Roll       *Roll           `json:"roll,omitempty"`
	OnFull     pipefile.OnFull `json:"on_full"`
	Access     Access          `json:"access"`
}

// Access is what a sink's process may do, as its plugin's manifest says.
type Access struct {
	Undeclared bool     `json:"undeclared,omitempty"` // the manifest says nothing: all that the user may
	Writes     []Writes `json:"writes,omitempty"`
	Connect    bool     `json:"connect,omitempty"` // over TCP
	Listen     bool     `json:"listen,omitempty"`
	Stdout     bool     `json:"stdout,omitempty"`
}

// Writes is an attribute whose value is a path that is written.
type Writes struct {
	Attribute string        `json:"attribute"`
	Target    schema.Target `json:"target"`
	Paths     []string      `json:"-"`
	Hidden    bool          `json:"-"` // they are sensitive
}

// Batch is when a batch is full.
type Batch struct {
	MaxRecords int      `json:"max_records"`
	MaxWait    Duration `json:"max_wait"`
}

// Roll is when files are closed.
type Roll struct {
	Every    Duration `json:"every"`
	MaxBytes int64    `json:"max_bytes"`
}

// Process is a plugin process.
type Process struct {
	Name       string `json:"name"` // source/binance-spot, sink/parquet.lake
	Kind       string `json:"kind"` // source or sink
	Plugin     string `json:"plugin"`
	Version    string `json:"version,omitempty"`
	FirstParty bool   `json:"first_party"`
	Path       string `json:"path,omitempty"`
	SHA256     string `json:"sha256,omitempty"`
}

// Content is what a journal holds.
type Content string

// The contents.
const (
	Frames  Content = "frames"
	Records Content = "records"
	Derived Content = "derived" // a processor's
)

// Journal is one journal directory.
type Journal struct {
	Name         string   `json:"name"`
	Feed         string   `json:"feed"`
	Content      Content  `json:"content"`
	SegmentBytes int64    `json:"segment_bytes"`
	Preallocated int64    `json:"preallocated_bytes"` // as soon as it is opened
	MaxBytes     int64    `json:"max_bytes"`
	MaxAge       Duration `json:"max_age"`
	BytesPerDay  int64    `json:"assumed_bytes_per_day"`
	Holds        Duration `json:"assumed_holds"` // how far back it reaches at that rate
}

// Totals add up.
type Totals struct {
	Connections     int     `json:"connections"`
	Standbys        int     `json:"standby_connections,omitempty"` // at most, beside these
	Subscriptions   int     `json:"subscriptions"`
	Instruments     int     `json:"instruments"`
	Processes       int     `json:"processes"`
	Preallocated    int64   `json:"preallocated_bytes"`
	MaxBytes        int64   `json:"max_bytes"`
	FramesPerSecond float64 `json:"assumed_frames_per_second"`
	BytesPerDay     int64   `json:"assumed_bytes_per_day"`
	ReadySeconds    float64 `json:"ready_seconds"` // feeds come up side by side
}

// Duration is a time.Duration that JSON shows as in HCL: "30s".
type Duration time.Duration

// MarshalText and UnmarshalText use HCL's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (d *Duration) UnmarshalText(b []byte) error {
	if string(b) == "0s" {
		*d = 0
		return nil
	}
	v, err := pipefile.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("plan: duration: %w", err)
	}
	*d = Duration(v)
	return nil
}

func (d Duration) String() string { return pipefile.FormatDuration(time.Duration(d)) }

// Std is the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// WriteJSON writes the plan as one indented object.
func (p *Plan) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		return fmt.Errorf("plan: write JSON: %w", err)
	}
	return nil
}

// seal computes the digest over the JSON form.
func (p *Plan) seal() error {
	p.Digest = ""
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("plan: digest: %w", err)
	}
	sum := sha256.Sum256(b)
	p.Digest = "sha256:" + hex.EncodeToString(sum[:])
	return nil
}

// Feed finds a feed by name; nil if there is none.
func (p *Plan) Feed(name string) *Feed {
	for _, f := range p.Feeds {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Channel finds a channel of a feed; nil if there is none.
func (f *Feed) Channel(c market.Channel) *Channel {
	for _, x := range f.Channels {
		if x.Channel == c {
			return x
		}
	}
	return nil
}

// Journal names one of the feed's journals.
func (f *Feed) Journal(c Content) string { return f.Name + "-" + string(c) }

// Settings are what the feed's decoder is started with.
func (f *Feed) Settings() source.DecoderSettings {
	s := source.DecoderSettings{Market: f.Market, Config: f.Config, Channels: map[market.Channel]schema.Values{}}
	for _, c := range f.Channels {
		if !c.Derived {
			s.Channels[c.Channel] = c.Config
		}
	}
	return s
}

// Subscriptions are a connection's, with their configuration, as the source
// contract takes them.
func (f *Feed) Subscriptions(c Connection) []source.Subscription {
	out := make([]source.Subscription, 0, len(c.Subscriptions))
	for _, s := range c.Subscriptions {
		x := source.Subscription{Channel: s.Channel, Symbol: s.Symbol}
		if ch := f.Channel(s.Channel); ch != nil {
			x.Config = ch.Config
		}
		out = append(out, x)
	}
	return out
}
