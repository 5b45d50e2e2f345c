// Package plugintest is the conformance kit of source plugins: numbered cards
// that a plugin passes as a black box, in its own process, under the built
// runtime, against a venue emulator that injects faults.
//
//	func TestConformance(t *testing.T) {
//		plugintest.Run(t, plugintest.Config{Binary: "bin/marketprism", Source: acme.New()})
//	}
//
// Order: each card has an emulator, a data directory and a runtime of its own,
// one after the other. A card writes a pipeline, runs it into a sink of JSON
// lines, injects its fault, lets the market stand still, and compares what the
// emulator's ledger says was sent with what came out. The ledger is the witness:
// no card asks the runtime what it lost.
//
// Waiting is bounded by Config.Patience; a card that runs out of it fails with
// the end of the runtime's log.
package plugintest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/source"
)

// Config says what is tested.
type Config struct {
	Binary  string           // the runtime's executable
	Args    []string         // its arguments before the pipeline's file: run
	Env     []string         // more environment
	Source  source.Source    // for its manifest and its names; the plugin that is tested runs in its own process
	Plugin  string           // path of the plugin's executable; empty if it is bundled
	Market  market.Market    // the manifest's first if none
	Symbols []string         // canonical names, two where the venue has so many; the emulator's own if empty
	Options emulator.Options // Venue (the manifest's), Seed, Rate (500), Depth (200)

	Attributes string            // HCL inside the source block
	Channels   map[string]string // HCL inside channel blocks, by channel
	Cards      []string          // numbers ("04") to run; all if empty
	Patience   time.Duration     // 30 s
}

// Run plays the cards.
func Run(t *testing.T, cfg Config) {
	t.Helper()
	man := cfg.Source.Describe()
	if cfg.Market == market.MarketNone {
		cfg.Market = man.Markets[0].Market
	}
	if cfg.Args == nil {
		cfg.Args = []string{"run"}
	}
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	o := &cfg.Options
	if o.Venue == "" {
		o.Venue = man.Venue
	}
	if o.Rate == 0 {
		o.Rate = 500
	}
	if o.Depth == 0 {
		o.Depth = 200
	}
	o.Market = cfg.Market
	if len(cfg.Symbols) == 0 {
		cfg.Symbols = emulator.DefaultSymbols(o.Venue, cfg.Market)
	}
	o.Symbols = cfg.Symbols
	if len(cfg.Symbols) == 0 {
		t.Fatalf("plugintest: %s has no symbols on %s; the cards need two, or one where the venue has no more", man.Venue, cfg.Market)
	}
	for _, c := range cards {
		if len(cfg.Cards) > 0 && !slices.Contains(cfg.Cards, c.number) {
			continue
		}
		t.Run(c.number+"_"+c.name, func(t *testing.T) {
			b := &bench{T: t, cfg: cfg, man: man}
			if why := c.skip(b); why != "" {
				t.Skip(why)
			}
			c.play(b)
		})
	}
}

// bench is one card's emulator and runtime.
type bench struct {
	*testing.T
	cfg Config
	man source.Manifest
	emu *emulator.Emulator
	dir string
	cmd *exec.Cmd
	out reader
	log string
	end chan error // of the runtime's process

	block      string // HCL in the source block, of this card
	attributes string // HCL in its channel blocks
}

func (b *bench) native(i int) string {
	b.Helper()
	_, s, err := b.cfg.Source.Resolve(b.cfg.Symbols[i])
	if err != nil {
		b.Fatalf("the plugin does not resolve %s: %v", b.cfg.Symbols[i], err)
	}
	return s
}

// channel finds a channel's manifest on the market in test.
func (b *bench) channel(c market.Channel) *source.ChannelSpec {
	for i := range b.man.Channels {
		if s := &b.man.Channels[i]; s.Channel == c && slices.Contains(s.Markets, b.cfg.Market) {
			return s
		}
	}
	return nil
}

// emulate starts the venue.
func (b *bench) emulate(change func(*emulator.Options)) {
	b.Helper()
	o := b.cfg.Options
	if change != nil {
		change(&o)
	}
	b.emu = emulator.Start(b, o)
}

