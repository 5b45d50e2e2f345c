// Package listings asks venues what they list. It starts the venue's plugin as
// the runtime does, makes the plugin's requests through runtime/conn under the
// venue's budgets, and has the plugin decode the responses.
//
// Order: Ask is one question: a process, a journal of its own in a temporary
// directory, the requests, the answers; all of it is gone when Ask returns. The
// frames of a feed are not touched, so a large catalogue delays no data.
//
// Ownership: what Ask returns is the caller's. Budgets are shared with the feeds
// of the process, so that a question waits where the venue's limits say so, and
// is not made while a ban holds.
//
// A slow venue or a slow plugin delays the caller alone, at most until its
// context ends.
package listings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/ring"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// Question is what is asked of whom.
type Question struct {
	Plugin   host.Spec
	Venue    string
	Spec     source.MarketSpec // with overrides applied
	Weight   int               // of a request for the catalogue
	Config   schema.Values     // of the source block
	Egress   []string
	Proxy    string
	Turnover bool // of 24 hours, too
}

// Asker asks. It may be used by several goroutines.
type Asker struct {
	Host      *host.Host
	Budgets   *conn.Budgets
	Buffers   *pool.Slices[byte]     // of bodies; nil: made for each question
	Batches   *pool.Pool[pool.Batch] // of what plugins make of them; nil: made for each question
	Inflaters *conn.Inflaters        // of bodies; nil: made for each
	Dir       string                 // where temporary directories are made; empty: the system's
	Logger    zerolog.Logger
}

// Of is the question for a market of a source.
func Of(s *pipefile.Source, m market.Market, proxy string) (Question, error) {
	i := slices.IndexFunc(s.Manifest.Markets, func(x source.MarketSpec) bool { return x.Market == m })
	if i < 0 {
		return Question{}, fmt.Errorf("listings: %s has no market %s", s.Manifest.Venue, m)
	}
	spec, err := plan.Override(s.Manifest.Markets[i], "", s.HTTPURL)
	weight := 1
	if c := plan.Catalogue(&s.Manifest, m); c != nil {
		weight = max(c.Weight, 1)
	}
	return Question{Plugin: host.Spec{Kind: wire.KindSource, Name: s.Plugin.Name, Path: s.Plugin.Path, SHA256: s.Plugin.SHA256}, Venue: s.Manifest.Venue, Spec: spec,
		Weight: weight, Config: s.Config, Egress: s.Egress, Proxy: proxy}, err
}

const (
	segment = 16 << 20 // holds the largest body, 15 MiB
	bound   = 1 << 30
	taken   = 256 << 10 // of the plugin's output, at a time
)

