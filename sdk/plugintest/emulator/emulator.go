// Package emulator is a venue on loopback: a server that speaks an exchange's
// WebSocket and HTTP protocol, carries a synthetic market (or plays a recorded
// capture), keeps a ledger of every frame it sent, and injects faults on
// command. Tests, benchmarks and `marketprism simulate` collect from it as they
// would from the exchange.
//
// Order: one goroutine makes the market and renders its frames; a connection's
// frames go out in the order in which they were made, acknowledgements before
// the data they announce. The same seed gives the same market events, whoever
// listens; only their times are the wall clock's.
//
// The ledger is the witness of loss tests: an entry is written before its frame
// is handed to the socket, so it also holds frames that a dying connection never
// delivered; Account tells those apart.
//
// A slow reader delays nobody in a paced market: its frames wait in a buffer of
// at most Options.SlowLimit bytes, then the connection is closed, as exchanges
// do. A saturated market (Rate 0) waits for its slowest reader, and closes one
// that takes nothing for 30 s.
package emulator

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/sdk/market"
)

// Options say what to emulate. The zero value of a field is its default.
type Options struct {
	Venue   string        // one of Venues
	Market  market.Market // the capture's if none, else spot
	Listen  string        // address, 127.0.0.1:0
	Seed    uint64
	FirstID int64    // added to trade ids and sequences, for a venue that goes on where another one ended
	Symbols []string // canonical names: BTC-USDT, BTC-USDT-PERP, BTC-USD:BTC-PERP; BTC and ETH if empty

	Rate   float64 // market events a second, one frame each for a subscriber of trades and book; 0 saturates
	Mix    Mix     // trades to book updates, 4:1
	Levels int     // changed per book update, 7
	Depth  int     // levels of a side at the start, 1,000

	PingEvery   time.Duration // between the venue's pings; negative: none; else the venue's own rule
	PongTimeout time.Duration // the venue's own rule
	MaxAge      time.Duration // a connection is closed with 1001 then; 0: never
	SlowLimit   int           // bytes that may wait for a slow reader, 64 MiB
	Limits      bool          // enforce the venue's limits on messages, streams, connects and weight
	Compression bool          // accept permessage-deflate; frames are sent uncompressed all the same

	Faults []Fault // scheduled by their After, counted from Run
	Ledger LedgerOptions

	Capture string  // play this capture in place of a synthetic market
	Speed   float64 // of the playback, 1 is as recorded; 0 is as fast as it is read
}

// Mix weighs the kinds of market event.
type Mix struct{ Trades, Depth int }

// Emulator is a venue. Its methods may be called from any goroutine.
type Emulator struct {
	opt     Options
	dialect dialect
	ln      net.Listener
	srv     *http.Server
	up      websocket.Upgrader
	ledger  *Ledger
	play    *playback

	// mu guards the market, the streams and the armed faults. The market's
	// goroutine holds it while it makes events; lock order is mu, Conn.mu.
	mu      sync.Mutex
	mkt     *synthetic
	streams map[string]*stream
	armed   []*armedFault
	gate    httpGate
	touched []*Conn // have frames to flush
	// touchedBefore is of the market's goroutine alone.
	touchedBefore []*Conn
	scratch       []byte
	paused        bool
	started       time.Time
	budget        budget
	limits        limits // the venue's, or of the dialect that speaks for one of its markets
	numberMark    []byte // of the dialect: what a frame's number on its connection stands behind
	gzipped       bool   // of the dialect: each frame is a gzip member
	sums          bool   // of the dialect: checksums have frames of their own, which it makes wrong itself

	connsMu sync.Mutex
	conns   map[*Conn]struct{}
	nextID  uint32
	stopped bool // no connection is taken any more

	wg     sync.WaitGroup
	wake   chan struct{} // ends the idle wait of a saturated market
	stats  counters
	httpNo atomic.Uint32
}

type counters struct {
	events, frames, bytes, http, opened, closed, behind, slow, pings, pongs atomic.Int64
}

// Stats is what GET /_stats answers.
type Stats struct {
	Events  int64 `json:"events"`  // market events made
	Frames  int64 `json:"frames"`  // written to the ledger and handed to sockets
	Bytes   int64 `json:"bytes"`   // of those, payload
	HTTP    int64 `json:"http"`    // requests of the venue's API
	Opened  int64 `json:"opened"`  // connections
	Closed  int64 `json:"closed"`  // connections
	Behind  int64 `json:"behind"`  // times the pacer was more than 100 ms late and started anew
	Slow    int64 `json:"slow"`    // connections closed because they read too slowly
	Pings   int64 `json:"pings"`   // sent
	Pongs   int64 `json:"pongs"`   // received
	Streams int   `json:"streams"` // subscribed now
	CPU     int64 `json:"cpu_ns"`  // user and system time of this process
	Ledger  int64 `json:"ledger"`  // entries
}

