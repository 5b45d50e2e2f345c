// Package conn holds the WebSocket and HTTP pools: everything that a feed says
// to a venue and hears from it goes through here, inside the venue's limits,
// and into the frames journal before anything else sees it.
//
// A Feed is one venue and market. It shards its subscriptions over slots, one
// slot a WebSocket connection at a time (two while one replaces the other).
// Each connection instance has a number of its own, one goroutine that reads
// and one that writes. Polls, book snapshots and catalogues go over the
// venue's HTTP pool. What all feeds of the process share at a venue (request
// weight, connects, open connections, a ban after 429) is in Budgets, and so are
// the queue that all dials to a host stand in (admission) and what is remembered
// of each endpoint (board).
//
// A connection is replaced before its age limit, when the venue says that it
// will close, when it is stale or ill for long (health), and when a better
// endpoint is back. The old one goes on until the new one has data, and is read
// until the venue has answered its close frame. What both bring is deduplicated
// behind the journal, by key.
//
// Order: of one connection the journal has InputOpen, then its frames in the
// order of the wire with InputSent where a frame was about to be sent, then
// InputClose. Between connections the journal's own order holds; a replacement's
// first frame stands behind all that the old connection had on its way. Responses to
// snapshots, polls and catalogues carry connection 0.
//
// What a step signs or shows of the user's credentials is filled in just before
// it is sent; the journal, Stats, events and errors have the template. What a
// venue repeats or grants in its answer is struck out before it is journalled.
//
// Ownership: payloads handed to Journal.Append are a leased buffer, which the
// next frame overwrites; Append copies. A reader returns its buffer when it ends,
// a request that of its body when it is journalled.
//
// A slow consumer costs nothing here: readers append to the journal and ring,
// they wait for nobody. A slow journal stops the socket reader, and the venue
// sees a slow client. A hung plugin delays new connections and changes of
// subscriptions; heartbeats and pongs of live connections go on.
package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/runtime/sign"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/rs/zerolog"
)

// Renderer is the plugin's side of a feed. Its methods may block as long as
// the plugin process takes; they are called from several goroutines.
type Renderer interface {
	Session(context.Context, source.SessionRequest) (source.Script, error)
	Frames(context.Context, source.FrameRequest) ([]source.Frame, error)
	Requests(context.Context, source.RequestFor) ([]source.Request, error)
}

// Journal is the feed's frames journal.
type Journal interface {
	// Append copies a payload once and commits it: head, and behind it the rest,
	// which may be nil. It is called from many goroutines. An error of kind
	// fault.Skip refuses this payload alone; any other closes the connection, and
	// fault.Stop the feed.
	Append(kind source.InputKind, conn uint32, wall, mono int64, head, rest []byte) (pos uint64, err error)
	// Ring wakes readers; it is called once a burst.
	Ring()
}

// Latency says whether a connection gathers.
type Latency string

// The modes.
const (
	Balanced Latency = "balanced" // while traffic flows, wait a little so that one wake-up reads many messages
	Low      Latency = "low"      // read at once
)

// EventKind names what happened.
type EventKind string

// The events.
const (
	EventOpen        EventKind = "open"         // a connection was opened
	EventSubscribed  EventKind = "subscribed"   // subscriptions (Subs) of a connection are acknowledged: its first ones together, later ones as they are added
	EventClose       EventKind = "close"        // a connection was closed
	EventConnect     EventKind = "connect"      // a connection could not be opened; it is tried again
	EventReplace     EventKind = "replace"      // a replacement is being opened beside a live connection
	EventStale       EventKind = "stale"        // signs of life, but no data
	EventRejected    EventKind = "rejected"     // the venue refused subscriptions
	EventShunned     EventKind = "shunned"      // the venue ends connections on subscriptions: they are left out
	EventAckTimeout  EventKind = "ack_timeout"  // the venue did not acknowledge a frame
	EventRateLimited EventKind = "rate_limited" // 429 or 418: nothing is sent before the time it names
	EventRefused     EventKind = "refused"      // region refused: the feed stops
	EventMaintenance EventKind = "maintenance"  // the venue announced an interruption
	EventFrame       EventKind = "frame"        // a frame was refused: too large, too slow, a bomb
	EventRequest     EventKind = "request"      // an HTTP request failed
	EventHistory     EventKind = "history"      // the answer for trades of Subs from From to To is journalled; with Err there is none
	EventWarning     EventKind = "warning"
	EventDegraded    EventKind = "degraded" // a connection is ill: old data, slow pongs, errors
	EventTakeover    EventKind = "takeover" // a standby connection took over
)

