package plugintest

import (
	"slices"
	"syscall"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/source"
)

// card is one conformance test.
type card struct {
	number, name string
	needs        []market.Channel
	when         func(b *bench) string // why it does not apply; empty if it does
	play         func(b *bench)
}

func (c *card) skip(b *bench) string {
	for _, ch := range c.needs {
		if b.channel(ch) == nil {
			return b.man.Venue + " has no channel " + ch.String() + " on " + b.cfg.Market.String()
		}
	}
	if c.when != nil {
		return c.when(b)
	}
	return ""
}

var (
	trades = market.ChannelTrades
	book   = market.ChannelBook
	both   = []market.Channel{trades, book}
)

var cards = []card{
	{"01", "handshake", both[:1], nil, playHandshake},
	{"02", "channels", nil, nil, playChannels},
	{"03", "reconnect", both, nil, playReconnect},
	{"04", "gap", both, needsTwo, playGap},
	{"05", "duplicate", both[:1], nil, playDuplicate},
	{"06", "malformed", both, nil, playMalformed},
	{"07", "oversized", both[:1], nil, playOversized},
	{"08", "slow_host", both, nil, playSlowHost},
	{"09", "kill_and_resume", both, nil, playKill},
	{"10", "remember", nil, nil, playRemember},
	{"11", "stale", nil, needsStale, playStale},
	{"12", "rate_limit", []market.Channel{book}, needsHTTPSnapshot, playRateLimit},
	{"13", "rejected", both[:1], nil, playRejected},
	{"14", "checksum", []market.Channel{book}, needsChecksum, playChecksum},
	{"15", "crossed", []market.Channel{book}, nil, playCrossed},
	{"16", "login", nil, needsLogin, playLogin},
	{"17", "backfill", both[:1], needsHistory, playBackfill},
}

// 01: the plugin starts, describes itself, data comes, SIGTERM ends it all.
func playHandshake(b *bench) {
	b.start(trades)
	b.flow()
	pids := b.children()
	if len(pids) != 1 {
		b.Errorf("the runtime has %d processes of source plugins: %v", len(pids), pids)
	}
	for _, r := range b.settle() {
		if r.Kind == "trade" && (r.Venue != b.man.Venue || r.Market != b.cfg.Market.String() || !slices.Contains(b.cfg.Symbols, r.Instrument)) {
			b.Fatalf("a trade of %s %s %s (%s)", r.Venue, r.Market, r.Symbol, r.Instrument)
		}
	}
	b.stop(true)
	for _, pid := range pids {
		for deadline := time.Now().Add(b.cfg.Patience); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				b.Errorf("process %d of the plugin outlives the runtime", pid)
				break
			}
		}
	}
	b.complete(b.out.records, false)
}

// 02: every channel of the manifest gives its kinds for every symbol.
func playChannels(b *bench) {
	type want struct{ kind, symbol string }
	missing := map[want]bool{}
	patience := b.cfg.Patience
	var channels []market.Channel
	for _, c := range b.man.Channels {
		if !slices.Contains(c.Markets, b.cfg.Market) {
			continue
		}
		channels = append(channels, c.Channel)
		if c.Transport == source.Poll && c.Channel != market.ChannelInstruments && c.PollEvery > b.cfg.Patience {
			b.Logf("%s is not waited for: it is polled every %v, spread over the interval", c.Channel, c.PollEvery)
			continue
		}
		if c.Transport == source.Poll && c.Channel != market.ChannelInstruments { // it begins at any moment of its interval
			patience = max(patience, c.PollEvery+b.cfg.Patience)
		}
		for _, k := range c.Kinds {
			for i := range b.cfg.Symbols {
				missing[want{k.String(), b.native(i)}] = true
			}
		}
	}
	b.start(channels...)
	b.within(patience, "every kind of every channel", func(rs []Record) bool {
		for _, r := range rs {
			delete(missing, want{r.Kind, r.Symbol})
		}
		return len(missing) == 0
	})
	if qs := quality(b.out.records, "decode_error", "", ""); len(qs) > 0 {
		b.Errorf("%d frames were refused, the first: %s", len(qs), qs[0].Detail)
	}
	rs := b.settle()
	b.complete(rs, false)
	b.books(rs)
}

