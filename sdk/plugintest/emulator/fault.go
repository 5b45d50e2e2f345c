package emulator

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// FaultKind names a fault.
type FaultKind string

// The faults. Those of frames take the next Count frames that match Symbol and
// Channel; those of connections take the connection Conn or all.
const (
	FaultGap        FaultKind = "gap"         // frames are withheld: a break in the venue's sequence
	FaultDuplicate  FaultKind = "duplicate"   // frames are sent twice
	FaultReorder    FaultKind = "reorder"     // a frame is sent after the one that follows it
	FaultMalformed  FaultKind = "malformed"   // half of a frame is sent before the whole one
	FaultUTF8       FaultKind = "utf8"        // a frame with invalid UTF-8 is sent before the right one
	FaultOversized  FaultKind = "oversized"   // a frame of Size bytes (17 MiB) is sent before the right one
	FaultChecksum   FaultKind = "checksum"    // a book frame carries a wrong checksum
	FaultCrossed    FaultKind = "crossed"     // a book update crosses the book, the next one uncrosses it
	FaultUnannounce FaultKind = "unannounced" // a frame of a channel that nobody subscribed is sent before the right one

	FaultDisconnect FaultKind = "disconnect" // the connection breaks without a close frame
	FaultClose      FaultKind = "close"      // close frame with Code (1001)
	FaultShutdown   FaultKind = "shutdown"   // the venue announces that it will close (Binance: serverShutdown, Bitstamp: bts:request_reconnect)
	FaultStall      FaultKind = "stall"      // for For, pongs and heartbeats but no data
	FaultHalfOpen   FaultKind = "half_open"  // for For, not a byte
	FaultDribble    FaultKind = "dribble"    // for For, ten bytes a second
	FaultBomb       FaultKind = "bomb"       // a compressed frame that inflates to Size bytes (256 MiB)

	FaultStatus        FaultKind = "status"         // the next Count requests (also upgrades) get Code (429), with Retry-After
	FaultStaleSnapshot FaultKind = "stale_snapshot" // the next Count book snapshots are those of the start
	FaultSlowAck       FaultKind = "slow_ack"       // the next Count client frames are handled after For
	FaultReject        FaultKind = "reject"         // the next Count subscriptions are refused
)

// Fault is a command to misbehave.
type Fault struct {
	Kind       FaultKind     `json:"kind"`
	Symbol     string        `json:"symbol,omitempty"`  // native; any if empty
	Channel    string        `json:"channel,omitempty"` // trades, agg_trades, book, bbo, ticker, candles, mark_price, liquidations, instruments; any if empty
	Conn       uint32        `json:"conn,omitempty"`    // 0: all
	Count      int           `json:"count,omitempty"`   // 1
	For        time.Duration `json:"for,omitempty"`     // ns, or text in JSON: "2s"
	After      time.Duration `json:"after,omitempty"`   // of Options.Faults: from Run on
	Code       int           `json:"code,omitempty"`    // close code or HTTP status
	Size       int           `json:"size,omitempty"`
	RetryAfter int           `json:"retry_after,omitempty"` // seconds; 0: 1 for 429 and 418, none for others
	Path       string        `json:"path,omitempty"`        // of FaultStatus: prefix of the path
}

// UnmarshalJSON reads durations as text ("2s") or ns.
func (f *Fault) UnmarshalJSON(b []byte) error {
	type plain Fault
	aux := struct {
		*plain
		For   json.RawMessage `json:"for"`
		After json.RawMessage `json:"after"`
	}{plain: (*plain)(f)}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&aux); err != nil {
		return fmt.Errorf("emulator: fault: %w", err)
	}
	for _, x := range []struct {
		raw json.RawMessage
		to  *time.Duration
	}{{aux.For, &f.For}, {aux.After, &f.After}} {
		if len(x.raw) == 0 {
			continue
		}
		s, err := strconv.Unquote(string(x.raw))
		if err != nil {
			s = string(x.raw) + "ns"
		}
		if *x.to, err = time.ParseDuration(s); err != nil {
			return fmt.Errorf("emulator: fault: %w", err)
		}
	}
	return nil
}

