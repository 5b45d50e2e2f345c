package oracle

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Wire is a connection to an emulator whose frames a plugin's decoder reads: it
// carries out a session script by hand, where a test plays the runtime's part (a
// login with a secret, say).
type Wire struct {
	feed *Feed
	ws   *websocket.Conn
}

// wirePatience bounds the wait for one frame. It is long, for machines that are
// busy with other things; no test waits for it to pass.
const wirePatience = time.Minute

// Dial connects; the connection is closed when the test ends.
func Dial(t testing.TB, s source.Source, m market.Market, url string) *Wire {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	return &Wire{NewFeed(t, s, m), ws}
}

// Send sends a text frame.
func (w *Wire) Send(t testing.TB, text string) {
	t.Helper()
	if err := w.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// Until decodes frames up to one that gives an item which is ok.
func (w *Wire) Until(t testing.TB, what string, ok func(Item) bool) {
	t.Helper()
	for {
		w.ws.SetReadDeadline(time.Now().Add(wirePatience))
		kind, data, err := w.ws.ReadMessage()
		if err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		in := source.Input{Kind: source.InputText, Recv: time.Now().UnixNano(), Data: data}
		if kind == websocket.BinaryMessage {
			in.Kind = source.InputBinary
		}
		items, err := w.feed.Decode(t, &in)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(items, ok) {
			return
		}
	}
}

// UntilRecords decodes frames up to one that gives a record of the first kind,
// from there up to one of the next, and so on.
func (w *Wire) UntilRecords(t testing.TB, kinds ...market.Kind) {
	t.Helper()
	for _, k := range kinds {
		w.Until(t, "a "+k.String(), func(i Item) bool { return i.Record != nil && i.Record.Kind() == k })
	}
}

// Acknowledged sends a frame that subscribes or unsubscribes, and decodes up to
// its acknowledgement.
func (w *Wire) Acknowledged(t testing.TB, f source.Frame) {
	t.Helper()
	w.Send(t, f.Data)
	w.UntilSignal(t, "the acknowledgement of "+f.Token, source.SignalSubscribed, f.Token)
}

// Refused sends a frame and decodes up to its refusal, whose reason begins so.
func (w *Wire) Refused(t testing.TB, f source.Frame, reason string) {
	t.Helper()
	w.Send(t, f.Data)
	w.UntilSignal(t, "the refusal of "+f.Token, source.SignalRejected, f.Token+"\x00"+reason)
}

// UntilEnd decodes up to the end of a symbol's book, which was given up.
func (w *Wire) UntilEnd(t testing.TB, symbol string) {
	t.Helper()
	w.Until(t, "the end of the book of "+symbol, func(i Item) bool {
		return i.Record != nil && i.Record.Flags()&market.FlagEnd != 0 && i.Instrument.Symbol == symbol
	})
}

// UntilSignal decodes frames up to one that gives the signal with the text; of
// the reason that a refusal has behind the token, the beginning is enough.
func (w *Wire) UntilSignal(t testing.TB, what string, kind source.SignalKind, text string) {
	t.Helper()
	w.Until(t, what, func(i Item) bool {
		got := string(i.Signal.Text)
		return i.Record == nil && i.Signal.Kind == kind && (got == text || kind == source.SignalRejected && strings.HasPrefix(got, text))
	})
}
