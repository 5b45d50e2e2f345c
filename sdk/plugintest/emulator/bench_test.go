package emulator

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// child starts an emulator in a process of its own, so that its CPU is its own.
func child(b testing.TB, o Options) (addr string) {
	b.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EMULATOR_CHILD="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close() // ends it
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func runChild(text string) int {
	var o Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	e, err := New(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer e.Close()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // the parent's end is the end
		cancel()
	}()
	fmt.Println(e.Addr())
	if err := e.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func stats(b testing.TB, addr string) (s Stats) {
	b.Helper()
	_, body, _ := get(b, "http://"+addr+"/_stats")
	if err := json.Unmarshal(body, &s); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkSaturated is how fast frames leave when the reader only discards
// bytes: the ceiling of every benchmark that reads from an emulator.
func BenchmarkSaturated(b *testing.B) {
	for _, led := range []bool{true, false} {
		b.Run(fmt.Sprintf("ledger=%v", led), func(b *testing.B) {
			addr := child(b, Options{Venue: "binance", Ledger: LedgerOptions{Off: !led, MaxBytes: 8 << 30}})
			ws, _, err := websocket.DefaultDialer.Dial("ws://"+addr+"/stream?streams=btcusdt@trade/btcusdt@depth@100ms/ethusdt@trade/ethusdt@depth@100ms", nil)
			if err != nil {
				b.Fatal(err)
			}
			defer ws.Close()
			buf := make([]byte, 1<<18)
			before := stats(b, addr)
			b.ResetTimer()
			total, target := int64(0), int64(b.N)*200
			for total < target {
				n, err := ws.NetConn().Read(buf)
				if err != nil {
					b.Fatal(err)
				}
				total += int64(n)
			}
			b.StopTimer()
			after := stats(b, addr)
			n := float64(after.Frames - before.Frames)
			b.ReportMetric(n/b.Elapsed().Seconds(), "frames/s")
			b.ReportMetric(float64(after.CPU-before.CPU)/n, "cpu-ns/frame")
			b.ReportMetric(float64(after.Bytes-before.Bytes)/n, "B/frame")
		})
	}
}

// BenchmarkPaced is what the emulator itself takes at even rates.
func BenchmarkPaced(b *testing.B) {
	for _, rate := range []float64{200, 2000, 20000} {
		b.Run(fmt.Sprint(rate), func(b *testing.B) {
			addr := child(b, Options{Venue: "binance", Rate: rate})
			ws, _, err := websocket.DefaultDialer.Dial("ws://"+addr+"/stream?streams=btcusdt@trade/btcusdt@depth@100ms/ethusdt@trade/ethusdt@depth@100ms", nil)
			if err != nil {
				b.Fatal(err)
			}
			defer ws.Close()
			before := stats(b, addr)
			b.ResetTimer()
			for range b.N {
				if _, _, err := ws.NextReader(); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			after := stats(b, addr)
			n := float64(after.Frames - before.Frames)
			b.ReportMetric(n/b.Elapsed().Seconds(), "frames/s")
			b.ReportMetric(float64(after.CPU-before.CPU)/n/1000, "cpu-us/frame")
			b.ReportMetric(float64(after.CPU-before.CPU)/float64(b.Elapsed())*100, "cpu-%")
			b.ReportMetric(float64(after.Behind), "behind")
		})
	}
}

// BenchmarkRender is one event made and rendered, without sending.
func BenchmarkRender(b *testing.B) {
	e, err := New(Options{Venue: "binance", Ledger: LedgerOptions{Off: true}})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	st := map[bool]*stream{}
	for _, s := range e.mkt.syms {
		st[true], st[false] = &stream{name: "btcusdt@trade", kind: ChannelTrades, sym: s}, &stream{name: "btcusdt@depth@100ms", kind: ChannelBook, sym: s}
	}
	var ev event
	var buf []byte
	ev.now = time.Now().UnixNano()
	b.ReportAllocs()
	for b.Loop() {
		e.mkt.next(&ev)
		x := st[ev.trade]
		x.sym = ev.sym
		buf = e.dialect.render(buf[:0], x, variantCombined, &ev)
	}
}

// BenchmarkSend is one event made, rendered, entered in the ledger and written
// by itself, as a paced market does.
func BenchmarkSend(b *testing.B) {
	e := start(b, Options{Rate: 0.001, Ledger: LedgerOptions{MaxBytes: 8 << 30}})
	c := dial(b, e, "/stream?streams=btcusdt@trade/btcusdt@depth@100ms/ethusdt@trade/ethusdt@depth@100ms")
	go func() {
		buf := make([]byte, 1<<18)
		for {
			if _, err := c.ws.NetConn().Read(buf); err != nil {
				return
			}
		}
	}()
	for e.Stats().Streams < 4 {
		time.Sleep(time.Millisecond)
	}
	var ev event
	b.ReportAllocs()
	for b.Loop() {
		e.mu.Lock()
		ev.now = time.Now().UnixNano()
		e.mkt.next(&ev)
		e.dispatch(&ev)
		conns := e.touched
		for _, c := range conns {
			c.touched = false
		}
		e.touched = e.touched[:0]
		e.mu.Unlock()
		for _, c := range conns {
			c.flush(false)
		}
	}
}