// The states of a connection whose script is done: it carries subscriptions, it
// does while another one is on its way, it is a spare.
const (
	StateLive      = "live"
	StateReplacing = "replacing"
	StateStandby   = "standby"
)

// Event is something that an operator or a quality record wants to know.
type Event struct {
	Time   time.Time
	Kind   EventKind
	Conn   uint32 // 0 where no connection is concerned
	Detail string
	Subs   []source.Subscription // EventRejected, EventShunned, EventAckTimeout, EventRequest, EventHistory
	From   int64                 // EventHistory
	To     int64
	Err    error
}

// Settings are what a Feed is made from.
type Settings struct {
	Venue    string
	Spec     source.MarketSpec
	Channels []source.ChannelSpec
	Config   schema.Values // of the source block
	// Credentials sign what the plugin asks to be signed; nil: nothing can be.
	Credentials *sign.Credentials
	Renderer    Renderer
	Frames      Journal
	Budgets     *Budgets // shared by all feeds of the process
	Logger      zerolog.Logger
	Requests    *sched.Pool        // workers that make HTTP requests, shared by feeds; nil: the feed makes its own
	Buffers     *pool.Slices[byte] // of readers and of HTTP bodies; nil: the feed's own
	Inflaters   *Inflaters         // of HTTP bodies, shared by feeds; nil: made for each
	Events      func(Event)        // may be called from any goroutine and must not block; nil: log only

	Latency Latency       // Balanced if empty
	Gather  time.Duration // of Balanced, 2 ms if 0

	// URL and HTTPURL replace scheme and host of every address that the
	// manifest and the plugin name, and stand before its path: for emulators,
	// proxies and bridges. The journal keeps the venue's own address.
	URL, HTTPURL string
	Proxy        string      // http, https or socks5 URL; empty: the environment's
	TLS          *tls.Config // RootCAs alone is taken
	Compress     bool        // offer permessage-deflate
	FirstConn    uint32      // number of the first connection in this epoch, 1 if 0

	CatalogueEvery time.Duration // instruments are asked for at start and this often; 6 h if 0, never if negative
	AckTimeout     time.Duration // for Subscribed or Rejected, 10 s if 0
	FrameTimeout   time.Duration // for the rest of a frame that began, 30 s if 0
	Overlap        time.Duration // of old and new connection after the new one has data, 1 s if 0
	MaxBody        int           // of an HTTP response, inflated; 15 MiB if 0
	HTTP           HTTPSettings

	// Dial replaces the TCP dial where it is set.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// WebSocket connections.

	// Standby keeps a second, subscribed connection beside each, at another
	// endpoint where there is one, as far as the venue's limit of connections
	// leaves room. When the first breaks, nothing is missed: what both deliver
	// is deduplicated behind the journal. It doubles the frames.
	Standby bool
	// Settle is how long the first frames of a connection wait that another one
	// goes on beside, 25 ms if 0; then they wait until that one's reader has read
	// what is there. So what the venue sent before it subscribed the new one is
	// journalled first. Settle has to cover the difference between two ways to
	// the venue, and to be short enough for what recognises duplicates behind
	// the journal.
	Settle      time.Duration
	ProbeEvery  time.Duration // of pings that measure, where the venue's own rule has none; 15 s if 0, none if negative
	ProbeText   bool          // also to venues whose own ping is a text frame
	SlowPong    time.Duration // degrades a connection; 2 s if 0, never if negative
	DegradedFor time.Duration // then a connection is replaced; 30 s if 0, never if negative
}

