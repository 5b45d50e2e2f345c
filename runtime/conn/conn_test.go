package conn

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role(m) {
		return
	}
	goleak.VerifyTestMain(m)
}

// patience bounds waits that succeed at once; in a bubble it is virtual.
const patience = time.Minute

// entry is what the journal was given.
type entry struct {
	kind    source.InputKind
	conn    uint32
	wall    int64
	mono    int64
	payload string
}

func (e entry) input(t *testing.T) source.Input {
	var in source.Input
	if err := source.ParseInput(&in, e.kind, e.conn, e.wall, 0, []byte(e.payload)); err != nil {
		t.Error(err)
	}
	return in
}

// memory is a journal that keeps everything and speaks as a decoder would.
type memory struct {
	mu      sync.Mutex
	entries []entry
	changed chan struct{}
	rings   int
	refuse  func(source.InputKind, []byte) error
	decode  func(entry) // called outside the lock, as a lane would: later
}

func newMemory() *memory { return &memory{changed: make(chan struct{})} }

func (m *memory) Append(k source.InputKind, conn uint32, wall, mono int64, p, rest []byte) (uint64, error) {
	p = append(p[:len(p):len(p)], rest...)
	if m.refuse != nil {
		if err := m.refuse(k, p); err != nil {
			return 0, err
		}
	}
	m.mu.Lock()
	e := entry{k, conn, wall, mono, string(p)}
	m.entries = append(m.entries, e)
	n := uint64(len(m.entries))
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
	if m.decode != nil {
		m.decode(e)
	}
	return n, nil
}

func (m *memory) Ring() { m.mu.Lock(); m.rings++; m.mu.Unlock() }

func (m *memory) all() []entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[:len(m.entries):len(m.entries)]
}

// wait blocks until the entries satisfy ok.
func (m *memory) wait(t *testing.T, what string, ok func([]entry) bool) []entry {
	t.Helper()
	limit := time.After(patience)
	for {
		m.mu.Lock()
		entries, changed := m.entries[:len(m.entries):len(m.entries)], m.changed
		m.mu.Unlock()
		if ok(entries) {
			return entries
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("waited in vain for %s; the journal has:\n%s", what, dump(entries))
		}
	}
}

func dump(entries []entry) string {
	var b strings.Builder
	for _, e := range entries {
		p := e.payload
		fmt.Fprintf(&b, "  kind %d conn %d %.100q\n", e.kind, e.conn, p[:min(len(p), 300)])
	}
	return b.String()
}

func count(k source.InputKind, contains string) func([]entry) int {
	return func(es []entry) int {
		n := 0
		for _, e := range es {
			if e.kind == k && strings.Contains(e.payload, contains) {
				n++
			}
		}
		return n
	}
}

func atLeast(n int, k source.InputKind, contains string) func([]entry) bool {
	c := count(k, contains)
	return func(es []entry) bool { return c(es) >= n }
}

// request is the protocol of the test venue.
type request struct {
	Op   string   `json:"op"`
	ID   string   `json:"id,omitempty"`
	Args []string `json:"args,omitempty"`
}

// plugin renders the test venue's protocol.
type plugin struct {
	batch   int // symbols a frame
	steps   func(source.SessionRequest) []source.Step
	session func(source.SessionRequest) error
	tokens  bool
	mu      sync.Mutex
	n       int
	calls   []source.SessionRequest
	asked   []source.FrameRequest
}

func (p *plugin) frames(op string, subs []source.Subscription) []source.Frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	batch := p.batch
	if batch == 0 {
		batch = 200
	}
	var out []source.Frame
	for i := 0; i < len(subs); i += batch {
		p.n++
		r := request{Op: op, ID: fmt.Sprint(p.n)}
		var idx []int
		for j := i; j < min(i+batch, len(subs)); j++ {
			r.Args = append(r.Args, subs[j].Channel.String()+":"+subs[j].Symbol)
			idx = append(idx, j)
		}
		b, _ := json.Marshal(r)
		f := source.Frame{Data: string(b), Subs: idx}
		if p.tokens {
			f.Token = r.ID
		}
		out = append(out, f)
	}
	return out
}

func (p *plugin) Session(_ context.Context, r source.SessionRequest) (source.Script, error) {
	p.mu.Lock()
	p.calls = append(p.calls, r)
	p.mu.Unlock()
	if p.session != nil {
		if err := p.session(r); err != nil {
			return source.Script{}, err
		}
	}
	if p.steps != nil {
		return source.Script{Steps: p.steps(r)}, nil
	}
	return source.Script{Steps: []source.Step{{Dial: &source.Dial{URL: r.Endpoint}}, {Subscribe: p.frames("subscribe", r.Subscriptions)}}}, nil
}