// ParseFault reads a fault as flags give it: its kind, then fields by name as in
// JSON, "gap,symbol=BTCUSDT,channel=book,count=3,after=10s".
func ParseFault(s string) (Fault, error) {
	kind, rest, _ := strings.Cut(s, ",")
	fields := obj{"kind": kind}
	for rest != "" {
		var one string
		one, rest, _ = strings.Cut(rest, ",")
		k, v, ok := strings.Cut(one, "=")
		if !ok {
			return Fault{}, fmt.Errorf("emulator: fault %q: want name=value, not %q", s, one)
		}
		if n, err := strconv.Atoi(v); err == nil {
			fields[k] = n
		} else {
			fields[k] = v
		}
	}
	b, err := json.Marshal(fields)
	if err != nil {
		return Fault{}, fmt.Errorf("emulator: fault %q: %w", s, err)
	}
	var f Fault
	return f, f.UnmarshalJSON(b)
}

// announcer is a dialect with a frame of its own for FaultShutdown.
type announcer interface{ announce(now time.Time) string }

// armedFault waits for its frames or requests.
type armedFault struct {
	Fault
	kind  Channel             // ChannelNone: any
	held  map[*Conn]heldFrame // FaultReorder: frames that wait for the next one
	heldN int
}

type heldFrame struct {
	about About
	data  []byte
}

type httpGate struct{ fault *Fault }

// check says what is wrong with a fault.
func (e *Emulator) check(f Fault) error {
	if !slices.Contains(channelNames[:], f.Channel) {
		return fmt.Errorf("emulator: fault %s: no channel %q", f.Kind, f.Channel)
	}
	if f.Symbol != "" && e.mkt.byName[f.Symbol] == nil {
		return fmt.Errorf("emulator: fault %s: no symbol %q; there are %v", f.Kind, f.Symbol, e.mkt.names())
	}
	switch f.Kind {
	case FaultGap, FaultDuplicate, FaultReorder, FaultMalformed, FaultUTF8, FaultOversized, FaultUnannounce, FaultCrossed,
		FaultDisconnect, FaultClose, FaultStall, FaultHalfOpen, FaultDribble, FaultStatus, FaultStaleSnapshot, FaultSlowAck, FaultReject:
	case FaultBomb:
		if !e.opt.Compression {
			return fmt.Errorf("emulator: fault bomb: set Options.Compression, and have the client offer permessage-deflate")
		}
	case FaultChecksum:
		if !e.sums && (e.opt.Venue != "kraken" || e.opt.Market != market.MarketSpot) {
			return fmt.Errorf("emulator: fault checksum: %s %s has no checksums", e.opt.Venue, e.opt.Market)
		}
	case FaultShutdown:
		if _, ok := e.dialect.(announcer); !ok && e.opt.Venue != "binance" {
			return fmt.Errorf("emulator: fault shutdown: %s announces none", e.opt.Venue)
		}
	default:
		return fmt.Errorf("emulator: no fault %q", f.Kind)
	}
	return nil
}

// Inject carries out a fault now, or arms it for the frames or requests it is for.
func (e *Emulator) Inject(f Fault) error {
	if err := e.check(f); err != nil {
		return err
	}
	f.Count = max(f.Count, 1)
	switch f.Kind {
	case FaultDisconnect, FaultClose, FaultShutdown, FaultStall, FaultHalfOpen, FaultDribble, FaultBomb:
		for _, c := range e.all() {
			if f.Conn == 0 || f.Conn == c.id {
				e.hit(c, f)
			}
		}
		return nil
	case FaultStatus:
		if f.Code == 0 {
			f.Code = http.StatusTooManyRequests
		}
		e.mu.Lock()
		e.gate.fault = &f
		e.mu.Unlock()
		return nil
	case FaultCrossed:
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, s := range e.mkt.syms {
			if f.Symbol == "" || f.Symbol == s.native {
				s.cross = true
			}
		}
		return nil
	}
	a := &armedFault{Fault: f, kind: Channel(max(slices.Index(channelNames[:], f.Channel), 0))}
	e.mu.Lock()
	e.armed = append(e.armed, a)
	e.mu.Unlock()
	return nil
}

