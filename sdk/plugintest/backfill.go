package plugintest

import (
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/source"
)

func needsHistory(b *bench) string {
	if c := b.channel(trades); c.History == nil {
		return b.man.Venue + " has no history of trades on " + b.cfg.Market.String()
	}
	return ""
}

// 17: trades that a gap took are asked for again: each trade of the market comes
// out once, and a quality record says so of each gap. A request that the venue puts
// off is made when it may be.
func playBackfill(b *bench) {
	b.emulate(func(o *emulator.Options) {
		if b.channel(trades).History.By == source.HistoryRecent { // the shortest histories, of 60 trades, are of 10 s then
			o.Rate = min(o.Rate, 40)
		}
	})
	b.start(trades)
	b.flow()
	b.inject(emulator.Fault{Kind: emulator.FaultDisconnect})
	whole := b.filled("disconnect")
	b.flow()
	if b.channel(trades).Sequence != source.SequenceNone {
		b.inject(emulator.Fault{Kind: emulator.FaultStatus, Code: 429, RetryAfter: 2})
		for i := range b.cfg.Symbols {
			b.inject(emulator.Fault{Kind: emulator.FaultGap, Symbol: b.native(i), Channel: "trades", Count: 3})
		}
		whole = b.filled("gap") && whole
		b.flow()
	}
	rs := b.settle()
	b.complete(rs, !whole)
	b.unbroken(rs, whole)
}

// filled waits until every symbol's trades have a record that nothing lacks of a gap.
// Where the venue gives its latest trades alone it may say so; then not all is
// whole.
func (b *bench) filled(cause string) (whole bool) {
	b.Helper()
	whole = true
	from := time.Now().UnixNano()
	for i := range b.cfg.Symbols {
		name := b.native(i)
		b.wait("the record that history filled a gap of "+name+" by "+cause, func(rs []Record) bool {
			for _, q := range quality(rs, cause, "trades", name) {
				if q.Repaired == "resumed" && q.TsRecv > from && q.Missing != nil && *q.Missing == 0 {
					return true // what the venue sends on subscribing reaches back
				}
				if q.TsRecv > from && q.Ref != nil && q.Repaired != "resumed" {
					if q.Repaired != "history" && q.Repaired != "late" || q.Missing != nil && *q.Missing > 0 || strings.Contains(q.Detail, "don't reach back") {
						if b.channel(trades).History.By == source.HistoryRecent && strings.Contains(q.Detail, "don't reach back") {
							whole = false
							return true
						}
						b.Fatalf("a gap of %s was not filled: repaired %q: %s", name, q.Repaired, q.Detail)
					}
					b.Logf("%s: %s", name, q.Detail)
					return true
				}
			}
			return false
		})
	}
	return whole
}

// unbroken checks that the ids of each symbol's trades, which the emulator counts
// one by one, have no hole where nothing lacks, and that each stands once.
func (b *bench) unbroken(rs []Record, whole bool) {
	b.Helper()
	for i := range b.cfg.Symbols {
		name := b.native(i)
		seen := map[int64]int{}
		first, last, again := int64(0), int64(0), 0
		for _, r := range rs {
			if r.Kind != "trade" || r.Symbol != name {
				continue
			}
			id := r.id()
			if seen[id]++; seen[id] > 1 {
				again++
			}
			if r.Origin == "" && (first == 0 || id < first) {
				first = id
			}
			last = max(last, id)
		}
		var holes []int64
		for id := first; id <= last; id++ {
			if seen[id] == 0 {
				holes = append(holes, id)
			}
		}
		if whole && len(holes) > 0 || again > 0 {
			b.Errorf("trades %d to %d of %s: %d lack, from %v on; %d stand twice\n%s", first, last, name, len(holes), holes[:min(3, len(holes))], again, b.tail())
		}
		if first == 0 {
			b.Errorf("no trade of %s", name)
		}
	}
}
