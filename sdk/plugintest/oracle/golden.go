package oracle

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
)

var update = flag.Bool("update", false, "write golden files instead of comparing with them")

// Golden decodes testdata/*.jsonl, captures of frames that were written by hand
// from the venue's documentation, and compares what comes out with the .golden
// file beside each.
func Golden(t *testing.T, s source.Source) {
	files, _ := filepath.Glob("testdata/*.jsonl")
	if len(files) == 0 {
		t.Fatal("no testdata/*.jsonl")
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			got := transcript(t, s, path)
			golden := strings.TrimSuffix(path, ".jsonl") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v; write it with -update", err)
			}
			g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
			for i := range max(len(g), len(w)) {
				if i >= len(g) || i >= len(w) || !bytes.Equal(g[i], w[i]) {
					t.Fatalf("%s:%d:\n got %s\nwant %s", golden, i+1, at(g, i), at(w, i))
				}
			}
		})
	}
}

func at(lines [][]byte, i int) []byte {
	if i < len(lines) {
		return lines[i]
	}
	return []byte("(end)")
}

// transcript is one line for each input, then one for each thing that came out.
func transcript(t *testing.T, s source.Source, path string) []byte {
	r, err := capture.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, err := market.ParseMarket(r.Header.Market)
	if err != nil {
		t.Fatal(err)
	}
	f := NewFeed(t, s, m)
	var b []byte
	for e, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		in := e.Input()
		items, derr := f.Decode(t, &in)
		b = append(append(append(append(b, "> "...), e.URL...), oneLine(&in)...), '\n')
		for _, it := range items {
			if it.Record != nil {
				b = append(sink.AppendJSON(b, it.Record, &it.Instrument), '\n')
				continue
			}
			if it.Signal.Kind == source.SignalSequence && len(it.Signal.Text) == 8 {
				b = fmt.Appendf(b, "sequence %d\n", binary.LittleEndian.Uint64(it.Signal.Text))
				continue
			}
			b = append(append(append(b, signalNames[it.Signal.Kind]...), ' '), bytes.ReplaceAll(it.Signal.Text, []byte{0}, []byte(" "))...)
			b = append(bytes.TrimRight(b, " "), '\n')
		}
		if derr != nil {
			b = append(append(append(b, "error "...), derr.Error()...), '\n')
		}
	}
	return b
}

func oneLine(in *source.Input) []byte {
	if in.Kind == source.InputBinary {
		return fmt.Appendf(nil, "%d binary bytes", len(in.Data))
	}
	return bytes.ReplaceAll(in.Data[:min(len(in.Data), 300)], []byte("\n"), []byte(" "))
}

var signalNames = map[source.SignalKind]string{
	source.SignalSubscribed: "subscribed", source.SignalRejected: "rejected", source.SignalReply: "reply",
	source.SignalHeartbeat: "heartbeat", source.SignalResync: "resync", source.SignalReconnect: "reconnect",
	source.SignalMaintenance: "maintenance", source.SignalRemember: "remember", source.SignalReady: "ready",
	source.SignalDefine: "define",
}

// Fuzz feeds mutations of the frames in testdata. A decoder may refuse them, but
// must neither panic nor write bytes that no reader would accept.
func Fuzz(f *testing.F, s source.Source, markets ...market.Market) {
	files, _ := filepath.Glob("testdata/*.jsonl")
	urls := [][]byte{nil}
	for _, path := range files {
		r, err := capture.Open(path)
		if err != nil {
			f.Fatal(err)
		}
		for e, err := range r.All() {
			if err != nil {
				f.Fatal(err)
			}
			n := 0
			if e.Kind == capture.KindHTTP {
				n = len(urls)
				urls = append(urls, bytes.Clone(e.URL))
			}
			f.Add(n, bytes.Clone(e.Text))
		}
		r.Close()
	}
	f.Fuzz(func(t *testing.T, url int, frame []byte) {
		for _, m := range markets {
			in := source.Input{Kind: source.InputText, Recv: 1, Data: frame}
			if u := urls[uint(url)%uint(len(urls))]; u != nil {
				in.Kind, in.URL, in.Status = source.InputHTTP, u, 200
			}
			feed := NewFeed(t, s, m)
			for range 2 { // the second finds the room the first left
				_, _ = feed.Decode(t, &in)
			}
		}
	})
}
