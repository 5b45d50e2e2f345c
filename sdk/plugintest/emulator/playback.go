package emulator

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
)

// playback plays a capture: a connection gets the frames of a recorded one, a
// request the recorded answer. Frames are read from the file as they are sent;
// only the answers are kept in memory.
type playback struct {
	file    string
	answers []answer

	mu    sync.Mutex
	conns []recorded
}

type recorded struct {
	conn  int
	url   string
	sends bool // the recorder sent something: what follows waits for the client
	taken int
}

// answer is a recorded response. Several of one URL are given in order, the
// last one again and again.
type answer struct {
	path, query, name, symbol string
	body                      []byte
	used                      bool
}

func openPlayback(file string) (*playback, error) {
	r, err := capture.Open(file)
	if err != nil {
		return nil, fmt.Errorf("emulator: playback: %w", err)
	}
	defer r.Close()
	p := &playback{file: file}
	at := map[int]int{}
	find := func(conn int) *recorded {
		i, ok := at[conn]
		if !ok {
			i = len(p.conns)
			at[conn] = i
			p.conns = append(p.conns, recorded{conn: conn})
		}
		return &p.conns[i]
	}
	for ev, err := range r.All() {
		if err != nil {
			return nil, fmt.Errorf("emulator: playback: %w", err)
		}
		switch ev.Kind {
		case capture.KindOpen:
			find(ev.Conn).url = string(ev.URL)
		case capture.KindSend:
			find(ev.Conn).sends = true
		case capture.KindRecv:
			find(ev.Conn)
		case capture.KindHTTP:
			u, err := url.Parse(string(ev.URL))
			if err != nil {
				return nil, fmt.Errorf("emulator: playback: %s line %d: %w", file, ev.Line, err)
			}
			p.answers = append(p.answers, answer{path: u.Path, query: u.Query().Encode(), name: path.Base(u.Path), symbol: symbolOf(u), body: bytes.Clone(ev.Text)})
		}
	}
	if len(p.conns) == 0 {
		return nil, fmt.Errorf("emulator: playback: %s has no WebSocket connection", file)
	}
	return p, nil
}

// recordedMarket is that of a capture, linear of one that mixes futures; none if
// it can't be read, which playing it will say.
func recordedMarket(file string) market.Market {
	r, err := capture.Open(file)
	if err != nil {
		return market.MarketNone
	}
	defer r.Close()
	if r.Header.Market == "futures" {
		return market.MarketLinear
	}
	m, err := market.ParseMarket(r.Header.Market)
	if err != nil {
		return market.MarketNone
	}
	return m
}

// symbolOf is the parameter that names an instrument in a URL.
func symbolOf(u *url.URL) string {
	q := u.Query()
	for _, k := range []string{"symbol", "pair", "instId", "contract", "currency_pair"} {
		if v := q.Get(k); v != "" {
			return v
		}
	}
	return ""
}

// http answers by path and query; failing that, by the path's last element and
// the instrument, since a collector may ask another version or depth.
func (p *playback) http(e *Emulator, w http.ResponseWriter, r *http.Request) {
	query, name, symbol := r.URL.Query().Encode(), path.Base(r.URL.Path), symbolOf(r.URL)
	p.mu.Lock()
	pick := func(match func(*answer) bool) *answer {
		var last *answer
		for i := range p.answers {
			if a := &p.answers[i]; match(a) {
				if last = a; !a.used {
					break
				}
			}
		}
		return last
	}
	a := pick(func(a *answer) bool { return a.path == r.URL.Path && a.query == query })
	if a == nil {
		a = pick(func(a *answer) bool { return a.name == name && a.symbol == symbol })
	}
	if a != nil {
		a.used = true
	}
	p.mu.Unlock()
	if a == nil {
		if o, ok := e.dialect.(opener); ok && o.opens(r.URL.Path) {
			o.http(w, r)
			return
		}
		http.NotFound(w, r)
		return
	}
	e.reply(w, r, http.StatusOK, a.body)
}

// open chooses the recorded connection: one with the same path and query, else
// the one that was played least.
func (p *playback) open(e *Emulator, c *Conn, r *http.Request) {
	p.mu.Lock()
	best := 0
	same := func(i int) bool {
		u, err := url.Parse(p.conns[i].url)
		return err == nil && u.Path == r.URL.Path && u.RawQuery == r.URL.RawQuery
	}
	for i := range p.conns {
		a, b := &p.conns[i], &p.conns[best]
		if a.taken < b.taken || a.taken == b.taken && same(i) && !same(best) {
			best = i
		}
	}
	p.conns[best].taken++
	rec := p.conns[best]
	p.mu.Unlock()
	c.gone = true // acknowledgements are given, streams are not
	c.asked = make(chan struct{}, 1)
	if o, ok := e.dialect.(opener); ok {
		e.mu.Lock()
		o.open(c, r)
		e.mu.Unlock()
		c.flush(false)
	}
	e.wg.Add(1)
	go func() {
		defer e.wg.Done()
		if err := p.play(e, c, rec, r.URL.RawQuery == "" && !strings.HasPrefix(r.URL.Path, "/ws/")); err != nil {
			c.close(1011, "recording unreadable")
		}
	}()
}

// message answers a client's request as the venue would and lets the recording go on.
func (p *playback) message(e *Emulator, c *Conn, text []byte) {
	e.mu.Lock()
	e.dialect.message(c, text)
	e.mu.Unlock()
	c.flush(false)
	select {
	case c.asked <- struct{}{}:
	default:
	}
}

var errEnded = errors.New("emulator: connection ended")

// play sends a recorded connection's frames. What was received before the
// recorder first sent something comes at once; the rest waits for the client's
// first frame if there was such a request, or if the URL asks for nothing.
func (p *playback) play(e *Emulator, c *Conn, rec recorded, bare bool) error {
	r, err := capture.Open(p.file)
	if err != nil {
		return err
	}
	defer r.Close()
	wait := func() error {
		select {
		case <-c.asked:
			return nil
		case <-c.done:
			return errEnded
		}
	}
	asked := false
	if bare && !rec.sends {
		if wait() != nil {
			return nil
		}
		asked = true
	}
	var start time.Time
	var first int64
	for ev, err := range r.All() {
		if err != nil {
			return err
		}
		if ev.Conn != rec.conn {
			continue
		}
		if ev.Kind == capture.KindSend && !asked {
			c.flush(false)
			if wait() != nil {
				return nil
			}
			asked, start = true, time.Time{}
		}
		if ev.Kind != capture.KindRecv {
			continue
		}
		if start.IsZero() {
			start, first = time.Now(), ev.T
		}
		if e.opt.Speed > 0 {
			due := start.Add(time.Duration(float64(ev.T-first) / e.opt.Speed))
			if d := time.Until(due); d > 0 {
				c.flush(false)
				t := time.NewTimer(d)
				select {
				case <-t.C:
				case <-c.done:
					t.Stop()
					return nil
				}
			}
		}
		op, data := byte(opText), ev.Text
		if ev.Binary != nil {
			op, data = opBinary, ev.Binary
		}
		c.put(op, time.Now().UnixNano(), About{}, 0, data)
		if c.waiting() >= saturateBatch {
			c.flush(true)
			for c.waiting() > 4*saturateBatch {
				t := time.NewTimer(time.Millisecond)
				select {
				case <-t.C:
					c.flush(true)
				case <-c.done:
					t.Stop()
					return nil
				}
			}
		}
	}
	c.flush(false)
	return nil
}
