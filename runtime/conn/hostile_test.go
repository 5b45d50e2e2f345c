package conn

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// TestHostileServers send what no venue should: each costs its connection with
// a reason, the next connection works, and nothing else happens.
func TestHostileServers(t *testing.T) {
	for name, c := range map[string]struct {
		bytes []byte
		want  string
	}{
		"reserved bit":           {[]byte{0xA1, 1, 'x'}, "RSV2 set"},
		"compressed uninvited":   {[]byte{0xC1, 1, 'x'}, "RSV1 set"},
		"bad opcode":             {[]byte{0x83, 1, 'x'}, "bad opcode 3"},
		"masked":                 {[]byte{0x81, 0x81, 1, 2, 3, 4, 'x'}, "bad MASK"},
		"long ping":              {append([]byte{0x89, 126, 0, 200}, bytes.Repeat([]byte("x"), 200)...), "len > 125 for control"},
		"fragmented ping":        {[]byte{0x09, 1, 'x'}, "FIN not set on control"},
		"continuation of naught": {[]byte{0x80, 1, 'x'}, "continuation after FIN"},
		"data within data":       {[]byte{0x01, 1, 'x', 0x81, 1, 'y'}, "data before FIN"},
		"negative length":        {[]byte{0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255}, "too large"},
		"length beyond memory":   {[]byte{0x81, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255}, "too large"},
		"bad close code":         {[]byte{0x88, 2, 0, 1}, "bad close code 1"},
		"close in bad UTF-8":     {[]byte{0x88, 3, 0x03, 0xe8, 0xff}, "invalid utf8"},
		"cut short":              {[]byte{0x81, 100, 'x'}, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
				v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
					if n == 1 {
						ws.ReadMessage()
						ws.UnderlyingConn().Write(c.bytes)
						if c.want != "unexpected EOF" {
							ws.ReadMessage()
						}
						return
					}
					v.serve(n, ws, nil)
				}
				r := start(t, s, subs(market.ChannelTrades, 1))
				time.Sleep(30 * time.Second)
				if !atLeast(1, source.InputClose, c.want)(r.mem.all()) {
					t.Errorf("want %q:\n%s", c.want, dump(r.mem.all()))
				}
				if st := r.Stats(); len(st) != 1 || st[0].Conn != 2 || st[0].State != "live" {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// TestHandshakes that go wrong are tried again and never hang.
func TestHandshakes(t *testing.T) {
	accept := func(key string) string {
		h := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		return base64.StdEncoding.EncodeToString(h[:])
	}
	for name, answer := range map[string]func(c net.Conn, r *http.Request){
		"silence": func(net.Conn, *http.Request) { time.Sleep(time.Hour) },
		"no http": func(c net.Conn, _ *http.Request) { c.Write([]byte("hello\r\n")) },
		"wrong key": func(c net.Conn, _ *http.Request) {
			c.Write([]byte("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"))
		},
		"redirect": func(c net.Conn, _ *http.Request) {
			c.Write([]byte("HTTP/1.1 302 X\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n"))
		},
		"endless": func(c net.Conn, _ *http.Request) {
			c.Write([]byte("HTTP/1.1 200 X\r\nX: "))
			for sent := 0; ; sent += 1 << 16 {
				if _, err := c.Write(bytes.Repeat([]byte("y"), 1<<16)); err != nil {
					return
				}
				if sent > 1<<20 {
					t.Error("a header of a MiB was taken")
				}
			}
		},
		"compression": func(c net.Conn, r *http.Request) {
			c.Write([]byte("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept(r.Header.Get("Sec-WebSocket-Key")) + "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
				s.Compress = true
				dials := 0
				s.Dial = func(ctx ctx, network, addr string) (net.Conn, error) {
					dials++ // one connection: never two at a time
					if dials > 3 {
						return p.Dial(ctx, network, addr)
					}
					a, b := net.Pipe()
					go func() {
						defer b.Close()
						r, err := http.ReadRequest(bufio.NewReader(b))
						if err == nil {
							answer(b, r)
						}
					}()
					return a, nil
				}
				r := start(t, s, subs(market.ChannelTrades, 1))
				time.Sleep(2 * time.Minute)
				if st := r.Stats(); len(st) != 1 || st[0].Conn != 4 || st[0].State != "live" {
					t.Errorf("%+v\n%s", st, dump(r.mem.all()))
				}
				if n := len(r.seen(EventConnect)); n != 3 {
					t.Errorf("%d events", n)
				}
				r.stop()
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// TestDeafServer takes no more bytes: the write deadline ends the connection.
func TestDeafServer(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			if n == 1 {
				time.Sleep(5 * time.Minute)
				return
			}
			v.serve(n, ws, nil)
		}
		r := start(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(time.Minute)
		if !atLeast(1, source.InputClose, "write: ")(r.mem.all()) {
			t.Errorf("%s", dump(r.mem.all()))
		}
		if st := r.Stats(); len(st) != 1 || st[0].Conn != 2 {
			t.Errorf("%+v", st)
		}
		time.Sleep(5 * time.Minute)
	})
}