func (p *plugin) Frames(_ context.Context, r source.FrameRequest) ([]source.Frame, error) {
	p.mu.Lock()
	p.asked = append(p.asked, r)
	p.mu.Unlock()
	op := "subscribe"
	if r.Unsubscribe {
		op = "unsubscribe"
	}
	return p.frames(op, r.Subscriptions), nil
}

func (p *plugin) Requests(_ context.Context, r source.RequestFor) ([]source.Request, error) {
	u := r.Base + "/" + string(r.Purpose)
	if len(r.Subs) > 0 {
		u += "?symbol=" + r.Subs[0].Symbol
	}
	return []source.Request{{URL: u}}, nil
}

// venue is a real server on loopback.
type venue struct {
	*httptest.Server
	t       *testing.T
	mu      sync.Mutex
	conns   int
	got     []arrival
	changed chan struct{}
	ws      func(n int, ws *websocket.Conn, r *http.Request) // after the upgrade; default: echo subscriptions
	http    http.HandlerFunc
	deny    func(n int, w http.ResponseWriter, r *http.Request) bool
	upgrade websocket.Upgrader
	open    []*websocket.Conn
}

type arrival struct {
	at   time.Time
	conn int
	text string
}

func newVenue(t *testing.T) *venue {
	v := &venue{t: t, changed: make(chan struct{})}
	v.Server = httptest.NewServer(v)
	t.Cleanup(func() { v.CloseClientConnections(); v.Server.Close() })
	return v
}

func (v *venue) arrive(conn int, text string) {
	v.mu.Lock()
	v.got = append(v.got, arrival{time.Now(), conn, text})
	close(v.changed)
	v.changed = make(chan struct{})
	v.mu.Unlock()
}

func (v *venue) arrivals() []arrival {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]arrival(nil), v.got...)
}

func (v *venue) wait(what string, ok func([]arrival) bool) []arrival {
	v.t.Helper()
	limit := time.After(patience)
	for {
		v.mu.Lock()
		got, changed := append([]arrival(nil), v.got...), v.changed
		v.mu.Unlock()
		if ok(got) {
			return got
		}
		select {
		case <-changed:
		case <-limit:
			v.t.Fatalf("waited in vain for %s; the venue got %d: %.2000v", what, len(got), got)
		}
	}
}

func texts(n int, contains string) func([]arrival) bool {
	return func(as []arrival) bool {
		for _, a := range as {
			if strings.Contains(a.text, contains) {
				n--
			}
		}
		return n <= 0
	}
}

func (v *venue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !websocket.IsWebSocketUpgrade(r) {
		v.arrive(0, "HTTP "+r.URL.RequestURI())
		if v.http != nil {
			v.http(w, r)
			return
		}
		fmt.Fprintf(w, `{"path":%q}`, r.URL.RequestURI())
		return
	}
	v.mu.Lock()
	v.conns++
	n, deny, serve := v.conns, v.deny, v.ws
	v.mu.Unlock()
	v.arrive(n, "DIAL "+r.URL.RequestURI())
	if deny != nil && deny(n, w, r) {
		return
	}
	ws, err := v.upgrade.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	v.mu.Lock()
	v.open = append(v.open, ws)
	v.mu.Unlock()
	if serve != nil {
		serve(n, ws, r)
		return
	}
	v.serve(n, ws, nil)
}

// serve answers requests until the client goes, and says what it got.
func (v *venue) serve(n int, ws *websocket.Conn, each func(request) []string) {
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			v.arrive(n, "GONE "+err.Error())
			return
		}
		v.arrive(n, string(b))
		var r request
		if json.Unmarshal(b, &r) != nil {
			continue
		}
		out := []string{fmt.Sprintf(`{"ack":%q}`, r.ID)}
		if each != nil {
			out = each(r)
		}
		for _, o := range out {
			if ws.WriteMessage(websocket.TextMessage, []byte(o)) != nil {
				return
			}
		}
	}
}

// pipes is a network in memory, for virtual time.
type pipes struct {
	accept chan net.Conn
	done   chan struct{}
	mu     sync.Mutex
	broken error // of the next dials
	wrap   func(net.Conn) net.Conn
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	err := p.broken
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a, b := net.Pipe()
	select {
	case p.accept <- b:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bubble runs a test in virtual time with a venue on a network in memory.
func bubble(t *testing.T, test func(t *testing.T, v *venue, p *pipes, s Settings)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{accept: make(chan net.Conn), done: make(chan struct{})}
		v := &venue{t: t, changed: make(chan struct{})}
		srv := &http.Server{Handler: v}
		go srv.Serve(p)
		t.Cleanup(func() {
			v.hang()
			srv.Close()
			time.Sleep(time.Minute) // what waits for a deadline sees it
		})
		s := settings(nil, nil)
		s.URL, s.HTTPURL, s.Dial = "ws://venue.test", "http://venue.test", p.Dial
		test(t, v, p, s)
	})
}

