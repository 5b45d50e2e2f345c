package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/serve"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// patience bounds waits for what comes soon. It is long, for machines that are
// busy with other things; no test waits for it to pass.
const patience = time.Minute

// The test binary is the plugin, too: "plugin KIND NAME" serves one, as the
// runtime's binary does.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "plugin" {
		os.Exit(pluginMain(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 3 && os.Args[1] == "hostmain" {
		os.Exit(hostMain(os.Args[2]))
	}
	// A third-party plugin is run without arguments, under its own name.
	if name, ok := strings.CutPrefix(filepath.Base(os.Args[0]), "marketprism-source-"); ok {
		os.Exit(pluginMain("source", name))
	}
	if name, ok := strings.CutPrefix(filepath.Base(os.Args[0]), "marketprism-sink-"); ok {
		os.Exit(pluginMain("sink", name))
	}
	os.Exit(m.Run())
}

func pluginMain(kind, name string) int {
	if f := hostile[name]; f != nil {
		return f()
	}
	if name == "probe" {
		return serve.Sink(&probeSink{})
	}
	if kind == "sink" {
		return serve.Sink(&fileSink{})
	}
	return serve.Source(lineSource{})
}

// lineSource decodes lines "T symbol price amount id" into trades.
type lineSource struct{}

func (lineSource) Describe() source.Manifest {
	return source.Manifest{Venue: "test", Title: "Test", Version: "1", Revision: 3,
		Markets: []source.MarketSpec{{Market: market.MarketSpot}}}
}

func (lineSource) Resolve(name string) (market.Market, string, error) {
	s := strings.ReplaceAll(name, "-", "")
	if s == name {
		return 0, "", fault.Errorf(fault.Stop, "test: %q is no name: BASE-QUOTE", name)
	}
	return market.MarketSpot, s, nil
}

func (lineSource) Identify(m market.Market, symbol string) market.Instrument {
	return market.Instrument{Name: "N-" + symbol, AmountUnit: market.UnitBase}
}

func (lineSource) Session(r source.SessionRequest) (source.Script, error) {
	if r.Config.Int("fail") != 0 {
		return source.Script{}, fault.WaitFor(7*time.Second, errors.New("test: not now"))
	}
	return source.Script{Steps: []source.Step{{Dial: &source.Dial{URL: r.Endpoint}}}}, nil
}

func (lineSource) Frames(r source.FrameRequest) ([]source.Frame, error) {
	return []source.Frame{{Data: fmt.Sprint(r.Unsubscribe, len(r.Subscriptions))}}, nil
}

func (lineSource) Requests(r source.RequestFor) ([]source.Request, error) {
	if r.Purpose == "environment" {
		return []source.Request{{Body: strings.Join(os.Environ(), "\n")}}, nil
	}
	if r.Purpose == "pid" {
		return []source.Request{{Body: strconv.Itoa(os.Getpid())}}, nil
	}
	if pid, ok := strings.CutPrefix(string(r.Purpose), "die:"); ok && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		os.Exit(3)
	}
	if p, ok := strings.CutPrefix(string(r.Purpose), "dial:"); ok {
		_, err := net.Dial("tcp", p)
		return []source.Request{{Body: fmt.Sprint(err)}}, nil
	}
	if r.Purpose == "listen" {
		_, err := net.Listen("tcp", "127.0.0.1:0")
		return []source.Request{{Body: fmt.Sprint(err)}}, nil
	}
	if p, ok := strings.CutPrefix(string(r.Purpose), "write:"); ok {
		err := os.WriteFile(p, []byte("x"), 0o600)
		return []source.Request{{Body: fmt.Sprint(err)}}, nil
	}
	if p, ok := strings.CutPrefix(string(r.Purpose), "print:"); ok {
		n, _ := strconv.Atoi(r.Base)
		for range max(1, n) {
			fmt.Fprintln(rawStderr, p)
		}
		return nil, nil
	}
	return []source.Request{{URL: r.Base, Weight: 5}}, nil
}

// rawStderr is the process's, before go-plugin takes its place.
var rawStderr = os.Stderr

func (lineSource) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	if s.Config.Bool("refuse") {
		return nil, fault.Errorf(fault.Stop, "test: refused")
	}
	return &lineDecoder{}, nil
}

type lineDecoder struct{}