// Limits that are the same for all venues.
const (
	defaultMaxFrame = 16 << 20
	readBuffer      = 64 << 10
	maxRatio        = 200     // inflated to compressed bytes
	ratioFloor      = 1 << 20 // below this no ratio is suspicious
	maxConnNumber   = 1<<24 - 1
	backoffBase     = 500 * time.Millisecond
	backoffCap      = time.Minute
	handshakeTime   = 10 * time.Second
	handshakeBytes  = 256 << 10 // the library reads headers without a bound
	requestTime     = 30 * time.Second
	writeTime       = 10 * time.Second
	settleMost      = time.Second // for a reader that is behind
	drainTime       = time.Second // for the venue's answer to our close frame
	userAgent       = "marketprism/1"
)

func (s *Settings) check() error {
	switch {
	case s.Venue == "":
		return errors.New("conn: settings name no venue")
	case s.Renderer == nil || s.Frames == nil || s.Budgets == nil:
		return fmt.Errorf("conn: %s: settings lack a renderer, a journal or budgets", s.Venue)
	case s.TLS != nil && s.TLS.InsecureSkipVerify:
		return fault.Errorf(fault.Stop, "conn: %s: TLS without verification is refused; add the authority to RootCAs", s.Venue)
	case s.Latency != "" && s.Latency != Balanced && s.Latency != Low:
		return fault.Errorf(fault.Stop, "conn: %s: latency %q is neither %q nor %q", s.Venue, s.Latency, Balanced, Low)
	}
	for _, a := range []struct{ name, raw, schemes string }{
		{"url", s.URL, "ws wss"}, {"http_url", s.HTTPURL, "http https"}, {"proxy", s.Proxy, "http https socks5 socks5h"},
	} {
		if a.raw == "" {
			continue
		}
		u, err := url.Parse(a.raw)
		if err != nil || u.Host == "" || !strings.Contains(" "+a.schemes+" ", " "+u.Scheme+" ") {
			return fault.Errorf(fault.Stop, "conn: %s: %s %q is no address with a scheme of: %s", s.Venue, a.name, redact(a.raw), a.schemes)
		}
	}
	for _, p := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&s.Gather, 2 * time.Millisecond}, {&s.CatalogueEvery, 6 * time.Hour}, {&s.AckTimeout, 10 * time.Second},
		{&s.FrameTimeout, 30 * time.Second}, {&s.Overlap, time.Second},
		{&s.ProbeEvery, 15 * time.Second}, {&s.SlowPong, 2 * time.Second}, {&s.DegradedFor, 30 * time.Second}, {&s.Settle, 25 * time.Millisecond},
	} {
		if *p.v == 0 {
			*p.v = p.d
		}
	}
	if s.FirstConn == 0 {
		s.FirstConn = 1
	}
	if s.MaxBody == 0 {
		s.MaxBody = 15 << 20
	}
	if s.Buffers == nil {
		var err error
		s.Buffers, err = pool.NewSlices[byte](pool.SliceOptions{Name: "frames", Min: 4 << 10, Max: 16 << 20, MaxIdleBytes: 16 << 20})
		return err
	}
	return nil
}

// plain is the host beyond loopback that an override reaches without TLS.
func (s *Settings) plain() string {
	for _, raw := range []string{s.URL, s.HTTPURL} {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "ws" && u.Scheme != "http" {
			continue
		}
		if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return u.Host
		}
	}
	return ""
}

// redact keeps user names and passwords of a URL out of messages.
func redact(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return "(unreadable)"
}

var processStart = time.Now()

// Mono is the monotonic reading that stands in the journal: ns since the
// process started.
func Mono(t time.Time) int64 { return int64(t.Sub(processStart)) }
