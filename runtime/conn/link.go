package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/runtime/sign"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

// link is one connection instance with a number of its own: from the session
// script to InputClose. run's goroutine owns it and writes to the socket; the
// reader goroutine owns what stands under "reader".
type link struct {
	f         *Feed
	slot      *slot
	ep        source.Endpoint
	num       uint32
	address   string // chosen among the endpoint's
	priority  int    // of its dial
	wanted    bool   // the address is why it is opened
	way       *way   // of a spare, with its place among the open connections; nil: open chooses
	opens     *opens
	carries   bool // it has data; the slot's
	patience  int  // times StaleAfter
	strain    int  // times DegradedFor
	parent    context.Context
	careful   bool          // waits for each frame's answer before the next
	doubts    [][]subKey    // of the frames that go last
	asked     int           // frames of the script that subscribe
	beside    *link         // carries the subscriptions while this one comes up; nil: none does
	since     time.Time     // made, then opened
	err       error         // of run, once it returned
	opened    bool          // until run returned only it may look
	changed   atomic.Bool   // subscriptions; control looks
	replacing atomic.Bool   // another one is on its way
	standby   atomic.Bool   // a spare
	prio      chan string   // replies; sent before anything else
	pongs     chan string   // payloads of pings to answer
	wake      chan struct{} // subscriptions, inbox, close
	ctx       context.Context
	cancel    context.CancelCauseFunc

	ws    *websocket.Conn
	sock  *sock
	login *sign.Session

	// Control: of run's goroutine.
	url       string    // rendered
	expires   time.Time // the certificate
	queue     []item
	ready     map[string]bool // Await tokens that came
	acks      map[string][]*ack
	handles   map[string]string // the venue's names of subscriptions, by token
	unacked   int
	answered  bool // a subscription was acknowledged or refused
	active    map[subKey]bool
	rejected  map[subKey]bool
	rendered  chan rendering
	rendering bool // one is on its way
	scripted  time.Time
	told      bool            // the slot knows that we are ready
	announced bool            // EventSubscribed was given
	added     map[subKey]bool // since then, and not acknowledged yet
	data      time.Time       // control saw the first data
	stale     time.Duration
	paid      bool      // the first message's place in the budget is taken
	settling  bool      // settle was set
	rotates   time.Time // when it is to be replaced for its age; zero: never
	renewals  []renewal
	messages  *window
	requests  *window // of those, the ones that subscribe

	// reader
	buf       []byte // lent's
	lent      pool.Buf[byte]
	quiet     int // frames since the buffer was needed large
	inFrame   bool
	parsed    int // frames since the last burst
	frames    uint64
	bytes     uint64
	readStamp int64
	done      chan struct{}
	readErr   error

	// Shared, by atomics; the reader publishes once a burst.
	pubFrames, pubBytes atomic.Uint64
	bursts, sent        atomic.Uint64
	errs                atomic.Uint64 // frames refused, journal errors, frames not acknowledged
	rtt                 atomic.Int64  // ns, smoothed
	pinged              atomic.Int64  // Mono of the oldest ping without a pong
	answers             atomic.Bool   // the venue answers pings
	health              atomic.Pointer[healthState]
	waits               atomic.Bool   // the next frame waits for beside
	noData              atomic.Uint64 // frames that the decoder called no data
	lastLife            atomic.Int64  // Mono
	lastData            atomic.Int64  // Mono, kept by run
	dataSeen            atomic.Uint64 // data frames when it was; kept by run
	began               atomic.Int64  // Mono when a frame that isn't whole yet began to wait; 0: none
	stat                atomic.Pointer[linkStat]

	mu     sync.Mutex
	inbox  []letter
	resubs []subKey
	asks   []*source.Frame // requests on the socket
}

type linkStat struct {
	url, address, state   string
	subs, unacked, queued int
	since, certExpires    time.Time
	rotates               time.Time // before the age limit; zero: there is none
}