// New binds the listening address and prepares the market; Run serves it.
func New(opt Options) (*Emulator, error) {
	if err := opt.fill(); err != nil {
		return nil, err
	}
	e := &Emulator{opt: opt, streams: map[string]*stream{}, conns: map[*Conn]struct{}{}, wake: make(chan struct{}, 1), limits: venues[opt.Venue].limits}
	e.up = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, EnableCompression: opt.Compression,
		ReadBufferSize: 4096, WriteBufferSize: 512}
	var err error
	if e.mkt, err = newSynthetic(opt, venues[opt.Venue].symbols); err != nil {
		return nil, err
	}
	e.dialect = venues[opt.Venue].new(e)
	if opt.PingEvery == 0 {
		e.opt.PingEvery, e.opt.PongTimeout = e.dialect.heartbeat(opt.PongTimeout)
	}
	if e.opt.PongTimeout == 0 {
		e.opt.PongTimeout = 3 * e.opt.PingEvery
	}
	if opt.Capture != "" {
		if e.play, err = openPlayback(opt.Capture); err != nil {
			return nil, err
		}
	}
	if e.ledger, err = newLedger(opt.Ledger); err != nil {
		return nil, err
	}
	if e.ln, err = net.Listen("tcp", opt.Listen); err != nil {
		e.ledger.Close()
		return nil, fmt.Errorf("emulator: listen on %s: %w; give another address or :0", opt.Listen, err)
	}
	e.srv = &http.Server{Handler: http.HandlerFunc(e.serve), ReadHeaderTimeout: 10 * time.Second}
	for _, f := range opt.Faults {
		if err := e.check(f); err != nil {
			e.ln.Close()
			e.ledger.Close()
			return nil, err
		}
	}
	return e, nil
}

func (o *Options) fill() error {
	v, ok := venues[o.Venue]
	if !ok {
		return fmt.Errorf("emulator: no venue %q; there are %v", o.Venue, Venues())
	}
	if o.Market == market.MarketNone && o.Capture != "" {
		o.Market = recordedMarket(o.Capture)
	}
	if o.Market == market.MarketNone || o.Market == market.MarketMixed {
		o.Market = market.MarketSpot
	}
	if !v.has(o.Market) {
		return fmt.Errorf("emulator: %s has no market %s here; there are %v", o.Venue, o.Market, v.markets)
	}
	if v.clock && o.FirstID == 0 { // the first books are of a moment ago
		o.FirstID = time.Now().Add(-3 * time.Second).UnixMicro()
	}
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Mix.Trades <= 0 && o.Mix.Depth <= 0 {
		o.Mix = Mix{Trades: 4, Depth: 1}
	}
	def(&o.Levels, 7)
	def(&o.Depth, 1000)
	def(&o.SlowLimit, 64<<20)
	o.Levels, o.Depth = min(o.Levels, 256), min(o.Depth, gridHalf/4)
	if o.Rate < 0 || o.Speed < 0 {
		return errors.New("emulator: Rate and Speed are zero or positive")
	}
	return nil
}

// Addr is the bound address, host:port.
func (e *Emulator) Addr() string { return e.ln.Addr().String() }

// URL is the WebSocket base, ws://host:port.
func (e *Emulator) URL() string { return "ws://" + e.Addr() }

// HTTPURL is the HTTP base, http://host:port.
func (e *Emulator) HTTPURL() string { return "http://" + e.Addr() }

// Ledger is the record of what was sent.
func (e *Emulator) Ledger() *Ledger { return e.ledger }

// Run serves until ctx ends, then closes every connection and returns. The
// ledger stays readable until Close.
func (e *Emulator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.started = time.Now()
	served := make(chan error, 1)
	go func() { served <- e.srv.Serve(e.ln) }()
	for _, f := range e.opt.Faults {
		e.wg.Add(1)
		go func() {
			defer e.wg.Done()
			if sleep(ctx, f.After) {
				_ = e.Inject(f)
			}
		}()
	}
	made := make(chan struct{})
	go func() { defer close(made); e.runMarket(ctx) }()

	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- nil
	}
	cancel()
	e.srv.Close()
	e.connsMu.Lock()
	e.stopped = true
	e.connsMu.Unlock()
	for _, c := range e.all() {
		c.drop("emulator stops")
	}
	<-made
	<-served
	e.wg.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("emulator: serve %s: %w", e.Addr(), err)
	}
	return nil
}

// Close releases the ledger. Call it after Run has returned.
func (e *Emulator) Close() error {
	e.ln.Close()
	return e.ledger.Close()
}