func (*lineDecoder) Decode(in *source.Input, out *source.Out) error {
	f := bytes.Fields(in.Data)
	switch {
	case in.Kind > source.InputBinary:
		return nil
	case len(f) == 5 && f[0][0] == 'T':
		t := market.Trade{Header: market.Header{Instrument: out.Symbol(f[1]), Channel: market.ChannelTrades, TsSend: market.None,
			Seq: market.None, PrevSeq: market.None}, ID: f[4], FirstID: market.None, LastID: market.None}
		var err error
		if t.Price, err = market.ParseDecimal(f[2]); err != nil {
			return err
		}
		if t.Amount, err = market.ParseDecimal(f[3]); err != nil {
			return err
		}
		out.Trade(&t)
		return nil
	case len(f) == 2 && string(f[0]) == "huge":
		n, _ := strconv.Atoi(string(f[1]))
		b := market.Book{Header: market.Header{Kind: market.KindBookSnapshot, Instrument: out.Symbol([]byte("HUGE"))}}
		b.Bids = make([]market.Level, n)
		for i := range b.Bids {
			b.Bids[i] = market.Level{Price: market.NewDecimal(int64(i), 0), Amount: market.NewDecimal(1, 0)}
		}
		out.Book(&b)
		return nil
	case string(in.Data) == "remember":
		out.Symbol([]byte("REMEMBERED"))
		out.Remember()
		return nil
	case string(in.Data) == "panic":
		panic("as asked")
	case string(in.Data) == "exit":
		os.Exit(9)
	case string(in.Data) == "hang":
		select {}
	}
	return fmt.Errorf("test: %d fields: %.20q", len(f), in.Data)
}

// fileSink appends a line a record to WorkDir/out.
type fileSink struct {
	f       *os.File
	log     zerolog.Logger
	pending int64
}

func (*fileSink) Describe() sink.Manifest {
	return sink.Manifest{Name: "file", Version: "1", Commit: sink.CommitBatch}
}

func (s *fileSink) Open(_ context.Context, set sink.Settings) (err error) {
	if set.Config.Bool("refuse") {
		return fault.Errorf(fault.Stop, "test: refused")
	}
	if _, err := os.Stat(filepath.Join(set.WorkDir, "up")); err != nil && set.Config.Bool("wait") {
		return err // the store is down until somebody makes this file
	}
	s.log = set.Logger
	s.log.Warn().Str("name", set.Name).Int("n", 7).Msg("opened")
	s.f, err = os.OpenFile(filepath.Join(set.WorkDir, "out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}

func (s *fileSink) Write(_ context.Context, b *sink.Batch) error {
	var lines bytes.Buffer
	for b.Next() {
		r, i := b.Record(), b.Instrument()
		if string(r.TradeID()) == "wait" {
			return fault.WaitFor(3*time.Second, errors.New("test: full"))
		}
		switch string(r.TradeID()) {
		case "exit":
			os.Exit(9)
		case "hang":
			select {}
		}
		fmt.Fprintf(&lines, "%s %s %s %s\n", r.Kind(), i.Venue, i.Symbol, r.TradeID())
	}
	if b.Err() != nil {
		return b.Err()
	}
	s.pending += int64(lines.Len())
	_, err := s.f.Write(lines.Bytes())
	return err
}

func (s *fileSink) Flush(_ context.Context, r sink.Range) error {
	s.pending = 0
	_, err := fmt.Fprintf(s.f, "flush %s %d\n", r.Journal, r.Epoch)
	return err
}

func (s *fileSink) Close(context.Context) error {
	_, err := io.WriteString(s.f, "close\n")
	return errors.Join(err, s.f.Close())
}

func (s *fileSink) Pending(string) int64 { return s.pending }

// --- the other side ---

func testOptions(log io.Writer) host.Options {
	exe, _ := os.Executable()
	return host.Options{Exe: exe, Logger: zerolog.New(log).Level(zerolog.DebugLevel), StallAfter: 2 * time.Second,
		Restart: host.Budget{MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond}}
}

func newJournal(tb testing.TB, o journal.Options) *journal.Journal {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = tb.TempDir()
	}
	if o.MaxBytes == 0 {
		o.SegmentBytes, o.MaxBytes = 1<<20, 64<<20
	}
	j, _, err := journal.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { j.Close() })
	return j
}

func appendFrame(tb testing.TB, j *journal.Journal, kind source.InputKind, data string) shm.Position {
	tb.Helper()
	pos, err := j.Append(shm.Header{Kind: uint8(kind), Conn: 7, Wall: 1000}, []byte(data))
	if err != nil {
		tb.Fatal(err)
	}
	j.Ring()
	return pos
}