// item is a piece of work in the order of the script.
type item struct {
	frame *source.Frame
	keys  []subKey // that the frame concerns
	try   int
	await *source.Await
	until time.Time // of await, set when its turn comes
	end   bool      // of the script
}

type ack struct {
	item
	token string
	due   time.Time
	n     uint64 // of the frame on its connection
}

type letter struct {
	kind source.SignalKind
	text string
}

type rendering struct {
	frames []item
	drop   []subKey
	add    []subKey
	err    error
}

type renewal struct {
	source.Renew
	due time.Time
}

// newLink is called by the slot's goroutine.
func newLink(ctx context.Context, s *slot, address string, priority int) (*link, error) {
	n, err := s.f.number()
	if err != nil {
		return nil, err
	}
	l := &link{f: s.f, slot: s, ep: s.ep, num: n, address: address, priority: priority, patience: s.patience, strain: s.strain, careful: s.rough >= roughMost, doubts: slices.Clone(s.doubts), parent: ctx, since: time.Now(),
		prio: make(chan string, 64), pongs: make(chan string, 4), wake: make(chan struct{}, 1), ready: make(map[string]bool), acks: make(map[string][]*ack),
		active: make(map[subKey]bool), rejected: make(map[subKey]bool), rendered: make(chan rendering, 1), done: make(chan struct{})}
	l.login = s.f.signs.Session()
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.url = l.address
	if s.cur != nil && s.cur.carries {
		l.beside = s.cur
	}
	l.standby.Store(priority == dialStandby)
	l.setHealth(Connecting, "")
	l.publish("opening")
	s.f.mu.Lock()
	s.f.links[n] = l
	s.f.mu.Unlock()
	return l, nil
}

// name is that of a goroutine of the link.
func (l *link) name(of string) string { return fmt.Sprintf("connection %d%s", l.num, of) }

func (l *link) errorf(format string, args ...any) error {
	return fmt.Errorf("conn: %s: connection %d: "+format, append([]any{l.f.name, l.num}, args...)...)
}

// close ends the link in order: close frame, InputClose with the reason.
func (l *link) close(why string) { l.cancel(errors.New(why)) }

var errDrained = errors.New("drained")

func (l *link) run() error {
	f := l.f
	defer func() {
		f.mu.Lock()
		delete(f.links, l.num)
		f.mu.Unlock()
		l.cancel(nil)
		l.beside = nil
		l.login.Close()
	}()
	release, err := l.open()
	if err != nil {
		if l.ctx.Err() != nil {
			return nil
		}
		f.count.connectErrors[connectReasonOf(err)].Add(1)
		l.ended(EventConnect, err)
		return err
	}
	defer release()
	f.count.open.Add(1)
	defer f.count.open.Add(-1)
	l.slot.work.Go(l.name(" reader"), func(context.Context) error { l.read(); return nil })
	defer func() { // after a panic of control: the reader must not go on alone
		l.ws.Close()
		<-l.done
	}()
	err = l.control()
	code, why, reason := websocket.CloseNormalClosure, "", closeError
	if c := context.Cause(l.ctx); l.ctx.Err() != nil {
		code, why, reason, err = websocket.CloseGoingAway, c.Error(), closeReplaced, nil
		if l.parent.Err() != nil {
			reason = closeDrained
		}
		if errors.Is(c, context.Canceled) {
			why = errDrained.Error()
		}
	}
	l.setHealth(Draining, why)
	l.publish("closing")
	l.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
	if reason == closeReplaced {
		l.drain()
	}
	l.ws.SetReadDeadline(time.Unix(1, 0)) // stops the reader where it is
	l.ws.Close()
	<-l.done
	if errors.Is(err, websocket.ErrCloseSent) { // by the reader, who knows why
		err = l.brokenBy(l.readErr)
	}
	if why == "" {
		why, reason = err.Error(), closeReasonOf(err)
		if reason != closeJournal && reason != closeError { // which are ours
			l.slot.board.ended(l.address, time.Now(), time.Since(l.since))
		}
	}
	f.count.closes[reason].Add(1)
	l.ended(EventClose, errors.New(why))
	return err
}

