package sign

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

// Signer signs for one feed. Its methods may be called by several goroutines.
type Signer struct {
	creds *Credentials

	mu    sync.Mutex
	nonce int64 // the last increasing one
}

// NewSigner makes a signer; without credentials it refuses whatever needs one.
func NewSigner(c *Credentials) *Signer { return &Signer{creds: c} }

// Message is what a step sends. Of a dial and a request all fields count, of a
// frame the body alone.
type Message struct {
	Method string // GET if empty
	URL    string
	Header map[string]string
	Body   string
}

// Session signs the steps of one connection, or of one request, and knows what
// the venue granted on it.
type Session struct {
	signer *Signer
	veil
}

// Session begins one.
func (s *Signer) Session() *Session { return &Session{signer: s} }

// Frame fills in a frame. The bytes are the caller's: clear them after the write.
func (x *Session) Frame(sg *source.Sign, data string, now time.Time) ([]byte, error) {
	st := x.step(sg, Message{Body: data}, now)
	st.frame, st.body = true, inJSON
	b, err := fill(data, inJSON, st.value)
	x.cover(st)
	return b, stopped(err)
}

// Request fills in a request or a dial.
func (x *Session) Request(sg *source.Sign, m Message, now time.Time) (Message, error) {
	st := x.step(sg, m, now)
	x.cover(st)
	out, err := st.request()
	x.cover(st)
	return out, stopped(err)
}

// Check tries what Frame would do, before anything is sent. What earlier steps
// will have granted is taken for given.
func (x *Session) Check(sg *source.Sign, data string) error {
	st := x.step(sg, Message{Body: data}, time.Unix(1e9, 0))
	st.frame, st.body, st.dry = true, inJSON, true
	b, err := fill(data, inJSON, st.value)
	clear(b)
	return stopped(err)
}

// CheckRequest tries what Request would do.
func (x *Session) CheckRequest(sg *source.Sign, m Message) error {
	st := x.step(sg, m, time.Unix(1e9, 0))
	st.dry = true
	_, err := st.request()
	return stopped(err)
}

func stopped(err error) error {
	if err == nil {
		return nil
	}
	return fault.Errorf(fault.Stop, "sign: %w", err)
}

// step is one use of a Sign.
type step struct {
	x     *Session
	sign  *source.Sign
	msg   Message
	now   time.Time
	frame bool
	dry   bool // Check
	body  place
	have  map[string][]byte
	busy  map[string]bool
}

func (x *Session) step(sg *source.Sign, m Message, now time.Time) *step {
	st := &step{x: x, sign: sg, msg: m, now: now.UTC(), body: inQuery, have: map[string][]byte{}, busy: map[string]bool{}}
	if t := strings.TrimSpace(m.Body); strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[") {
		st.body = inJSON
	}
	return st
}

func (st *step) request() (Message, error) {
	out := Message{Method: st.msg.Method}
	u, err := fill(st.msg.URL, inQuery, st.value)
	if err != nil {
		return out, err
	}
	out.URL = string(u)
	if len(st.msg.Header) > 0 {
		out.Header = make(map[string]string, len(st.msg.Header))
	}
	for k, t := range st.msg.Header {
		v, err := fill(t, inHeader, st.value)
		if err != nil {
			return out, fmt.Errorf("header %s: %w", k, err)
		}
		out.Header[k] = string(v)
	}
	b, err := fill(st.msg.Body, st.body, st.value)
	out.Body = string(b)
	return out, err
}

// value finds a placeholder's value, which is one for the whole step.
func (st *step) value(name string) ([]byte, error) {
	if v, ok := st.have[name]; ok {
		return v, nil
	}
	if st.busy[name] {
		return nil, fmt.Errorf("${%s} is needed to make itself", name)
	}
	st.busy[name] = true
	v, err := st.make(name)
	if err != nil {
		return nil, err
	}
	st.have[name] = v
	return v, nil
}

const known = "key, passphrase, timestamp, expires, nonce, signature, signed_passphrase, jwt, method, host, path, query, target, body, digest, kept:NAME"

func (st *step) make(name string) ([]byte, error) {
	if n, ok := strings.CutPrefix(name, "kept:"); ok {
		if v := st.x.granted(n); v != nil {
			return v, nil
		}
		if st.dry {
			return []byte("granted"), nil
		}
		return nil, fmt.Errorf("${%s}: the venue's answers had no %q", name, n)
	}
	switch name {
	case "key":
		return st.given(name, st.x.signer.creds.part(name))
	case "passphrase":
		return st.given(name, st.x.signer.creds.part(name))
	case "timestamp":
		return stamp(st.sign.Timestamp, st.now)
	case "expires":
		return stamp(st.sign.Timestamp, st.now.Add(st.sign.Expires))
	case "nonce":
		return st.nonce()
	case "signature":
		payload, err := fill(st.sign.Payload, inPayload, st.value)
		if err != nil {
			return nil, err
		}
		return st.signature(payload)
	case "signed_passphrase":
		p, err := st.value("passphrase")
		if err != nil {
			return nil, err
		}
		return st.signature(p)
	case "jwt":
		return st.jwt()
	case "digest":
		return st.digest()
	case "method":
		if st.frame {
			break
		}
		if st.msg.Method == "" {
			return []byte("GET"), nil
		}
		return []byte(st.msg.Method), nil
	case "host", "path", "query", "target":
		if st.frame {
			break
		}
		return st.address(name)
	case "body":
		return fill(st.msg.Body, st.body, st.value)
	default:
		return nil, fmt.Errorf("there is no ${%.40s}; there are: %s", name, known)
	}
	return nil, fmt.Errorf("${%s} has no value in a frame", name)
}

