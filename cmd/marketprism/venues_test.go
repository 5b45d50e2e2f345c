package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestVenuesDocumentIsUpToDate(t *testing.T) {
	var want bytes.Buffer
	if err := venuesDoc(&want, bundledManifests()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/venues.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/venues.md differs from what the manifests say: run make docs")
	}
}

// TestVenuesDocumentHasEverything: each market, endpoint and channel of each
// manifest is told of.
func TestVenuesDocumentHasEverything(t *testing.T) {
	for _, m := range bundledManifests() {
		var b strings.Builder
		venueDoc(&b, &m)
		text := b.String()
		for _, s := range m.Markets {
			for _, e := range s.Endpoints {
				if !strings.Contains(text, e.URL) {
					t.Errorf("%s %s: no word of %s", m.Venue, s.Market, e.URL)
				}
			}
			cs := venueChannels(&m, s.Market)
			if len(cs) == 0 {
				t.Errorf("%s %s has no channel", m.Venue, s.Market)
			}
			for _, c := range cs {
				if mark := overviewMark(&s, cs, c.Channel); mark == "" || mark == "–" || mark == "book" {
					t.Errorf("%s %s %s: the overview says %q", m.Venue, s.Market, c.Channel, mark)
				}
			}
		}
		for _, c := range m.Channels {
			if !strings.Contains(text, "| `"+c.Channel.String()+"` |") {
				t.Errorf("%s: no word of %s", m.Venue, c.Channel)
			}
		}
		for _, d := range m.Docs {
			if !strings.Contains(text, d.URL) || !strings.Contains(text, d.Date) {
				t.Errorf("%s: no word of %s", m.Venue, d.URL)
			}
		}
		if strings.Contains(text, "%!") || strings.Contains(text, "|  |") {
			t.Errorf("%s: %s", m.Venue, text)
		}
	}
}

func TestMarks(t *testing.T) {
	book := func(r source.BookRule) source.ChannelSpec {
		return source.ChannelSpec{Channel: market.ChannelBook, Book: &r}
	}
	crc := source.Checksum{Kind: source.ChecksumKraken, Levels: 10}
	old := crc
	old.Until = "2026-06-01"
	for _, c := range []struct {
		spec        source.ChannelSpec
		mark, proof string
	}{
		{book(source.BookRule{Checksum: crc}), "**sum**", "checksum of 10 levels"},
		{book(source.BookRule{Sequence: source.Sequence{Kind: source.SequenceChain}, Checksum: old}), "**seq**", "sequence: each message names the one before; recordings from before 2026-06-01 by checksum"},
		{book(source.BookRule{Checksum: old}), "yes", "recordings from before 2026-06-01 by checksum"},
		{book(source.BookRule{Sequence: source.Sequence{Kind: source.SequenceIncrement, Scope: source.ScopeConnection}}), "**seq**", "sequence of the connection's frames"},
		{book(source.BookRule{Snapshot: source.SnapshotEach}), "yes", "can't be verified; each message is a whole book"},
		{source.ChannelSpec{Channel: market.ChannelBook, Sequence: source.SequenceIncrement}, "**seq**", "sequence: each number is one more"},
		{source.ChannelSpec{Channel: market.ChannelBook}, "yes", "can't be verified"},
		{source.ChannelSpec{Channel: market.ChannelBook, Lossy: "by design"}, `yes \*`, "can't be verified"},
		{source.ChannelSpec{Channel: market.ChannelBook, Transport: source.Poll}, "poll", "polled: each answer is whole"},
	} {
		if got := overviewMark(&source.MarketSpec{}, []source.ChannelSpec{c.spec}, market.ChannelBook); got != c.mark {
			t.Errorf("%+v is marked %q, want %q", c.spec, got, c.mark)
		}
		if got := proof(&c.spec); got != c.proof {
			t.Errorf("%+v: %q, want %q", c.spec, got, c.proof)
		}
	}
}