// drain reads on until the venue has answered our close frame, so that nothing
// which it sent before is lost: the connection that took over may have missed
// what was on its way when it was subscribed.
func (l *link) drain() {
	l.ws.SetReadDeadline(time.Now().Add(drainTime))
	defer context.AfterFunc(l.parent, func() { l.ws.SetReadDeadline(time.Unix(1, 0)) })()
	<-l.done
}

// ended journals and tells why the link is no more.
func (l *link) ended(k EventKind, why error) {
	text := why.Error()
	l.f.append(source.InputClose, l.num, time.Now(), []byte(text), nil)
	l.f.set.Frames.Ring()
	l.f.event(Event{Kind: k, Conn: l.num, Detail: text, Err: why})
}

// open renders the session, waits for the budgets and dials.
func (l *link) open() (release func(), err error) {
	f := l.f
	host := hostOf(l.ep.URL)
	way, opens := l.way, l.opens
	if way == nil {
		if way, opens, err = f.forSocket(l.ctx, host); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			way.leave(opens)
		}
	}()
	for {
		err = l.attempt(way, host)
		if err == nil {
			break
		}
		if !errors.Is(err, errElsewhere) {
			return nil, err
		}
		if l.wanted {
			return nil, unopened{l.errorf("%s failed meanwhile", redact(l.address)), connectOther}
		}
		l.address = l.slot.board.choose(time.Now(), "")
	}
	l.since, l.opened = time.Now(), true
	if !slices.ContainsFunc(l.queue, func(it item) bool { return len(it.keys) > 0 }) {
		l.hold() // subscribed by its address
	}
	actual := ""
	if to := override(l.url, f.set.URL); to != l.url {
		actual = to
	}
	if err := f.append(source.InputOpen, l.num, l.since, source.AppendHTTP(nil, http.StatusSwitchingProtocols, l.url, []byte(actual)), nil); err != nil {
		l.ws.Close()
		return nil, err
	}
	l.publish("subscribing")
	f.opened(l.ep.Class)
	f.event(Event{Kind: EventOpen, Conn: l.num, Detail: l.url})
	return func() { way.leave(opens) }, nil
}

// attempt renders the session for the address and dials when its turn comes.
func (l *link) attempt(way *way, host string) error {
	f := l.f
	keys, subs := l.slot.snapshot()
	script, err := l.session(subs)
	if err != nil {
		return unopened{err, connectScript}
	}
	var dial *source.Dial
	for _, st := range script.Steps {
		if st.Dial != nil {
			dial = st.Dial
			break
		}
	}
	if dial == nil {
		return l.error(fault.Stop, "the session script of class %q has no dial step", l.ep.Class)
	}
	if err := l.plan(script, keys); err != nil {
		return err
	}
	if r := l.ep.Messages; l.ep.SubscribeWithin > 0 {
		// The venue counts messages by address and closes who is silent after the
		// dial: connections share one budget, and the first message is in hand.
		l.messages = f.set.Budgets.window(way.key("messages", host), r)
		if !l.paid {
			if err := l.messages.wait(l.ctx, 1, urgent); err != nil {
				return err
			}
		}
		l.paid = true
	} else if r.N > 0 && r.Per > 0 {
		l.messages = newWindow(r)
	}
	if r := l.ep.Subscribes; r.N > 0 && r.Per > 0 {
		l.requests = newWindow(r)
	}
	left := func(now time.Time) bool { return l.slot.board.left(now, l.address) }
	queue := f.set.Budgets.admission(way, host, f.set.Spec.Connects)
	if err := queue.enter(l.ctx, f, l.priority, left); err != nil {
		return err
	}
	begin := time.Now()
	err = l.dial(way, dial)
	o := dialled
	switch {
	case err == nil:
		l.slot.board.opened(l.address)
		f.dialled.Observe(time.Since(begin))
	case l.ctx.Err() != nil, errors.Is(err, errShut):
		o = dialEnded
	default:
		if o = dialFails; l.wanted {
			o = dialEnded // an endpoint that is tried while another one works says nothing of the venue
		}
		l.slot.board.failed(l.address, time.Now())
	}
	queue.leave(o, begin)
	return err
}