// Ask gives what a market lists, by name. It tries once, and waits only where a
// budget or a ban makes it wait: ctx bounds that. An error names what was asked.
func (a *Asker) Ask(ctx context.Context, q Question) (all []selection.Listing, err error) {
	what := q.Venue + " " + q.Spec.Market.String()
	defer func() {
		if err != nil {
			all, err = nil, fmt.Errorf("listings: %s: %w", what, err)
		}
	}()
	if q.Turnover && q.Spec.TickersWeight <= 0 {
		return nil, fault.Errorf(fault.Stop, "the venue has no request for the volumes of all symbols")
	}
	dir, err := os.MkdirTemp(a.Dir, "catalogue-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	j, _, err := journal.Open(journal.Options{Dir: filepath.Join(dir, "frames"), SegmentBytes: segment, MaxBytes: bound, Sync: journal.SyncProcess, Logger: a.Logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	d := &decoding{j: j, market: q.Spec.Market}
	d.src, err = a.Host.NewSource(host.SourceSpec{Spec: q.Plugin, Label: "catalogue/" + q.Venue + "-" + q.Spec.Market.String(), Journal: j,
		Settings:    source.DecoderSettings{Market: q.Spec.Market, Config: q.Config},
		RestartFrom: func() (shm.Position, []wire.Remembered) { return d.next, nil }})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.src.Close()) }()
	feed, err := conn.New(conn.Settings{Venue: q.Venue, Spec: q.Spec, Config: q.Config, Renderer: d.src, Frames: frames{j},
		Buffers: a.Buffers, Inflaters: a.Inflaters, Budgets: a.Budgets, Logger: a.Logger, Proxy: q.Proxy, HTTP: conn.HTTPSettings{Egress: q.Egress}, CatalogueEvery: -1})
	if err != nil {
		return nil, err
	}
	g, gctx := sched.NewGroup(ctx, "")
	bg, stop := context.WithCancel(gctx)
	defer stop()
	g.Go("journal", func(context.Context) error { return j.Run(bg) })
	g.Go("plugin", func(at context.Context) error { return d.src.Run(sched.Placed(bg, at)) })
	g.Go("answers", func(context.Context) error {
		defer stop()
		return d.run(gctx, a.Batches)
	})
	g.Go("requests", func(context.Context) error {
		err := feed.Ask(gctx, source.RequestFor{Purpose: source.PurposeInstruments}, max(q.Weight, 1))
		if err == nil && q.Turnover {
			err = feed.Ask(gctx, source.RequestFor{Purpose: source.PurposeTickers}, q.Spec.TickersWeight)
		}
		if err == nil {
			d.end.Store(j.Tail())
			d.asked.Store(true)
			d.src.Interrupt()
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return d.listings(), nil
}

// frames is the journal as runtime/conn sees it.
type frames struct{ j *journal.Journal }

// Append implements conn.Journal.
func (f frames) Append(kind source.InputKind, conn uint32, wall, mono int64, head, rest []byte) (uint64, error) {
	pos, err := f.j.AppendV(shm.Header{Kind: uint8(kind), Conn: conn, Wall: wall, Mono: mono}, head, rest)
	if err != nil {
		err = fault.New(fault.Stop, err)
	}
	return pos, err
}

// Ring implements conn.Journal.
func (f frames) Ring() { f.j.Ring() }

// decoding collects what the plugin makes of the answers.
type decoding struct {
	j      *journal.Journal
	src    *host.Source
	market market.Market
	next   shm.Position
	end    atomic.Uint64 // behind the last answer, when asked
	asked  atomic.Bool

	gen   uint32
	local []market.Instrument // of this process, by id
	found map[string]*found

	refused error // the first answer that the plugin refused
}

// found is what is known of a symbol.
type found struct {
	selection.Listing
	listed bool
	ticker struct{ volume, quote, last float64 }
}

func (d *decoding) run(ctx context.Context, batches *pool.Pool[pool.Batch]) error {
	d.found = map[string]*found{}
	var b host.Batch
	if err := b.Lease(batches); err != nil {
		return err
	}
	defer b.Return()
	for ctx.Err() == nil {
		if err := d.src.Poll(&b, taken); err != nil {
			return err
		}
		for i := range b.Entries {
			if err := d.entry(&b, &b.Entries[i]); err != nil {
				return err
			}
		}
		d.next = max(d.next, b.Upto)
		if len(b.Entries) > 0 {
			continue
		}
		if d.asked.Load() && d.next >= d.end.Load() {
			return d.refused
		}
		d.src.Wait(time.Second)
	}
	return ctx.Err()
}

func (d *decoding) entry(b *host.Batch, e *ring.Entry) error {
	if b.Generation != d.gen || d.local == nil {
		d.gen, d.local = b.Generation, make([]market.Instrument, 1)
	}
	err := b.Items(e, func(v market.View, s *source.Signal) error {
		switch {
		case s != nil && s.Kind == source.SignalError:
			if d.refused == nil { // what the venue refused is told by the request
				d.refused = fmt.Errorf("the plugin can't read the answer: %s", s.Text)
			}
			return nil
		case s != nil && s.Kind == source.SignalDefine:
			return d.define(s.Text)
		case s != nil:
			return nil
		}
		id := v.Instrument()
		if id == 0 || int(id) >= len(d.local) {
			return fmt.Errorf("the plugin gave a record of instrument %d, which it never defined", id)
		}
		d.record(&d.local[id], v)
		return nil
	})
	d.next = max(d.next, e.Next)
	return err
}

func (d *decoding) define(text []byte) error {
	var i market.Instrument
	if err := json.Unmarshal(text, &i); err != nil {
		return fmt.Errorf("the plugin's definition of an instrument: %w", err)
	}
	if i.Symbol == "" { // more about one that is known
		return nil
	}
	if int(i.ID) != len(d.local) {
		return fmt.Errorf("the plugin defined instrument %d where %d was due", i.ID, len(d.local))
	}
	d.local = append(d.local, i)
	return nil
}

// Offsets of the fields that are read, by name.
var instrumentAt, tickerAt = offsets(market.KindInstrument), offsets(market.KindTicker)

func offsets(k market.Kind) map[string]int {
	at := map[string]int{}
	for _, f := range market.Fields(k) {
		at[f.Name] = f.Offset
	}
	return at
}

func (d *decoding) record(i *market.Instrument, v market.View) {
	if i.Market != d.market {
		return
	}
	f := d.found[i.Symbol]
	if f == nil {
		f = &found{Listing: selection.Listing{Symbol: i.Symbol, Market: i.Market, Name: i.Name, AmountUnit: i.AmountUnit, ContractSize: i.ContractSize}}
		d.found[i.Symbol] = f
	}
	switch v.Kind() {
	case market.KindInstrument:
		f.instrument(v)
	case market.KindTicker:
		f.ticker.volume, f.ticker.quote, f.ticker.last = v.Dec(tickerAt["volume"]).Float64(), v.Dec(tickerAt["quote_volume"]).Float64(), v.Dec(tickerAt["last"]).Float64()
	}
}

func (f *found) instrument(v market.View) {
	f.listed = true
	text := func(name string) string { return string(v.Text(instrumentAt[name])) }
	dec := func(name string) market.Decimal { return v.Dec(instrumentAt[name]) }
	if n := text("instrument"); n != "" {
		f.Name = n
	}
	f.Base, f.Quote, f.Settle = text("base"), text("quote"), text("settle")
	if n, err := market.ParseName(f.Name); err == nil { // a venue's own codes (XXBT) are in its symbol
		f.Base, f.Quote = n.Base, n.Quote
		f.Settle = n.Settle
		if n.End != "" && n.Settle == "" {
			f.Settle = n.Quote
		}
	}
	f.TickSize, f.LotSize, f.Strike = dec("tick_size"), dec("lot_size"), dec("strike")
	if c := dec("contract_size"); !c.IsNull() {
		f.ContractSize = c
	}
	if u := market.Unit(v.Int(instrumentAt["amount_unit"])); u != market.UnitUnknown {
		f.AmountUnit = u
	}
	f.Option, f.Status = market.OptionType(v.Int(instrumentAt["option_type"])), market.Status(v.Int(instrumentAt["status"]))
	f.Expiry = time.Time{}
	if x := v.Int(instrumentAt["expiry"]); x != market.None && x > 0 {
		f.Expiry = time.Unix(0, x).UTC()
	}
}

// turnover is in quote currency: what the venue says, else its volume at its last
// price; contracts count their size, which is in quote currency where they are
// settled in their base. Zero where it can't be told.
func (f *found) turnover() float64 {
	t := f.ticker
	if t.quote > 0 {
		return t.quote
	}
	v := t.volume
	if size := f.ContractSize.Float64(); f.AmountUnit == market.UnitContract && size > 0 {
		v *= size
	}
	if f.AmountUnit != market.UnitQuote && (f.AmountUnit != market.UnitContract || f.Market != market.MarketInverse) {
		v *= t.last
	}
	if v > 0 && !math.IsInf(v, 1) {
		return v
	}
	return 0
}

// listings are what the venue lists, by name and symbol.
func (d *decoding) listings() []selection.Listing {
	all := make([]selection.Listing, 0, len(d.found))
	for _, f := range d.found {
		if f.listed {
			f.Turnover = f.turnover()
			all = append(all, f.Listing)
		}
	}
	slices.SortFunc(all, func(a, b selection.Listing) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Symbol, b.Symbol)
	})
	return all
}