// 03: a broken connection is opened anew; what was sent while it was gone lies
// in a published gap; the books are right again.
func playReconnect(b *bench) {
	b.start(both...)
	b.flow()
	b.inject(emulator.Fault{Kind: emulator.FaultDisconnect})
	b.wait("a quality record of the disconnect", func(rs []Record) bool { return len(quality(rs, "disconnect", "", "")) > 0 })
	b.flow()
	b.inject(emulator.Fault{Kind: emulator.FaultClose, Code: 1001})
	b.wait("a second one", func(rs []Record) bool { return len(quality(rs, "disconnect", "trades", b.native(0))) > 1 })
	b.flow()
	b.synced()
	rs := b.settle()
	b.complete(rs, true)
	b.books(rs)
}

// synced waits for a book snapshot of every symbol that is newer than now.
func (b *bench) synced() {
	b.Helper()
	from := time.Now().UnixNano()
	for i := range b.cfg.Symbols {
		name := b.native(i)
		b.wait("the book of "+name, func(rs []Record) bool {
			return slices.ContainsFunc(rs, func(r Record) bool {
				return r.Symbol == name && (r.Kind == "book_snapshot" || r.Kind == "book_delta") && !r.Stale && !r.Unsynced && r.TsRecv > from
			})
		})
	}
}

// needsTwo: a fault of one symbol must leave another alone.
func needsTwo(b *bench) string {
	if len(b.cfg.Symbols) < 2 {
		return b.man.Venue + " has one symbol on " + b.cfg.Market.String()
	}
	return ""
}

// 04: missing frames are a quality record; the book that broke is made anew and
// the other one is left alone; trades that were lost upstream are repaired or in
// the record's range.
func playGap(b *bench) {
	b.start(both...)
	b.flow()
	b.synced()
	first, second := b.native(0), b.native(1)
	rule := b.channel(book).Book
	verifiable := rule != nil && (rule.Sequence.Kind != source.SequenceNone || rule.Checksum.Kind != source.ChecksumNone)
	if verifiable {
		cause := "gap"
		if rule.Sequence.Kind == source.SequenceNone {
			cause = "checksum"
		}
		at := len(b.out.records)
		b.inject(emulator.Fault{Kind: emulator.FaultGap, Symbol: first, Channel: "book", Count: 2})
		b.wait("a "+cause+" of the book", func(rs []Record) bool { return len(quality(rs, cause, "book", first)) > 0 })
		b.wait("the book's new snapshot", func(rs []Record) bool {
			return slices.ContainsFunc(rs[at:], func(r Record) bool { return r.Kind == "book_snapshot" && r.Symbol == first })
		})
		if qs := quality(b.out.records, cause, "book", ""); rule.Sequence.Scope != source.ScopeConnection && slices.ContainsFunc(qs, func(q Record) bool { return q.Symbol == second }) {
			b.Errorf("the gap of %s broke the book of %s too", first, second)
		}
	}
	if b.channel(trades).Sequence != source.SequenceNone {
		b.inject(emulator.Fault{Kind: emulator.FaultGap, Symbol: first, Channel: "trades", Count: 3})
		b.wait("a gap of the trades", func(rs []Record) bool { return len(quality(rs, "gap", "trades", first)) > 0 })
	}
	b.flow()
	b.synced()
	rs := b.settle()
	b.complete(rs, true)
	b.books(rs)
}

// 05: what the venue sends twice is delivered once.
func playDuplicate(b *bench) {
	b.start(trades)
	b.flow()
	b.inject(emulator.Fault{Kind: emulator.FaultDuplicate, Channel: "trades", Count: 5})
	b.flow()
	b.complete(b.settle(), false)
}

