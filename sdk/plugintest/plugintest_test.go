package plugintest

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv("FAKE_PLUGIN") != "":
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with its parent
		os.Exit(0)
	case os.Getenv("FAKE") != "" && len(os.Args) == 3 && os.Args[1] == "run":
		os.Exit(runFake(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

// spot is a source as far as the kit asks it.
type spot struct{ source.Source }

func (spot) Describe() source.Manifest {
	m := []market.Market{market.MarketSpot}
	return source.Manifest{Venue: "binance", Markets: []source.MarketSpec{{Market: market.MarketSpot}}, Channels: []source.ChannelSpec{
		{Channel: market.ChannelTrades, Markets: m, Kinds: []market.Kind{market.KindTrade}, Transport: source.Stream, Sequence: source.SequenceIncrement},
		{Channel: market.ChannelBook, Markets: m, Kinds: []market.Kind{market.KindBookSnapshot, market.KindBookDelta}, Transport: source.Stream,
			Book: &source.BookRule{Sequence: source.Sequence{Kind: source.SequenceRange, Start: source.StartRange}, Snapshot: source.SnapshotHTTP}},
	}}
}

func (spot) Resolve(name string) (market.Market, string, error) {
	return market.MarketSpot, strings.ReplaceAll(name, "-", ""), nil
}

// TestCards plays the cards that a simple collector can pass.
func TestCards(t *testing.T) {
	Run(t, Config{Binary: os.Args[0], Env: []string{"FAKE=ok"}, Source: spot{}, Cards: []string{"01", "02", "03", "04", "05", "06", "08", "09", "10", "13"}})
}

// TestCardsFail plays cards against collectors with a defect each: a kit that
// cannot fail shows nothing. They run in a test process of their own.
func TestCardsFail(t *testing.T) {
	if how := os.Getenv("DEFECT"); how != "" {
		c := Config{Binary: os.Args[0], Env: []string{"FAKE=" + how}, Source: spot{}, Cards: strings.Split(os.Getenv("CARDS"), ",")}
		if how == "silent" { // the one that is waited for in vain
			c.Patience = 5 * time.Second
		}
		Run(t, c)
		return
	}
	for _, x := range []struct{ how, card, says string }{
		{"loses", "08", "unexplained"},
		{"repeats", "05", "duplicates 5"},
		{"silent", "03", "quality record of the disconnect"},
		{"forgets", "02", "book of BTCUSDT: bid"},
	} {
		t.Run(x.how, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestCardsFail$")
			cmd.Env = append(os.Environ(), "DEFECT="+x.how, "CARDS="+x.card)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err == nil {
				t.Errorf("card %s passed", x.card)
			}
			if !strings.Contains(out.String(), x.says) {
				t.Errorf("card %s does not say %q:\n%s", x.card, x.says, out.String())
			}
		})
	}
}

func TestAccountTrades(t *testing.T) {
	sent := func(id, at int64, flags emulator.EntryFlags) emulator.Entry {
		return emulator.Entry{Kind: emulator.EntryFrame, Time: at, Flags: flags, About: emulator.About{Channel: emulator.ChannelTrades, Symbol: 1, Seq: id}}
	}
	n := func(v int64) *int64 { return &v }
	led := []emulator.Entry{sent(1, 10, 0), sent(2, 20, 0), sent(2, 20, emulator.FlagFault), sent(3, 30, emulator.FlagWithheld), sent(4, 40, 0)}
	trade := func(id string, at int64) Record { return Record{Kind: "trade", Symbol: "X", ID: id, TsRecv: at} }
	for _, x := range []struct {
		rs   []Record
		want string
	}{
		{[]Record{trade("1", 11), trade("2", 21), {Kind: "quality", Cause: "gap", Channel: "trades", Symbol: "X", FromSeq: n(3), ToSeq: n(3)}, trade("4", 41)},
			"sent 4, delivered 3, inside gaps 1, unexplained 0 [], duplicates 0, foreign 0, out of order 0"},
		{[]Record{trade("1", 11), trade("2", 21), trade("4", 41)}, "unexplained 1 [3]"},
		{[]Record{trade("1", 11), trade("2", 21), trade("2", 21), trade("4", 41), {Kind: "trade", Symbol: "X", ID: "3", Origin: "backfill"}}, "delivered 4, inside gaps 0, unexplained 0 [], duplicates 1"},
		{[]Record{trade("1", 11), trade("4", 41), trade("2", 21), trade("9", 50)}, "unexplained 1 [3], duplicates 0, foreign 1, out of order 1"},
		{[]Record{trade("1", 35), {Kind: "quality", Cause: "disconnect", FromTs: n(35), ToTs: n(60)}}, "delivered 1, inside gaps 3, unexplained 0"},
	} {
		if got := AccountTrades(led, []string{"X"}, x.rs).String(); !strings.Contains(got, x.want) {
			t.Errorf("%s, want %s", got, x.want)
		}
	}
}