// hang closes all WebSockets without a word.
func (v *venue) hang() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, ws := range v.open {
		ws.Close()
	}
	v.open = nil
}

func (v *venue) wsURL() string { return "ws" + strings.TrimPrefix(v.URL, "http") }

// running is a feed under test.
type running struct {
	*Feed
	t      testing.TB
	mem    *memory
	plugin *plugin
	cancel context.CancelFunc
	done   chan error
	mu     sync.Mutex
	events []Event
}

func settings(v *venue, edit func(*Settings)) Settings {
	s := Settings{
		Venue: "testex",
		Spec: source.MarketSpec{Market: market.MarketSpot, HTTP: []string{"https://api.testex.example"},
			Endpoints: []source.Endpoint{{URL: "wss://ws.testex.example/stream", MaxSubscriptions: 1024}}},
		Channels: []source.ChannelSpec{
			{Channel: market.ChannelTrades, Transport: source.Stream},
			{Channel: market.ChannelBook, Transport: source.Stream},
			{Channel: market.ChannelLiquidations, Transport: source.Stream, PerMarket: true},
			{Channel: market.ChannelOpenInterest, Transport: source.Poll, PollEvery: 100 * time.Millisecond},
		},
		Budgets: NewBudgets(), Logger: zerolog.Nop(), CatalogueEvery: -1, Overlap: time.Millisecond,
	}
	if v != nil {
		s.URL, s.HTTPURL = v.wsURL(), v.URL
	}
	if edit != nil {
		edit(&s)
	}
	return s
}

// start runs a feed until the test ends.
func start(t testing.TB, s Settings, subs []source.Subscription) *running {
	t.Helper()
	r := &running{t: t, done: make(chan error, 1)}
	if s.Renderer == nil {
		s.Renderer = &plugin{}
	}
	if s.Frames == nil {
		s.Frames = newMemory()
	}
	r.plugin, _ = s.Renderer.(*plugin)
	r.mem, _ = s.Frames.(*memory)
	s.Events = func(e Event) { r.mu.Lock(); r.events = append(r.events, e); r.mu.Unlock() }
	f, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	r.Feed = f
	if err := f.SetSubscriptions(subs); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- f.Run(ctx) }()
	t.Cleanup(func() {
		r.stop()
		s.Budgets.Close()
		if err := f.set.Buffers.Close(); err != nil { // of a feed that ended nothing is leased
			t.Error(err)
		}
	})
	return r
}

func (r *running) stop() error {
	r.cancel()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(10 * time.Minute):
		r.t.Error("Run did not return")
		return nil
	}
}

func (r *running) seen(k EventKind) (out []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == k {
			out = append(out, e)
		}
	}
	return out
}

func subs(c market.Channel, n int) []source.Subscription {
	out := make([]source.Subscription, n)
	for i := range out {
		out[i] = source.Subscription{Channel: c, Symbol: fmt.Sprintf("SYM%d", i)}
	}
	return out
}

func TestFeedReadsAndDrains(t *testing.T) {
	v := newVenue(t)
	v.ws = func(n int, ws *websocket.Conn, r *http.Request) {
		v.serve(n, ws, func(request) []string { return []string{`{"ack":1}`, `{"t":1}`, `{"t":2}`} })
	}
	r := start(t, settings(v, nil), subs(market.ChannelTrades, 2))
	r.mem.wait(t, "frames", atLeast(2, source.InputText, `{"t":`))
	st := r.Stats()
	if len(st) != 1 || st[0].Conn != 1 || st[0].URL != "wss://ws.testex.example/stream" {
		t.Errorf("stats: %+v", st)
	}
	if err := r.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	es := r.mem.all()
	open, last := es[0].input(t), es[len(es)-1]
	if open.Kind != source.InputOpen || string(open.URL) != "wss://ws.testex.example/stream" || string(open.Data) != v.wsURL()+"/stream" {
		t.Errorf("first entry: %+v", open)
	}
	if es[1].kind != source.InputSent || !strings.Contains(es[1].payload, "trades:SYM1") {
		t.Errorf("second entry: %+v", es[1])
	}
	if last.kind != source.InputClose || last.payload != "drained" || last.conn != 1 {
		t.Errorf("last entry: %+v", last)
	}
	for i, e := range es[1:] {
		if e.mono < es[i].mono || e.wall == 0 {
			t.Errorf("entry %d goes back in time", i+1)
		}
	}
	v.wait("the close frame", texts(1, "GONE websocket: close 1001"))
	m := r.Metrics()
	if m.Frames != 3 || m.Sent != 1 || m.Opens != 1 || m.Closes != 1 || m.Open != 0 {
		t.Errorf("metrics: %+v", m)
	}
}
