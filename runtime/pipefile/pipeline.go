// Package pipefile reads pipelines: HCL text in, a Pipeline of plain Go values
// with their positions out. It alone knows HCL; nothing of it shows in the API,
// and diagnostics carry file, line, snippet and the nearest right name.
//
// Order: Parse reads the files, the marketprism block, then variables, then
// sources, processors and sinks; plugins are asked for their schemas as their
// blocks come up, each once. References are checked last, when all names are
// known. What needs a plugin's naming rules (which market a symbol belongs to)
// is left to runtime/plan, which reports through the same diagnostics.
//
// Ownership: a Pipeline is immutable once returned and holds no reference to
// the Options or the Schemas that it came from. Parse does no I/O but reading
// the files named, and keeps none open.
//
// Paths: what a pipeline names to be read (plugins, file()) starts at the
// directory of the pipeline, what it names to be written (data_dir, a sink's
// path) at the working directory.
//
// Nothing here is concurrent, so nothing can be slow for somebody else.
package pipefile

import (
	"slices"
	"time"

	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/runtime/sign"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
)

// Pipeline is one file, or the files of one directory, checked.
type Pipeline struct {
	Name       string // of the file without its ending, or of the directory
	Settings   Settings
	Sources    []*Source // in order of file name and position, as are the others
	Processors []*Processor
	Sinks      []*Sink

	files files
}

// Settings are the marketprism block, defaults filled in.
type Settings struct {
	Range   Range // zero when there is no block
	DataDir string
	Latency Latency
	Proxy   string // may hold a password: print it with url.URL.Redacted only
	Listen  string // of health, metrics and the admin API: host:port, unix:///path, or empty
	// TokenFile has the admin API's token; Hosts are names that its requests may use.
	TokenFile string
	Hosts     []string
	Exemplars bool // in the metrics
	Journal   Journal
	Plugins   []Plugin // required_plugins, by name
}

// Latency is how wake-ups are spent.
type Latency string

// The latencies.
const (
	LatencyBalanced Latency = "balanced" // stages gather for up to a few milliseconds
	LatencyLow      Latency = "low"      // every commit rings at once
)

// Journal holds for each journal: of a feed's frames, of its records, of a
// processor's records.
type Journal struct {
	MaxSize     int64
	MaxAge      time.Duration
	Sync        string // "process", "always", or a duration
	SegmentSize int64
	Range       Range
}

// Plugin says where a plugin is had.
type Plugin struct {
	Name   string
	Path   string // empty for a first-party plugin
	SHA256 string // lower-case hex; empty for a first-party plugin
	Range  Range
}

// FirstParty reports a plugin that is bundled in this binary.
func (p Plugin) FirstParty() bool { return p.Path == "" }

// Shown is a configuration as plans, logs and journals may have it: durations
// and sizes in HCL's notation, secrets struck out.
type Shown map[string]any

// Struck stands in Shown for a sensitive value.
const Struck = "(sensitive)"

// Source is a source block.
type Source struct {
	Type, Name string
	Plugin     Plugin
	Manifest   source.Manifest
	Symbols    []Symbol // canonical names, in the file's order, without repetitions
	// Selector stands in place of Symbols; nil: the block lists them.
	Selector      *selection.Selector
	SelectorRange Range
	URL           string // scheme and host in place of the endpoints' own; empty: theirs
	HTTPURL       string
	Egress        []string // local addresses and proxies' URLs, which may hold a password
	Standby       bool     // a second connection beside each
	Backfill      bool     // trades that a gap took are asked for again
	// Credentials sign in; nil: the block has none. Whoever holds the Pipeline
	// must not print them: they print as "(redacted)".
	Credentials *sign.Credentials
	Config      schema.Values
	Shown       Shown // of Config
	Channels    []*Channel
	Range       Range            // of the block's header
	Ranges      map[string]Range // of attributes, by name
}

// Address is how the file refers to the block: source.binance.md.
func (s *Source) Address() string { return "source." + s.Type + "." + s.Name }

// Symbol is one canonical name.
type Symbol struct {
	Name  string
	Range Range
}

// Channel is a channel block.
type Channel struct {
	Channel market.Channel
	// Variants are the ways in which the venue's markets give this channel; they
	// may differ in schema. Empty: the runtime derives it (BBO from the book).
	Variants []Variant
	Range    Range
}

// Variant is a channel on those markets that Spec names.
type Variant struct {
	Spec     source.ChannelSpec
	Config   schema.Values
	Shown    Shown
	Problems Diagnostics // that count if one of the markets is used
}

// Derived reports that the venue has no such channel, and that the runtime
// makes its records from another one.
func (c *Channel) Derived() bool { return len(c.Variants) == 0 }

// On returns the channel as market m has it.
func (c *Channel) On(m market.Market) (Variant, bool) {
	for _, v := range c.Variants {
		if slices.Contains(v.Spec.Markets, m) {
			return v, true
		}
	}
	return Variant{}, false
}

// Ref points to a block, or to one channel of a source.
type Ref struct {
	Kind, Type, Name string // Kind is source or processor
	Channel          market.Channel
	Range            Range
}

// Address is the reference as written: source.binance.md.trades.
func (r Ref) Address() string {
	a := r.Kind + "." + r.Type + "." + r.Name
	if r.Channel != market.ChannelNone {
		a += "." + r.Channel.String()
	}
	return a
}

// Processor is a processor block.
type Processor struct {
	Type, Name string
	Input      []Ref
	Config     schema.Values
	Shown      Shown
	Range      Range
}

// Address is processor.book_snapshot.top.
func (p *Processor) Address() string { return "processor." + p.Type + "." + p.Name }

// Sink is a sink block.
type Sink struct {
	Type, Name string
	Plugin     Plugin
	Manifest   sink.Manifest
	Input      []Ref
	Config     schema.Values
	Shown      Shown
	Batch      Batch
	OnFull     OnFull
	Range      Range
	Ranges     map[string]Range
}

// Address is sink.parquet.lake.
func (s *Sink) Address() string { return "sink." + s.Type + "." + s.Name }

// Batch is when a batch is full: by count, or by time since its first record.
type Batch struct {
	MaxRecords int
	MaxWait    time.Duration
}

// OnFull is what happens when a sink falls behind the journal's retention.
type OnFull string

// DropOldest moves the sink's cursor and reports what it missed to that sink.
const DropOldest OnFull = "drop_oldest"

// Source finds a block by type and name; nil if there is none.
func (p *Pipeline) Source(typ, name string) *Source {
	return find(p.Sources, func(s *Source) bool { return s.Type == typ && s.Name == name })
}

// Processor finds a block by type and name; nil if there is none.
func (p *Pipeline) Processor(typ, name string) *Processor {
	return find(p.Processors, func(s *Processor) bool { return s.Type == typ && s.Name == name })
}

// Channel finds a channel of a source; nil if there is none.
func (s *Source) Channel(c market.Channel) *Channel {
	return find(s.Channels, func(x *Channel) bool { return x.Channel == c })
}

func find[T any](l []*T, ok func(*T) bool) *T {
	if i := slices.IndexFunc(l, ok); i >= 0 {
		return l[i]
	}
	return nil
}
