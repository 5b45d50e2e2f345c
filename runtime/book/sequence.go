package book

import (
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// judge says what a delta is to the snapshot in force: Applied if it follows,
// KeepAlive, Stale, or Gap.
func (b *Book) judge(v market.View) Verdict {
	q := &b.rule.Sequence
	l, last, first, prev := b.seq, v.Seq(), v.FirstSeq(), v.PrevSeq()
	if first == market.None {
		first = last
	}
	if q.Kind == source.SequenceNone {
		// Where numbers don't chain (times, say), they still tell what a requested
		// snapshot holds already.
		if q.Start != source.StartInBand && last != market.None && b.snap != market.None &&
			(last < b.snap || last == b.snap && q.Start != source.StartOverlap) {
			return VerdictStale
		}
		return VerdictApplied
	}
	if q.Scope == source.ScopeConnection { // whoever counts the connection's frames calls Void
		if last != market.None && l != market.None && last < l {
			return VerdictStale
		}
		return VerdictApplied
	}
	if last == market.None {
		if l == market.None && b.rule.Checksum.Kind != source.ChecksumNone && v.Checksum() != market.None {
			return VerdictApplied // from before the venue numbered its records: the checksum judges it
		}
		return VerdictGap // the rule needs a number: what can't be shown to follow doesn't
	}
	if l == market.None {
		return VerdictApplied
	}
	if b.starting {
		return judgeStart(q.Start, l, first, last, prev)
	}
	switch q.Kind {
	case source.SequenceChain:
		// A venue may restart its numbers lower while the chain goes on, so the
		// chain is asked first.
		if prev == l {
			return VerdictApplied
		}
	case source.SequenceRange:
		if first <= l+1 && last > l {
			return VerdictApplied
		}
	case source.SequenceIncrement:
		if last == l+1 {
			return VerdictApplied
		}
	}
	if last > l {
		return VerdictGap
	}
	if v.Flags()&market.FlagKeepAlive != 0 {
		return VerdictKeepAlive
	}
	return VerdictStale
}

// judgeStart judges the first delta after a requested snapshot s.
func judgeStart(way source.SequenceStart, s, first, last, prev int64) Verdict {
	follows := false
	switch way {
	case source.StartOverlap:
		if last < s {
			return VerdictStale
		}
		follows = first <= s || prev != market.None && prev <= s
	case source.StartChain:
		if last <= s {
			return VerdictStale
		}
		follows = prev != market.None && prev <= s
	default:
		if last <= s {
			return VerdictStale
		}
		follows = first <= s+1
	}
	if follows {
		return VerdictApplied
	}
	return VerdictGap
}

// judgeSnapshot says whether a snapshot comes into force: Applied, Stale if the
// state in force is newer, or TooOld if the deltas held start after it.
func (b *Book) judgeSnapshot(v market.View) Verdict {
	q := &b.rule.Sequence
	s := v.Seq()
	switch {
	case v.Flags()&market.FlagReset != 0 || s == market.None:
		return VerdictApplied
	case b.rule.Snapshot == source.SnapshotEach:
		if q.Kind != source.SequenceNone && b.inForce && b.seq != market.None && s < b.seq {
			if b.staleRun++; b.staleRun <= maxStaleRun {
				return VerdictStale
			}
		}
		return VerdictApplied
	case !waits(b.rule.Snapshot):
		return VerdictApplied
	case b.inForce:
		if b.seq != market.None && s < b.seq {
			return VerdictStale
		}
		return VerdictApplied
	case b.timed():
		// Nothing shows what came between a snapshot and the deltas held, unless it
		// holds the first of them. One wrong time of the venue's is outlived.
		if b.apart {
			return VerdictTooOld
		}
		least := b.lost
		if b.held.n > 0 {
			least = max(least, b.held.front().Seq())
		}
		if s < least {
			if b.staleRun++; b.staleRun <= maxStaleRun {
				return VerdictTooOld
			}
		}
		return VerdictApplied
	case b.lost != market.None && s < b.lost:
		return VerdictTooOld
	}
	if q.Kind == source.SequenceNone || q.Start == source.StartInBand {
		return VerdictApplied
	}
	for at := b.held.head; at < len(b.held.buf); {
		d := market.View(b.held.buf[at:])
		at += d.Size()
		last, first := d.Seq(), d.FirstSeq()
		if first == market.None {
			first = last
		}
		if last == market.None {
			break
		}
		switch judgeStart(q.Start, s, first, last, d.PrevSeq()) {
		case VerdictApplied:
			return VerdictApplied
		case VerdictGap:
			return VerdictTooOld
		}
	}
	return VerdictApplied
}
