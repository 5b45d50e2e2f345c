// Package wire is what passes between the runtime and a plugin process: the
// handshake and the control plane over gRPC (protobuf, in pb), and what
// describes the data plane in shared memory (shm: journals; ring: the record
// ring and the mailbox). Both ends stand here side by side: Client is the
// runtime's, SourcePlugin and SinkPlugin are the process's.
//
// Order: Describe first and once; for a source then any of Resolve, Identify,
// Session, Frames, Requests, and Start once; for a sink Open once, Close last.
// The serving side runs one call at a time.
//
// Control calls are rare: a connection, a reload, a start. No call is made per
// frame or per batch. A message is MaxMessage bytes at most.
//
// The transport of data is negotiated: Describe lists what a plugin can do,
// Start and Open name the choice. There is "shm" alone so far; another name is
// refused with an error that says so.
package wire

import (
	"slices"
	"time"

	"github.com/hashicorp/go-plugin"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
)

// ProtocolVersion is the version of the control plane. A plugin of another one
// is refused at the handshake.
const ProtocolVersion = 1

// MaxMessage bounds a control message, both ways.
const MaxMessage = 16 << 20

// TransportShared is the transport through shared memory.
const TransportShared = "shm"

// PluginName is the one plugin that a process serves.
const PluginName = "marketprism"

// LifeFd is the descriptor of the life pipe in a plugin process: it reads end
// of file when the runtime is gone. The others follow.
const LifeFd = 3

// Handshake is checked before anything else. The cookie keeps people from
// running a plugin by hand; it is no secret.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  ProtocolVersion,
	MagicCookieKey:   "MARKETPRISM_PLUGIN_COOKIE",
	MagicCookieValue: "8f0c1f3f4a5b7d11c3a6",
}

// Environment that the runtime sets for a plugin process, beside go-plugin's
// own and GOMAXPROCS and GOMEMLIMIT.
const (
	EnvName     = "MARKETPRISM_PLUGIN_NAME" // as the runtime calls it: source.binance.md
	EnvLogLevel = "MARKETPRISM_PLUGIN_LOG"  // lowest level worth sending
	EnvStdout   = "MARKETPRISM_PLUGIN_OUT"  // descriptor of the runtime's standard output, for sinks that ask for it
)

// Kinds of plugin.
const (
	KindSource = "source"
	KindSink   = "sink"
)

// Latency is how a data loop wakes.
type Latency string

// Balanced gathers what comes within a few milliseconds while there is traffic,
// and so bounds wake-ups; Low wakes at once.
const (
	Balanced Latency = "balanced"
	Low      Latency = "low"
)

// DefaultGather is how long a balanced loop gathers.
const DefaultGather = 2 * time.Millisecond

// KindDefine is the journal kind of a records journal's record that introduces
// or corrects an instrument; its payload is JSON of market.Instrument. Kinds
// below it are market kinds.
const KindDefine = 0xE0

// Description is what a plugin process says of itself.
type Description struct {
	Kind       string
	Source     *source.Manifest // of a source
	Sink       *sink.Manifest   // of a sink
	Transports []string
}

// Health is what a plugin process says of its state.
type Health struct {
	HeapBytes, RuntimeBytes uint64
	LiveBytes               uint64 // of the heap, after the last collection
	Goroutines              uint32
	GCCycles                uint64
	Frames, Records         uint64 // decoded by a source, written by a sink
	Refused                 uint64 // frames that Decode refused
	SkippedBytes            uint64 // of damaged journal
	Wakeups                 uint64 // times that the data loop slept
}

// Remembered is an input that a restarted decoder is fed first. Payload is the
// frames journal's, envelope included.
type Remembered struct {
	Kind    source.InputKind
	Conn    uint32
	Recv    int64
	Pos     uint64
	Payload []byte
}

// SourceStart begins decoding in a source process. Descriptors are numbers in
// that process.
type SourceStart struct {
	Transport                           string
	JournalDir                          string
	From                                uint64
	Settings                            source.DecoderSettings
	Remembered                          []Remembered
	Latency                             Latency
	Gather                              time.Duration
	ControlFd, BellFd, RingFd, HostBell int
}

// SinkJournal is one journal that a sink reads.
type SinkJournal struct {
	Name              string
	Dir               string
	Venue             string // of the feed as a whole (instrument 0)
	Market            market.Market
	ControlFd, BellFd int
}

// SinkOpen opens a store in a sink process and begins serving its mailbox.
type SinkOpen struct {
	Transport                              string
	Name                                   string
	Config                                 schema.Values
	WorkDir                                string
	Selection                              []Select
	Journals                               []SinkJournal
	MailboxFd, ControlFd, BellFd, HostBell int
}

// Select admits records by journal, kind and instrument. Empty fields admit all.
// Records about a feed as a whole (instrument 0) pass any Symbols.
type Select struct {
	Journal string        `json:"journal,omitempty"` // by SinkJournal.Name
	Kinds   []market.Kind `json:"kinds,omitempty"`
	// Channels narrows quality and coverage records, which name the channel
	// that they are about; those about none pass.
	Channels []market.Channel `json:"channels,omitempty"`
	Venue    string           `json:"venue,omitempty"`
	Market   market.Market    `json:"market,omitempty"`
	Symbols  []string         `json:"symbols,omitempty"` // the venue's own
}

// Channels returns the channels whose quality and coverage records about i a
// selection lets pass, as bits by channel.
func Channels(selection []Select, i *market.Instrument) uint64 {
	set := uint64(1) << market.ChannelNone
	for n := range selection {
		s := &selection[n]
		if len(s.Channels) == 0 || i.ID == 0 {
			return ^uint64(0)
		}
		if !s.about(i) {
			continue
		}
		for _, c := range s.Channels {
			set |= 1 << c
		}
	}
	if len(selection) == 0 {
		return ^uint64(0)
	}
	return set
}

func (s *Select) about(i *market.Instrument) bool {
	return (s.Venue == "" || s.Venue == i.Venue) && (s.Market == market.MarketNone || s.Market == i.Market) &&
		(len(s.Symbols) == 0 || i.ID == 0 || slices.Contains(s.Symbols, i.Symbol))
}

// Admits returns the set of kinds of records about i that a selection lets
// pass, as bits by kind. An empty selection lets everything pass.
func Admits(selection []Select, i *market.Instrument) uint64 {
	if len(selection) == 0 {
		return ^uint64(0)
	}
	var set uint64
	for n := range selection {
		s := &selection[n]
		if !s.about(i) {
			continue
		}
		if len(s.Kinds) == 0 {
			return ^uint64(0)
		}
		for _, k := range s.Kinds {
			set |= 1 << k
		}
	}
	return set
}