// Pause stops the market: nothing but acknowledgements and control frames is
// sent until Resume. When it returns, every frame is in the ledger.
func (e *Emulator) Pause() { e.setPaused(true) }

// Resume continues the market.
func (e *Emulator) Resume() { e.setPaused(false) }

func (e *Emulator) setPaused(p bool) {
	e.mu.Lock()
	e.paused = p
	e.mu.Unlock()
	e.nudge()
}

func (e *Emulator) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Stats reads the counters.
func (e *Emulator) Stats() Stats {
	e.mu.Lock()
	n := len(e.streams)
	e.mu.Unlock()
	s := &e.stats
	return Stats{s.events.Load(), s.frames.Load(), s.bytes.Load(), s.http.Load(), s.opened.Load(), s.closed.Load(),
		s.behind.Load(), s.slow.Load(), s.pings.Load(), s.pongs.Load(), n, cpuTime(), e.ledger.Len()}
}

// Book is the true state of a symbol's book.
type Book struct {
	Symbol string      `json:"symbol"`
	Seq    int64       `json:"seq"`
	Bids   [][2]string `json:"bids"` // price, amount; best first
	Asks   [][2]string `json:"asks"`
}

// Book gives the true book of a native symbol, both sides to n levels (0: all).
func (e *Emulator) Book(symbol string, n int) (Book, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.mkt.byName[symbol]
	if s == nil {
		return Book{}, fmt.Errorf("emulator: no symbol %q; there are %v", symbol, e.mkt.names())
	}
	b := Book{Symbol: symbol, Seq: s.seq, Bids: [][2]string{}, Asks: [][2]string{}}
	text := func(i int, q int64) [2]string {
		return [2]string{string(s.appendPrice(nil, i)), string(s.appendQty(nil, q))}
	}
	s.bids(n, func(i int, q int64) { b.Bids = append(b.Bids, text(i, q)) })
	s.asks(n, func(i int, q int64) { b.Asks = append(b.Asks, text(i, q)) })
	return b, nil
}

// serve is the one HTTP handler: control endpoints, WebSocket upgrades, then
// the venue's API.
func (e *Emulator) serve(w http.ResponseWriter, r *http.Request) {
	if len(r.URL.Path) > 1 && r.URL.Path[1] == '_' {
		e.control(w, r)
		return
	}
	if websocket.IsWebSocketUpgrade(r) {
		e.accept(w, r)
		return
	}
	e.stats.http.Add(1)
	if e.gated(w, r) {
		return
	}
	if e.play != nil {
		e.play.http(e, w, r)
		return
	}
	e.dialect.http(w, r)
}

func (e *Emulator) control(w http.ResponseWriter, r *http.Request) {
	var out any
	switch r.URL.Path {
	case "/_stats":
		out = e.Stats()
	case "/_book":
		b, err := e.Book(r.URL.Query().Get("symbol"), 0)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		out = b
	case "/_fault", "/_pause", "/_resume", "/_list":
		if r.Method != http.MethodPost {
			http.Error(w, "emulator: POST it", http.StatusMethodNotAllowed)
			return
		}
		switch r.URL.Path {
		case "/_pause":
			e.Pause()
		case "/_resume":
			e.Resume()
		default:
			d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
			d.DisallowUnknownFields()
			var err error
			if r.URL.Path == "/_list" {
				var l Listing
				if err = d.Decode(&l); err == nil {
					err = e.List(l)
				}
			} else {
				var f Fault
				if err = d.Decode(&f); err == nil {
					err = e.Inject(f)
				}
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		out = e.Stats()
	default:
		http.Error(w, "emulator: /_stats, /_book?symbol=, POST /_fault, POST /_list, POST /_pause, POST /_resume", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// packedFrom is from where on answers are compressed for those who take it, as
// venues do.
const packedFrom = 1 << 10

var packers = sync.Pool{New: func() any { z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed); return z }}

// reply answers a request of the venue's API and enters it in the ledger.
func (e *Emulator) reply(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	e.ledger.add(Entry{Conn: e.httpNo.Add(1), Kind: EntryHTTP, Size: uint32(len(body)), Time: time.Now().UnixNano(), Hash: Hash(body)})
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	if len(body) < packedFrom || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(status)
		_, _ = w.Write(body)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	z := packers.Get().(*gzip.Writer)
	z.Reset(w)
	_, _ = z.Write(body)
	_ = z.Close()
	z.Reset(nil)
	packers.Put(z)
}

func (e *Emulator) all() []*Conn {
	e.connsMu.Lock()
	defer e.connsMu.Unlock()
	cs := make([]*Conn, 0, len(e.conns))
	for c := range e.conns {
		cs = append(cs, c)
	}
	return cs
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
