// Package source is the contract of exchange plugins. A plugin does no I/O,
// starts no goroutine, reads no clock and sees no secret: it is a description
// (Manifest), a few pure functions that render what the runtime sends, and a
// decoder. The runtime owns sockets, time, sequences, checksums and books.
//
// Order: Describe is called first and once. Session, Frames and Requests may be
// called at any time, from one goroutine. A Decoder is fed the inputs of one
// feed in the order of its frames journal, remembered frames first after a
// restart; it is never called twice at the same time. Whatever a Decoder keeps
// must follow from what it was fed.
//
// Ownership: an Input's bytes are valid until Decode returns. What is handed to
// Out is copied before the call returns.
//
// Beside the contract the package has what most plugins need and would write each
// for itself: Topics and what renders frames of them, Intervals, Feed, Body,
// Envelope, Each, and readers of values. None of it keeps state or is known to the
// runtime.
//
// A slow decoder loses nothing: undecoded frames wait in the journal, its lag
// shows in marketprism_flow_lag_bytes, and books and sinks are as late as it is.
package source

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
)

// Source is an exchange plugin.
type Source interface {
	// Describe returns the manifest: constant data of this build.
	Describe() Manifest

	// Resolve gives the native instrument of a canonical name ("BTC-USDT-PERP"
	// is linear, BTCUSDT), as far as the venue's naming rules alone can tell.
	// The error names what a valid name looks like.
	Resolve(name string) (market.Market, string, error)

	// Identify is the inverse for any native symbol: it fills Name, AmountUnit
	// and ContractSize as far as naming rules tell. The catalogue corrects it.
	Identify(m market.Market, symbol string) market.Instrument

	// Session renders the steps for a connection that carries the given
	// subscriptions. If a step is a Request, the runtime performs it and calls
	// Session again with the reply added, until the script has no Request that
	// lacks a reply.
	Session(SessionRequest) (Script, error)

	// Frames renders frames that subscribe or unsubscribe on a live connection.
	Frames(FrameRequest) ([]Frame, error)

	// Requests renders HTTP requests: catalogues, book snapshots, polls, history.
	Requests(RequestFor) ([]Request, error)

	// NewDecoder starts a decoder with empty state for one feed.
	NewDecoder(DecoderSettings) (Decoder, error)
}

// Decoder turns inputs into records and signals.
type Decoder interface {
	// Decode handles one input. An error says why the input is refused; the
	// runtime publishes it as a decode_error with the frame's position, drops
	// what this call put into out, and goes on with the next frame.
	Decode(in *Input, out *Out) error
}

// DecoderSettings are given by the runtime.
type DecoderSettings struct {
	Market   market.Market
	Config   schema.Values                    // of the source block
	Channels map[market.Channel]schema.Values // of the channel blocks in use; nil in a replay: decode all
}

// InputKind says what an Input is. Values are the frames journal's record kinds.
type InputKind uint8

// The kinds of input. Decode sees those up to InputClose; the rest are the
// runtime's own notes in the frames journal.
const (
	InputText   InputKind = 1 + iota // a WebSocket text frame
	InputBinary                      // a WebSocket binary frame, undecompressed unless the manifest says so
	InputHTTP                        // the body of an HTTP response; URL and Status are set
	InputOpen                        // a connection was opened; URL is set
	InputClose                       // a connection was closed; Data says why
	InputSent                        // a frame that the runtime sent
	InputTimer                       // a timer of the runtime fired
	InputNote                        // configuration, selections, plugin versions, quarantines (JSON)
	InputGap                         // frames were lost before this point (JSON)
)

// Input is one thing that came from outside.
type Input struct {
	Kind   InputKind
	Conn   uint32
	Recv   int64 // ns UTC
	Pos    uint64
	URL    []byte
	Status int
	Data   []byte
}

// SessionRequest asks for a connection's script.
type SessionRequest struct {
	Market        market.Market
	Class         string // of endpoint
	Endpoint      string // the URL chosen among the manifest's, or the user's in place of it
	Base          string // base URL of requests, chosen among the manifest's HTTP endpoints
	Subscriptions []Subscription
	Config        schema.Values
	Replies       []Reply // to the script's Request steps so far, in order
}