func (c *Credentials) part(name string) []byte {
	if c == nil {
		return nil
	}
	if name == "key" {
		return c.key
	}
	return c.passphrase
}

// given refuses what the user didn't give.
func (st *step) given(name string, v []byte) ([]byte, error) {
	if len(v) == 0 {
		return nil, fmt.Errorf("the venue asks for the user's %s: give it in the source's credentials block", name)
	}
	return v, nil
}

func stamp(f source.TimeForm, t time.Time) ([]byte, error) {
	number := func(n int64) ([]byte, error) { return strconv.AppendInt(nil, n, 10), nil }
	switch f {
	case "", source.TimeSeconds:
		return number(t.Unix())
	case source.TimeMillis:
		return number(t.UnixMilli())
	case source.TimeMicros:
		return number(t.UnixMicro())
	case source.TimeNanos:
		return number(t.UnixNano())
	case source.TimeISO:
		return t.AppendFormat(nil, "2006-01-02T15:04:05"), nil
	case source.TimeISOMilli:
		return t.AppendFormat(nil, "2006-01-02T15:04:05.000Z"), nil
	}
	return nil, fmt.Errorf("a time has no form %q", f)
}

func (st *step) nonce() ([]byte, error) {
	switch st.sign.Nonce {
	case source.NonceRandom:
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails
		return hex.AppendEncode(nil, b[:]), nil
	case source.NonceIncreasing:
		s := st.x.signer
		s.mu.Lock()
		defer s.mu.Unlock()
		s.nonce = max(s.nonce+1, st.now.UnixMicro())
		return strconv.AppendInt(nil, s.nonce, 10), nil
	}
	return nil, fmt.Errorf("there is no nonce %q", st.sign.Nonce)
}

func (st *step) signature(payload []byte) ([]byte, error) {
	raw, err := st.raw(payload)
	if err != nil {
		return nil, err
	}
	return encode(st.sign.Encoding, raw)
}

func (st *step) raw(payload []byte) ([]byte, error) {
	c := st.x.signer.creds
	if c == nil || len(c.secret) == 0 {
		return nil, errors.New("the venue asks for a signature: give the secret in the source's credentials block")
	}
	k, err := c.private(st.sign.Scheme, st.sign.Secret)
	if err != nil {
		return nil, err
	}
	defer k.forget()
	return k.sign(payload)
}

func (st *step) jwt() ([]byte, error) {
	t := st.sign.Token
	if t == nil || st.sign.Scheme != source.SchemeJWTES256 && st.sign.Scheme != source.SchemeJWTEd25519 {
		return nil, errors.New("${jwt} needs a token and one of the JWT schemes")
	}
	var text []byte
	for i, template := range []string{t.Header, t.Claims} {
		b, err := fill(template, inJSON, st.value)
		if err != nil {
			return nil, err
		}
		if !json.Valid(b) {
			return nil, errors.New("the token's header or claims are no JSON once they are filled in")
		}
		if i > 0 {
			text = append(text, '.')
		}
		text = base64.RawURLEncoding.AppendEncode(text, b)
	}
	raw, err := st.raw(text)
	if err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.AppendEncode(append(text, '.'), raw), nil
}

func (st *step) digest() ([]byte, error) {
	d := st.sign.Digest
	if d == nil {
		return nil, errors.New("${digest} needs a digest")
	}
	b, err := fill(d.Payload, inPayload, st.value)
	if err != nil {
		return nil, err
	}
	switch d.Hash {
	case "sha256":
		sum := sha256.Sum256(b)
		return encode(d.Encoding, sum[:])
	case "sha512":
		sum := sha512.Sum512(b)
		return encode(d.Encoding, sum[:])
	}
	return nil, fmt.Errorf("there is no digest %q", d.Hash)
}

// address gives a part of the URL, without the parameters that hold what is
// made of it.
func (st *step) address(part string) ([]byte, error) {
	base, query, _ := strings.Cut(st.msg.URL, "?")
	var params []string
	for p := range strings.SplitSeq(query, "&") {
		if p != "" && !strings.Contains(p, "${signature") && !strings.Contains(p, "${jwt") {
			params = append(params, p)
		}
	}
	if len(params) > 0 {
		base += "?" + strings.Join(params, "&")
	}
	b, err := fill(base, inQuery, st.value)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(string(b))
	if err != nil {
		return nil, errors.New("the address is no URL once it is filled in")
	}
	switch part {
	case "host":
		return []byte(u.Host), nil
	case "path":
		return []byte(u.EscapedPath()), nil
	case "query":
		return []byte(u.RawQuery), nil
	}
	return []byte(u.RequestURI()), nil
}