// 06: a frame that is cut short, and one that is no UTF-8, are refused; their
// neighbours are intact.
func playMalformed(b *bench) {
	b.start(both...)
	b.flow()
	b.inject(emulator.Fault{Kind: emulator.FaultMalformed, Channel: "trades"})
	b.inject(emulator.Fault{Kind: emulator.FaultUTF8, Channel: "book"})
	b.inject(emulator.Fault{Kind: emulator.FaultUnannounce})
	b.wait("a decode_error", func(rs []Record) bool { return len(quality(rs, "decode_error", "", "")) > 0 })
	b.flow()
	rs := b.settle()
	b.complete(rs, false)
	b.books(rs)
}

// 07: a frame above the limit costs no more than a published gap.
func playOversized(b *bench) {
	b.start(trades)
	b.flow()
	b.inject(emulator.Fault{Kind: emulator.FaultOversized, Channel: "trades"})
	b.wait("a quality record", func(rs []Record) bool { return len(quality(rs, "", "", "")) > 0 })
	b.flow()
	b.complete(b.settle(), true)
}

// 08: a host that stands still for a second loses nothing.
func playSlowHost(b *bench) {
	b.start(both...)
	b.flow()
	pid := b.cmd.Process.Pid
	for range 2 {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			b.Fatal(err)
		}
		before := b.emu.Stats().Events
		for b.emu.Stats().Events < before+int64(b.cfg.Options.Rate) {
			time.Sleep(10 * time.Millisecond)
		}
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			b.Fatal(err)
		}
		b.flow()
	}
	rs := b.settle()
	b.complete(rs, false)
	b.books(rs)
}

// 09: a plugin that is killed is started again; no frame is missing and none is
// decoded twice.
func playKill(b *bench) {
	b.start(both...)
	b.flow()
	for range 3 {
		b.killPlugin()
		b.flow()
	}
	rs := b.settle()
	b.complete(rs, false)
	b.books(rs)
}