// hit carries out a fault of a connection.
func (e *Emulator) hit(c *Conn, f Fault) {
	now := time.Now()
	until := now.Add(f.For)
	if f.For == 0 {
		until = now.Add(100 * 365 * 24 * time.Hour)
	}
	switch f.Kind {
	case FaultDisconnect:
		c.drop("fault: disconnect")
	case FaultClose:
		if f.Code == 0 {
			f.Code = 1001
		}
		c.close(f.Code, "fault")
	case FaultShutdown:
		text := fmt.Sprintf(`{"stream":"","data":{"e":"serverShutdown","E":%d}}`, now.UnixMilli())
		if d, ok := e.dialect.(announcer); ok {
			text = d.announce(now)
		}
		e.mu.Lock() // the connection may be opening: what it speaks is settled under this lock
		c.frame(now.UnixNano(), About{}, FlagFault|FlagControl, []byte(text))
		e.mu.Unlock()
		c.flush(false)
	case FaultBomb:
		if !c.deflate {
			return
		}
		if f.Size == 0 {
			f.Size = 256 << 20
		}
		c.mu.Lock()
		p := bomb(f.Size)
		c.e.ledger.add(Entry{Time: now.UnixNano(), Hash: Hash(p), Conn: c.id, Index: c.index, Size: uint32(len(p)), Kind: EntryFrame, Flags: FlagFault})
		c.index++
		c.out = append(appendHeader(c.out, opText|0x40, len(p)), p...) // RSV1: compressed
		c.mu.Unlock()
		c.flush(false)
	default:
		c.mu.Lock()
		switch f.Kind {
		case FaultStall:
			c.mute = until
		case FaultHalfOpen:
			c.dead = until
		case FaultDribble:
			c.dribble = until
		}
		c.mu.Unlock()
	}
}

// bomb compresses size spaces as permessage-deflate wants it: without the four
// bytes that end a sync flush.
func bomb(size int) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	chunk := bytes.Repeat([]byte{' '}, 1<<20)
	for size > 0 {
		n := min(size, len(chunk))
		_, _ = w.Write(chunk[:n])
		size -= n
	}
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
}

// faultFor finds the armed fault that takes a stream's next frame and counts it.
func (e *Emulator) faultFor(st *stream) *armedFault {
	for i, a := range e.armed {
		switch a.Kind {
		case FaultStaleSnapshot, FaultSlowAck, FaultReject:
			continue
		case FaultChecksum:
			if st.kind != ChannelBook || e.sums {
				continue
			}
		}
		if a.kind != ChannelNone && a.kind != st.kind || a.Symbol != "" && (st.sym == nil || st.sym.native != a.Symbol) {
			continue
		}
		if a.Kind == FaultReorder {
			// The first of each pair is held back, the second goes first.
			if a.heldN++; a.heldN == 1 { // both frames of a pair are of one stream
				a.kind = st.kind
				if st.sym != nil {
					a.Symbol = st.sym.native
				}
			}
			if a.heldN == 2*a.Count {
				e.armed = append(e.armed[:i:i], e.armed[i+1:]...)
			}
			return a
		}
		if a.Count--; a.Count <= 0 {
			e.armed = append(e.armed[:i:i], e.armed[i+1:]...)
		}
		return a
	}
	return nil
}

// take finds an armed fault of requests and counts it; nil if there is none.
func (e *Emulator) take(k FaultKind) *armedFault { return e.takeFor(k, nil) }

