package oracle

import (
	"compress/gzip"
	"encoding/json"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
	"github.com/marketprism/marketprism/sdk/source"
)

// Files are the files of the corpus that match a path, whose last element may
// have wildcards. Fewer than least end the test.
func Files(t testing.TB, least int, elem ...string) []string {
	t.Helper()
	last := len(elem) - 1
	files, err := filepath.Glob(filepath.Join(corpus.Path(t, elem[:last]...), elem[last]))
	if err != nil || len(files) < least {
		t.Fatalf("%d files of the corpus are %s, want %d (%v)", len(files), filepath.Join(elem...), least, err)
	}
	return files
}

// Catalogue reads a recorded list of listings (gzipped JSON): as the venue wrote
// each, to make an answer of, and as T understands it.
func Catalogue[T any](t testing.TB, path string) (raw []json.RawMessage, list []T) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := json.NewDecoder(z).Decode(&raw); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	list = make([]T, len(raw))
	for i, r := range raw {
		if err := json.Unmarshal(r, &list[i]); err != nil {
			t.Fatalf("%s: listing %d: %v", path, i, err)
		}
	}
	return raw, list
}

// Answers are the answers to requests that a recording begins with, before its
// first frame; each is valid until the next.
func Answers(t testing.TB, path string) iter.Seq[source.Input] {
	t.Helper()
	return func(yield func(source.Input) bool) {
		r, err := capture.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for e, err := range r.All() {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == capture.KindRecv || e.Kind == capture.KindHTTP && !yield(e.Input()) {
				return
			}
		}
	}
}

// Answer is the answer to a request that a test makes of a catalogue.
func Answer(url string, body []byte) source.Input {
	return source.Input{Kind: source.InputHTTP, Recv: 1, Status: 200, URL: []byte(url), Data: body}
}

// Listings decodes the answer with a catalogue as the feed of each market does
// and gives the records, for the caller to compare with the list: one for each
// listing of the feed's market, named as its symbol alone says, with a unit of
// amounts, and with the contract's size where they count contracts.
func Listings(t testing.TB, s source.Source, in source.Input, markets ...market.Market) (all []Item) {
	t.Helper()
	for _, m := range markets {
		items, err := NewFeed(t, s, m).Decode(t, &in)
		if err != nil {
			t.Fatalf("%s on %s: %v", in.URL, m, err)
		}
		for _, it := range items {
			if it.Record == nil {
				continue
			}
			all = append(all, it)
			i := it.Instrument
			if it.Record.Kind() != market.KindInstrument || m != market.MarketMixed && i.Market != m {
				t.Errorf("%s: a %s of %s on %s in a catalogue of %s", in.URL, it.Record.Kind(), i.Symbol, i.Market, m)
				continue
			}
			if name := Text(t, it.Record, "instrument"); name != i.Name || name == "" {
				t.Errorf("%s on %s is %q in the catalogue, %q by its symbol", i.Symbol, i.Market, name, i.Name)
			}
			unit := market.Unit(it.Record.Int(offset(t, it.Record, "amount_unit", market.FieldEnum)))
			if size := Dec(t, it.Record, "contract_size"); unit == market.UnitContract && size.Sign() <= 0 || unit == market.UnitUnknown {
				t.Errorf("amounts of %s on %s count %s of %q", i.Symbol, i.Market, unit, size)
			}
		}
	}
	return all
}

// Dec reads a decimal of a record by the field's name.
func Dec(t testing.TB, v market.View, name string) market.Decimal {
	t.Helper()
	return v.Dec(offset(t, v, name, market.FieldDec))
}

// Text reads a text of a record by the field's name.
func Text(t testing.TB, v market.View, name string) string {
	t.Helper()
	return string(v.Text(offset(t, v, name, market.FieldText)))
}

func offset(t testing.TB, v market.View, name string, is market.FieldType) int {
	t.Helper()
	for _, f := range market.Fields(v.Kind()) {
		if f.Name == name && f.Type == is {
			return f.Offset
		}
	}
	t.Fatalf("a %s has no %s of that type", v.Kind(), name)
	return 0
}