func (b *bench) killPlugin() {
	b.Helper()
	pids := b.children()
	if len(pids) != 1 {
		b.Fatalf("the runtime has %d processes of source plugins: %v", len(pids), pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		b.Fatal(err)
	}
	deadline := time.Now().Add(b.cfg.Patience)
	for now := b.children(); len(now) != 1 || now[0] == pids[0]; now = b.children() {
		if time.Now().After(deadline) {
			b.Fatalf("no new process after %d was killed\n%s", pids[0], b.tail())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// 10: a plugin that starts again decodes as before: what it remembers of a
// connection comes back. All stream channels are on, since any may need it.
func playRemember(b *bench) {
	var channels []market.Channel
	for _, c := range b.man.Channels {
		if slices.Contains(c.Markets, b.cfg.Market) && c.Transport == source.Stream {
			channels = append(channels, c.Channel)
		}
	}
	b.start(channels...)
	b.flow()
	b.killPlugin()
	at := len(b.out.records)
	want := map[string]bool{}
	for _, r := range b.out.records {
		switch r.Kind {
		case "trade", "book_delta", "bbo", "ticker":
			want[r.Kind+r.Symbol] = true
		}
	}
	b.wait("every kind after the restart", func(rs []Record) bool {
		for _, r := range rs[at:] {
			delete(want, r.Kind+r.Symbol)
		}
		return len(want) == 0
	})
	rs := b.settle()
	for _, q := range quality(rs, "", "", "") {
		if q.Cause == "decode_error" || q.Cause == "checksum" || q.Cause == "gap" {
			b.Errorf("%s of %s %s: %s", q.Cause, q.Channel, q.Symbol, q.Detail)
		}
	}
	b.complete(rs, false)
	if slices.Contains(channels, book) {
		b.books(rs)
	}
}

func (b *bench) quickestStale() (c *source.ChannelSpec) {
	for i := range b.man.Channels {
		s := &b.man.Channels[i]
		if slices.Contains(s.Markets, b.cfg.Market) && s.Transport == source.Stream && s.StaleAfter > 0 && (c == nil || s.StaleAfter < c.StaleAfter) {
			c = s
		}
	}
	return c
}

func needsStale(b *bench) string {
	if c := b.quickestStale(); c == nil || c.StaleAfter > b.cfg.Patience/2 {
		return "no channel of " + b.man.Venue + " on " + b.cfg.Market.String() + " counts as stale within half of the test's patience"
	}
	return ""
}

// 11: a connection that gives pongs and heartbeats but no data is stale, and is
// replaced.
func playStale(b *bench) {
	c := b.quickestStale()
	b.start(trades, c.Channel)
	b.flow()
	b.inject(emulator.Fault{Kind: emulator.FaultStall, For: c.StaleAfter + 5*time.Second})
	b.wait("a stale record", func(rs []Record) bool { return len(quality(rs, "stale", c.Channel.String(), "")) > 0 })
	b.flow()
	b.complete(b.settle(), true)
}

func needsHTTPSnapshot(b *bench) string {
	if r := b.channel(book).Book; r == nil || r.Snapshot != source.SnapshotHTTP || r.Recovery == source.RecoverResubscribe {
		return b.man.Venue + "'s books are mended without requests"
	}
	return ""
}

// 12: after a 429 nothing is asked before Retry-After has passed, and the
// streams go on.
func playRateLimit(b *bench) {
	const pause = 3
	b.start(both...)
	b.flow()
	b.synced()
	b.inject(emulator.Fault{Kind: emulator.FaultStatus, Code: 429, RetryAfter: pause})
	broken := emulator.Fault{Kind: emulator.FaultGap, Symbol: b.native(0), Channel: "book"}
	if b.channel(book).Book.Sequence.Kind == source.SequenceNone { // nothing shows a gap
		broken = emulator.Fault{Kind: emulator.FaultCrossed, Symbol: b.native(0)}
	}
	b.inject(broken)
	before := len(b.ledger())
	refused := func() (at time.Time, after []emulator.Entry) {
		for _, e := range b.ledger()[before:] {
			if e.Kind != emulator.EntryHTTP {
				continue
			}
			if at.IsZero() {
				at = time.Unix(0, e.Time)
			} else {
				after = append(after, e)
			}
		}
		return at, after
	}
	b.wait("a request after the refused one", func([]Record) bool { _, after := refused(); return len(after) > 0 })
	at, after := refused()
	if d := time.Unix(0, after[0].Time).Sub(at); d < pause*time.Second {
		b.Errorf("the next request came %v after a 429 that asked for %d s", d, pause)
	}
	b.flow()
	b.synced()
	rs := b.settle()
	b.complete(rs, false)
	b.books(rs)
}

// 13: a refused subscription is a quality record.
func playRejected(b *bench) {
	b.emulate(nil)
	b.inject(emulator.Fault{Kind: emulator.FaultReject})
	b.start(trades)
	b.wait("a record of the refusal", func(rs []Record) bool { return len(quality(rs, "rejected", "", "")) > 0 })
}

func needsChecksum(b *bench) string {
	if r := b.channel(book).Book; r == nil || r.Checksum.Kind == source.ChecksumNone || r.Checksum.Until != "" {
		return b.man.Venue + " has no checksums"
	}
	return ""
}

// 14: a wrong checksum is a quality record, and the book is made anew.
func playChecksum(b *bench) {
	b.start(book)
	b.synced()
	b.inject(emulator.Fault{Kind: emulator.FaultChecksum, Symbol: b.native(0)})
	b.wait("a checksum record", func(rs []Record) bool { return len(quality(rs, "checksum", "book", b.native(0))) > 0 })
	b.synced()
	b.books(b.settle())
}

// 15: a crossed book is a quality record.
func playCrossed(b *bench) {
	b.start(book)
	b.synced()
	b.inject(emulator.Fault{Kind: emulator.FaultCrossed, Symbol: b.native(0)})
	b.wait("a record of the crossed book", func(rs []Record) bool { return len(quality(rs, "crossed", "book", b.native(0))) > 0 })
	b.synced()
	b.synced() // what mended it may have shown the crossing bid still: the update after it takes that away
	b.books(b.settle())
}