func (l *link) error(k fault.Kind, format string, args ...any) error {
	return fault.New(k, l.errorf(format, args...))
}

// session asks for the script until each of its requests has a reply.
func (l *link) session(subs []source.Subscription) (source.Script, error) {
	req := source.SessionRequest{Market: l.f.set.Spec.Market, Class: l.ep.Class, Endpoint: l.address, Base: l.f.base(), Subscriptions: subs, Config: l.f.set.Config}
	for range 8 {
		script, err := l.f.set.Renderer.Session(l.ctx, req)
		if err != nil {
			return script, l.errorf("session: %w", err)
		}
		n := 0
		var open *source.Request
		for _, st := range script.Steps {
			if st.Request != nil {
				if n++; n > len(req.Replies) {
					open = st.Request
					break
				}
			}
		}
		if open == nil {
			return script, nil
		}
		reply, err := l.request(*open)
		if err != nil {
			return script, l.errorf("session: %w", err)
		}
		req.Replies = append(req.Replies, reply)
	}
	return source.Script{}, l.error(fault.Stop, "the session script of class %q asks for more than 8 requests", l.ep.Class)
}

// request performs one of the script's.
func (l *link) request(r source.Request) (source.Reply, error) {
	return l.f.exchange(l.ctx, call{Request: r, conn: l.num, weight: 1, priority: urgent, session: l.login})
}

// plan turns the script into work for control.
func (l *link) plan(script source.Script, keys []subKey) error {
	clear(l.active)
	l.queue, l.renewals = nil, nil
	for _, k := range keys {
		l.active[k] = true
	}
	for i := range script.Steps {
		st := &script.Steps[i]
		switch {
		case st.Send != nil:
			l.queue = append(l.queue, item{frame: st.Send})
		case st.Await != nil:
			l.queue = append(l.queue, item{await: st.Await})
		case st.Renew != nil:
			if st.Renew.Every <= 0 || (st.Renew.Frame == nil) == (st.Renew.Request == nil) {
				return l.error(fault.Stop, "a renew step needs an interval and either a frame or a request")
			}
			l.renewals = append(l.renewals, renewal{Renew: *st.Renew})
		}
		for j := range st.Subscribe {
			it, err := l.item(&st.Subscribe[j], keys)
			if err != nil {
				return err
			}
			l.queue = append(l.queue, it)
		}
	}
	l.asked = 0
	for _, it := range l.queue {
		if len(it.keys) > 0 {
			l.asked++
		}
		if it.frame != nil {
			if err := l.sendable(it.frame); err != nil {
				return err
			}
		}
	}
	for _, keys := range l.doubts {
		if i := slices.IndexFunc(l.queue, func(it item) bool { return len(it.keys) > 0 && slices.Equal(it.keys, keys) }); i >= 0 {
			last := l.queue[i]
			l.queue = append(slices.Delete(l.queue, i, i+1), last)
		}
	}
	l.queue = append(l.queue, item{end: true})
	return nil
}

func (l *link) item(fr *source.Frame, keys []subKey) (item, error) {
	it := item{frame: fr}
	for _, i := range fr.Subs {
		if i < 0 || i >= len(keys) {
			return it, l.error(fault.Stop, "a frame concerns subscription %d of %d", i, len(keys))
		}
		it.keys = append(it.keys, keys[i])
	}
	return it, nil
}