// start writes the pipeline and runs it.
func (b *bench) start(channels ...market.Channel) {
	b.Helper()
	if b.emu == nil {
		b.emulate(nil)
	}
	b.dir = b.TempDir()
	file := filepath.Join(b.dir, "card.hcl")
	if err := os.WriteFile(file, []byte(b.pipeline(channels)), 0o600); err != nil {
		b.Fatal(err)
	}
	b.out.path, b.log = filepath.Join(b.dir, "records.jsonl"), filepath.Join(b.dir, "log")
	b.launch()
}

// launch starts the runtime; a second time continues on the same data directory.
func (b *bench) launch() {
	b.Helper()
	open := func(p string) *os.File {
		f, err := os.OpenFile(p, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		return f
	}
	out, log := open(b.out.path), open(b.log)
	defer out.Close()
	defer log.Close()
	cmd := exec.Command(b.cfg.Binary, append(slices.Clone(b.cfg.Args), filepath.Join(b.dir, "card.hcl"))...)
	cmd.Env = append(append(os.Environ(), "MARKETPRISM_DATA_DIR="+filepath.Join(b.dir, "data"), "MARKETPRISM_LOG_FORMAT=json"), b.cfg.Env...)
	cmd.Stdout, cmd.Stderr = out, log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.cmd, b.end = cmd, make(chan error, 1)
	go func() { b.end <- cmd.Wait() }()
	b.Cleanup(func() { b.stop(false) })
}

// stop ends the runtime by SIGTERM, and by SIGKILL when that takes too long.
func (b *bench) stop(must bool) {
	b.Helper()
	if b.cmd == nil {
		return
	}
	pid := b.cmd.Process.Pid
	_ = b.cmd.Process.Signal(syscall.SIGCONT)
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	b.cmd = nil
	select {
	case err := <-b.end:
		if err != nil && must {
			b.Errorf("the runtime ended with %v after SIGTERM\n%s", err, b.tail())
		}
	case <-time.After(b.cfg.Patience):
		_ = syscall.Kill(pid, syscall.SIGKILL)
		<-b.end
		if must {
			b.Errorf("the runtime did not end within %v of SIGTERM\n%s", b.cfg.Patience, b.tail())
		}
	}
}

func (b *bench) pipeline(channels []market.Channel) string {
	var s strings.Builder
	fmt.Fprintf(&s, "marketprism {\n  data_dir = %q\n  listen   = \"127.0.0.1:0\"\n", filepath.Join(b.dir, "data"))
	if b.cfg.Plugin != "" {
		fmt.Fprintf(&s, "  required_plugins {\n    %s = { path = %q }\n  }\n", b.man.Venue, b.cfg.Plugin)
	}
	fmt.Fprintf(&s, "}\nsource %q \"md\" {\n  symbols  = [%s]\n  url      = %q\n  http_url = %q\n", b.man.Venue,
		`"`+strings.Join(b.cfg.Symbols, `", "`)+`"`, b.emu.URL(), b.emu.HTTPURL())
	if b.cfg.Attributes != "" {
		fmt.Fprintln(&s, b.cfg.Attributes)
	}
	if b.block != "" {
		fmt.Fprintln(&s, b.block)
	}
	for _, c := range channels {
		attributes := b.cfg.Channels[c.String()]
		if b.attributes != "" {
			attributes = b.attributes
		}
		fmt.Fprintf(&s, "  channel %q {\n%s\n  }\n", c, attributes)
	}
	fmt.Fprintf(&s, "}\nsink \"stdout\" \"out\" {\n  input = [source.%s.md]\n}\n", b.man.Venue)
	return s.String()
}

// tail is the end of the runtime's log.
func (b *bench) tail() string {
	data, _ := os.ReadFile(b.log)
	if len(data) > 4000 {
		data = data[len(data)-4000:]
	}
	return "the runtime's log ends:\n" + string(data)
}

// wait reads records until ok is content with all of them.
func (b *bench) wait(what string, ok func(rs []Record) bool) []Record {
	b.Helper()
	return b.within(b.cfg.Patience, what, ok)
}

// within is wait with a patience of its own.
func (b *bench) within(patience time.Duration, what string, ok func(rs []Record) bool) []Record {
	b.Helper()
	deadline := time.Now().Add(patience)
	for {
		rs, err := b.out.read()
		if err != nil {
			b.Fatal(err)
		}
		if ok(rs) {
			return rs
		}
		select {
		case err := <-b.end:
			b.end <- err
			if b.cmd != nil {
				b.Fatalf("waiting for %s: the runtime has ended: %v\n%s", what, err, b.tail())
			}
		default:
		}
		if time.Now().After(deadline) {
			b.Fatalf("waited %v for %s; %d records came: %s\n%s", patience, what, len(rs), summary(rs), b.tail())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// flow waits for 20 more trades of every symbol.
func (b *bench) flow() {
	b.Helper()
	from := len(b.out.records)
	b.wait("trades of every symbol", func(rs []Record) bool {
		seen := map[string]int{}
		for _, r := range rs[from:] {
			if r.Kind == "trade" && r.Origin == "" {
				seen[r.Symbol]++
			}
		}
		for i := range b.cfg.Symbols {
			if seen[b.native(i)] < 20 {
				return false
			}
		}
		return true
	})
}

// settle pauses the market and waits until the last frame of each symbol's
// trades and books that was sent has come out.
func (b *bench) settle() []Record {
	b.Helper()
	b.emu.Pause()
	last := map[emulator.About]bool{}
	newest := map[emulator.About]emulator.Entry{}
	for _, e := range b.ledger() {
		if e.Kind != emulator.EntryFrame || e.Flags != 0 || e.Seq == 0 || e.Channel != emulator.ChannelTrades && e.Channel != emulator.ChannelBook {
			continue
		}
		newest[emulator.About{Channel: e.Channel, Symbol: e.Symbol}] = e
	}
	names := b.emu.Symbols()
	return b.wait("the last frames that were sent", func(rs []Record) bool {
		for k, e := range newest {
			if last[k] {
				continue
			}
			name := names[e.Symbol-1]
			last[k] = slices.ContainsFunc(rs, func(r Record) bool {
				if r.Symbol != name {
					return false
				}
				if e.Channel == emulator.ChannelTrades {
					return r.Kind == "trade" && r.id() == e.Seq
				}
				return (r.Kind == "book_delta" || r.Kind == "book_snapshot") && r.TsRecv >= e.Time && (r.Seq >= e.Seq || r.Seq == 0)
			})
			if !last[k] {
				return false
			}
		}
		return true
	})
}

func (b *bench) ledger() []emulator.Entry {
	b.Helper()
	es, err := b.emu.Ledger().Entries(0)
	if err != nil {
		b.Fatal(err)
	}
	return es
}

func (b *bench) inject(f emulator.Fault) {
	b.Helper()
	if err := b.emu.Inject(f); err != nil {
		b.Fatal(err)
	}
}

// complete checks that the trades of the ledger came out once each. Those that
// are missing must lie in a published gap.
func (b *bench) complete(rs []Record, mayLose bool) {
	b.Helper()
	r := AccountTrades(b.ledger(), b.emu.Symbols(), rs)
	b.Logf("%s", r)
	if len(r.Unexplained) > 0 || r.Duplicates > 0 || r.Foreign > 0 || r.Disordered > 0 {
		b.Errorf("%s\n%s", r, b.tail())
	}
	if !mayLose && r.Explained > 0 {
		b.Errorf("%d trades are missing, though inside published gaps: nothing had to be lost", r.Explained)
	}
	if r.Sent == 0 {
		b.Error("no trade was sent")
	}
}

// books compares the books that the records make with the emulator's.
func (b *bench) books(rs []Record) {
	b.Helper()
	depth := 0
	if c := b.channel(market.ChannelBook); c != nil && c.Book != nil && c.Book.CutToDepth {
		depth = 10 // every depth that can be subscribed holds these
	}
	for i := range b.cfg.Symbols {
		name := b.native(i)
		truth, err := b.emu.Book(name, depth)
		if err != nil {
			b.Fatal(err)
		}
		if why := Rebuild(rs, name).differs(truth, depth); why != "" {
			b.Errorf("book of %s: %s\n%s", name, why, b.tail())
		}
	}
}

// children are the pids of the runtime's processes of source plugins.
func (b *bench) children() (pids []int) {
	b.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range list {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, ok := strings.Cut(string(stat), ") ")
		var state string
		var ppid, pid int
		if _, err := fmt.Sscan(rest, &state, &ppid); !ok || err != nil || ppid != b.cmd.Process.Pid || state == "Z" {
			continue
		}
		if _, err := fmt.Sscan(string(stat), &pid); err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if b.cfg.Plugin != "" && strings.Contains(string(line), filepath.Base(b.cfg.Plugin)) || strings.Contains(string(line), "\x00source\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}