// takeFor is take for a fault of a stream's symbol, where it names one.
func (e *Emulator) takeFor(k FaultKind, st *stream) *armedFault {
	for i, a := range e.armed {
		if a.Kind != k || st != nil && a.Symbol != "" && a.Symbol != st.sym.native {
			continue
		}
		if a.Count--; a.Count <= 0 {
			e.armed = append(e.armed[:i:i], e.armed[i+1:]...)
		}
		return a
	}
	return nil
}

// mangle sends a frame as a fault wants it.
func (e *Emulator) mangle(a *armedFault, about About, c *Conn, now int64, p []byte) {
	if a.Conn != 0 && a.Conn != c.id {
		c.frame(now, about, 0, p)
		return
	}
	switch a.Kind {
	case FaultGap:
		c.withhold(now, about, FlagFault, p)
		return
	case FaultDuplicate:
		c.frame(now, about, 0, p)
		c.frame(now, about, FlagFault, p)
		return
	case FaultReorder:
		if a.held == nil {
			a.held = map[*Conn]heldFrame{}
		}
		if first, ok := a.held[c]; ok {
			delete(a.held, c)
			c.frame(now, about, 0, p)
			c.frame(now, first.about, FlagFault, first.data)
		} else {
			a.held[c] = heldFrame{about, bytes.Clone(p)}
		}
		return
	case FaultMalformed:
		c.frame(now, About{}, FlagFault, p[:len(p)/2])
	case FaultUTF8:
		bad := bytes.Clone(p)
		if p[0] != '{' && p[0] != '[' { // no text: what is wrong must show
			bad[0], bad[1] = 0xff, 0xff
		} else if i := bytes.IndexByte(bad, ':'); i > 0 && i+3 < len(bad) {
			bad[i+2] = 0xff
		} else { // a frame of numbers alone
			bad[len(bad)/2] = 0xff
		}
		c.frame(now, About{}, FlagFault, bad)
	case FaultOversized:
		size := a.Size
		if size == 0 {
			size = 17 << 20
		}
		c.frame(now, About{}, FlagFault, append(append([]byte(`{"pad":"`), bytes.Repeat([]byte{'x'}, max(size-10, 0))...), `"}`...))
	case FaultUnannounce:
		c.frame(now, About{}, FlagFault, []byte(`{"stream":"nobody@asked","data":{"e":"surprise","channel":"surprise"},"channel":"surprise","type":"update"}`))
	case FaultChecksum:
		if i := bytes.Index(p, []byte(`"checksum":`)); i >= 0 {
			bad := bytes.Clone(p)
			// The last digit: another first one could leave 32 bits.
			for i += len(`"checksum":`); bad[i+1] >= '0' && bad[i+1] <= '9'; i++ {
			}
			bad[i] = '0' + (bad[i]-'0'+1)%10
			c.frame(now, about, FlagFault, bad)
			return
		}
	}
	c.frame(now, about, 0, p)
}

// gated answers a request by an injected status.
func (e *Emulator) gated(w http.ResponseWriter, r *http.Request) bool {
	e.mu.Lock()
	f := e.gate.fault
	if f != nil && f.Path != "" && !bytes.HasPrefix([]byte(r.URL.Path), []byte(f.Path)) {
		f = nil
	}
	if f != nil {
		if f.Count--; f.Count <= 0 {
			e.gate.fault = nil
		}
	}
	e.mu.Unlock()
	if f == nil {
		return false
	}
	after := f.RetryAfter
	if after == 0 && (f.Code == http.StatusTooManyRequests || f.Code == http.StatusTeapot) {
		after = 1
	}
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(after))
	}
	body := `{"code":-1003,"msg":"Too many requests."}`
	if f.Code == http.StatusUnavailableForLegalReasons {
		body = `{"code":0,"msg":"Service unavailable from a restricted location."}`
	}
	e.reply(w, r, f.Code, []byte(body))
	return true
}
