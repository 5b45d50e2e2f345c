package sign

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// shortest is how long a value must be to be looked for in what a venue sends: a
// shorter one would be found where it isn't.
const shortest = 8

// veil hides credentials in what a venue sends back: members that the plugin
// named, and until the login is answered the values themselves, should the venue
// repeat them in an error.
type veil struct {
	over atomic.Pointer[covers] // nil: nothing to hide

	mu   sync.Mutex
	kept map[string][]byte
}

// covers is immutable.
type covers struct {
	names  []string
	quoted [][]byte // names, as they stand in JSON
	values [][]byte
}

// cover hides what a step sends, in place of what the one before it sent.
func (x *Session) cover(st *step) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var c covers
	if old := x.over.Load(); old != nil {
		c.names, c.quoted = slices.Clone(old.names), slices.Clone(old.quoted)
	}
	for _, n := range st.sign.Conceal {
		if !slices.Contains(c.names, n) {
			c.names, c.quoted = append(c.names, n), append(c.quoted, []byte(`"`+n+`"`))
		}
	}
	values := [][]byte{st.have["signature"], st.have["signed_passphrase"], st.have["jwt"]}
	if k := x.signer.creds; k != nil {
		values = append(values, k.key, k.secret, k.passphrase)
	}
	for _, v := range values {
		if len(v) < shortest {
			continue
		}
		forms := [][]byte{v}
		if q, err := json.Marshal(string(v)); err == nil {
			forms = append(forms, q[1:len(q)-1])
		}
		for _, f := range forms {
			if !slices.ContainsFunc(c.values, func(o []byte) bool { return bytes.Equal(o, f) }) {
				c.values = append(c.values, bytes.Clone(f))
			}
		}
	}
	x.over.Store(&c)
}

// Settled ends the search for the values themselves: the login was answered.
func (x *Session) Settled() {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.over.Load()
	if c == nil {
		return
	}
	if len(c.names) == 0 {
		x.over.Store(nil)
		return
	}
	x.over.Store(&covers{names: c.names, quoted: c.quoted})
}

// Close forgets what was granted.
func (x *Session) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for n, v := range x.kept {
		clear(v)
		delete(x.kept, n)
	}
}

func (x *Session) granted(name string) []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	return bytes.Clone(x.kept[name])
}

// Mask strikes out, in place, what must not be seen of an answer. It may run
// beside the other methods, and costs one load where nothing is hidden.
func (x *Session) Mask(b []byte) {
	c := x.over.Load()
	if c == nil {
		return
	}
	for i, n := range c.names {
		x.members(b, n, c.quoted[i])
	}
	for _, v := range c.values {
		for at := 0; ; {
			i := bytes.Index(b[at:], v)
			if i < 0 {
				break
			}
			stars(b[at+i : at+i+len(v)])
			at += i + len(v)
		}
	}
}

// Redact is Mask for the runtime's own texts.
func (x *Session) Redact(s string) string {
	c := x.over.Load()
	if c == nil {
		return s
	}
	for _, v := range c.values {
		s = strings.ReplaceAll(s, string(v), hidden)
	}
	return s
}

func stars(b []byte) {
	for i := range b {
		b[i] = '*'
	}
}

// members strikes out the texts of a member of JSON objects and keeps the last.
func (x *Session) members(b []byte, name string, quoted []byte) {
	for {
		i := bytes.Index(b, quoted)
		if i < 0 {
			return
		}
		b = b[i+len(quoted):]
		v := bytes.TrimLeft(b, " \t\r\n")
		if len(v) == 0 || v[0] != ':' {
			continue
		}
		if v = bytes.TrimLeft(v[1:], " \t\r\n"); len(v) == 0 || v[0] != '"' {
			continue
		}
		end := 1
		for end < len(v) && v[end] != '"' {
			if v[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end, len(v))
		if text := ""; end < len(v) && json.Unmarshal(v[:end+1], &text) == nil && strings.Trim(text, "*") != "" {
			x.mu.Lock()
			if x.kept == nil {
				x.kept = map[string][]byte{}
			}
			clear(x.kept[name])
			x.kept[name] = []byte(text)
			x.mu.Unlock()
		}
		stars(v[1:end])
		b = v[end:]
	}
}