// Subscription is one channel of one symbol.
type Subscription struct {
	Channel market.Channel `json:"channel"`
	Symbol  string         `json:"symbol"` // native; empty where the channel is of the whole market
	Config  schema.Values  `json:"config,omitempty"`
}

// Reply answers a Request step.
type Reply struct {
	Status int
	Body   []byte
}

// Script is what the runtime does for a connection, in order.
type Script struct {
	Steps []Step `json:"steps"`
}

// Step is one step; exactly one field is set.
type Step struct {
	Request   *Request `json:"request,omitempty"` // perform, then call Session again
	Dial      *Dial    `json:"dial,omitempty"`
	Send      *Frame   `json:"send,omitempty"`      // hello: configuration, login
	Await     *Await   `json:"await,omitempty"`     // a signal from the decoder
	Subscribe []Frame  `json:"subscribe,omitempty"` // under the message budget
	Renew     *Renew   `json:"renew,omitempty"`     // send again and again
}

// Dial opens the WebSocket. With Sign, URL and header hold placeholders.
type Dial struct {
	URL    string            `json:"url"`
	Header map[string]string `json:"header,omitempty"`
	Sign   *Sign             `json:"sign,omitempty"`
}

// Frame is a text frame to send. With Sign, Data holds placeholders.
type Frame struct {
	Data  string `json:"data"`
	Token string `json:"token,omitempty"` // that the acknowledgement will carry (Out.Subscribed, Out.Rejected)
	Subs  []int  `json:"subs,omitempty"`  // the subscriptions it concerns, by index in the request
	Sign  *Sign  `json:"sign,omitempty"`
}

// Await waits for a signal of the decoder on this connection: Out.Ready or
// Out.Subscribed with its token. Out.Rejected with it ends the connection, and
// the feed unless one of Refusals says that it may be tried again.
type Await struct {
	Token    string        `json:"token"`
	Timeout  time.Duration `json:"timeout"`
	Refusals []Refusal     `json:"refusals,omitempty"`
}

// Renew repeats a frame on a connection, or renews a token by a request.
type Renew struct {
	Every   time.Duration `json:"every"`
	Frame   *Frame        `json:"frame,omitempty"`
	Request *Request      `json:"request,omitempty"`
}

// FrameRequest asks for frames on a live connection. Live are the subscriptions
// that stay when others are given up: what one of them needs isn't unsubscribed.
// Handles are what the venue calls subscriptions on this connection, by the token
// of the frame that made them (Out.SubscribedAs); only to unsubscribe.
type FrameRequest struct {
	Market        market.Market
	Class         string
	Unsubscribe   bool
	Subscriptions []Subscription
	Live          []Subscription
	Handles       map[string]string
}

// Purpose says why a request is made.
type Purpose string

// The purposes.
const (
	PurposeInstruments Purpose = "instruments"
	PurposeSnapshot    Purpose = "snapshot" // of a book
	PurposePoll        Purpose = "poll"
	PurposeTickers     Purpose = "tickers" // 24 h statistics of all symbols: Ticker records with volumes
	PurposeHistory     Purpose = "history" // trades after a gap
)

// RequestFor asks for HTTP requests.
type RequestFor struct {
	Purpose Purpose
	Market  market.Market
	Base    string // base URL chosen among the manifest's HTTP endpoints
	Subs    []Subscription
	From    int64 // PurposeHistory: sequence or ns, as the channel's History says
	To      int64
}

// Request is an HTTP request. The response comes back as InputHTTP with its URL.
// With Sign, URL, header and body hold placeholders, in the journal as well.
type Request struct {
	Method string            `json:"method"` // GET if empty
	URL    string            `json:"url"`
	Header map[string]string `json:"header,omitempty"`
	Body   string            `json:"body,omitempty"`
	Weight int               `json:"weight"` // in the venue's units
	Sign   *Sign             `json:"sign,omitempty"`
	Socket bool              `json:"socket,omitempty"` // sent as a frame on the subscription's connection (HTX)
}