func (l *link) sendable(fr *source.Frame) error {
	if fr.Sign != nil {
		if err := l.login.Check(fr.Sign, fr.Data); err != nil {
			return l.errorf("%w", err)
		}
	}
	if n := l.ep.MaxFrameSent; n > 0 && len(fr.Data) > n {
		return l.error(fault.Stop, "a frame of %d bytes was rendered, the venue takes %d: %s", len(fr.Data), n, excerpt([]byte(fr.Data)))
	}
	return nil
}

func (l *link) dial(way *way, st *source.Dial) error {
	f := l.f
	l.url = st.URL
	shown, m := override(st.URL, f.set.URL), sign.Message{URL: st.URL, Header: st.Header}
	if st.Sign != nil {
		var err error
		if m, err = l.login.Request(st.Sign, m, time.Now()); err != nil {
			return l.errorf("%w", err)
		}
	}
	target := override(m.URL, f.set.URL)
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" {
		return l.error(fault.Stop, "%q is no WebSocket address", redact(shown))
	}
	l.publish("opening")
	wd := &websocket.Dialer{
		HandshakeTimeout: handshakeTime, ReadBufferSize: readBuffer, WriteBufferSize: 4096, EnableCompression: f.set.Compress,
		TLSClientConfig: way.dial.tls(u.Hostname()),
		NetDialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			c, err := way.dial.through(ctx, u, addr)
			if err != nil {
				return nil, err
			}
			l.sock = newSock(c, u.Scheme == "wss")
			return l.sock, nil
		},
	}
	h := http.Header{"User-Agent": {userAgent}}
	for k, v := range m.Header {
		h.Set(k, v)
	}
	shown = redact(shown)
	ctx, shut := way.silent(l.ctx)
	ws, resp, err := wd.DialContext(ctx, target, h)
	if err != nil {
		if shut() {
			return l.errorf("%s: %w", shown, errShut)
		}
		if resp != nil {
			body, _ := readBody(resp, 4096)
			if st.Sign != nil {
				l.login.Mask(body)
			}
			a := answer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After"), url: shown, body: body}
			if rerr := f.refusal(way, a, l.num, time.Now()); rerr != nil {
				return unopened{rerr, connectStatus}
			}
			if st.Sign != nil && f.set.Credentials != nil && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusBadRequest) { // the latter of a key without its form
				return unopened{l.error(fault.Stop, "%s: the venue refuses the login: HTTP %s: %s; look at the source's credentials block", shown, resp.Status, excerpt(body)), connectStatus}
			}
			return unopened{l.errorf("%s: handshake: HTTP %s: %s", shown, resp.Status, excerpt(body)), connectStatus}
		}
		return l.errorf("%s: %w", shown, err)
	}
	l.ws = ws
	if t, ok := ws.UnderlyingConn().(*tls.Conn); ok {
		if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
			l.expires = certs[0].NotAfter
		}
	}
	gather := f.set.Gather
	if f.set.Latency == Low {
		gather = 0
	}
	l.sock.arm(l.burst, func() { f.count.gathers.Add(1) }, gather)
	l.lastLife.Store(Mono(time.Now()))
	l.lastData.Store(Mono(time.Now()))
	ws.SetPingHandler(func(payload string) error {
		f.count.pings.Add(1)
		l.lastLife.Store(Mono(time.Now()))
		// run answers: a reader that waits for the socket to take a pong, from a
		// venue that waits for us to read, would wait for ever.
		for {
			select {
			case l.pongs <- payload:
				return nil
			default:
			}
			select {
			case <-l.pongs: // only the newest ping needs an answer (RFC 6455, 5.5.3)
			default:
			}
		}
	})
	ws.SetPongHandler(func(p string) error { l.ponged(p); return nil })
	ws.SetCloseHandler(func(int, string) error { return nil }) // run answers
	return nil
}

// publish makes what run knows visible to Stats.
func (l *link) publish(state string) {
	st := &linkStat{url: l.url, address: l.address, state: state, subs: len(l.active), unacked: l.unacked, queued: len(l.queue), since: l.since, certExpires: l.expires,
		rotates: l.rotates}
	l.stat.Store(st)
}
