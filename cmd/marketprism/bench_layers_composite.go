package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/memory"
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// steps are the layers in the order in which the composite takes them up: each
// keeps those before it.
var steps = []string{"none", "pools", "connections", "scheduler", "memory"}

// composite is the work that all layers take part in: a request over loopback, its
// answer decoded by the source plugin's decoder, a book message filled with the
// levels, and encoded behind others.
type composite struct {
	step    int // of steps
	request conn.HTTPRequest
	path    []byte
	src     source.Source
	client  *http.Client   // without the connections' layer
	http    *conn.HTTPPool // with it
	msgs    *pool.Messages
	tools   *pool.Pool[tools]
	hist    *telemetry.Histogram
	free    chan *composed
}

// tools are what decodes an answer, and its memory.
type tools struct {
	dec    source.Decoder
	out    *source.Out
	in     source.Input
	answer conn.HTTPResponse
}

// composed is one task of the composite. There are as many as may be under way.
type composed struct {
	c    *composite
	from time.Time // when it was handed over
	err  error
}

func (t *composed) Run(ctx context.Context) error {
	if t.err == nil { // the first one is kept
		t.err = t.c.once(ctx)
	}
	t.c.hist.Observe(time.Since(t.from))
	t.c.free <- t
	return nil
}

func (c *composite) newTools() (t tools, err error) {
	t.dec, err = c.src.NewDecoder(source.DecoderSettings{Market: market.MarketSpot})
	t.out = source.NewOut(c.src, market.MarketSpot)
	return t, err
}

// once does the work, with memory of its own or leased.
func (c *composite) once(ctx context.Context) error {
	if c.step < 1 {
		t, err := c.newTools()
		if err != nil {
			return err
		}
		return c.work(ctx, &t, new(market.Book), new(pool.Batch))
	}
	t, err := c.tools.Lease()
	if err != nil {
		return err
	}
	defer t.Return()
	book, err := c.msgs.Books.Lease()
	if err != nil {
		return err
	}
	defer book.Return()
	batch, err := c.msgs.Batches.Lease()
	if err != nil {
		return err
	}
	defer batch.Return()
	return c.work(ctx, t.Value(), book.Value(), batch.Value())
}

func (c *composite) work(ctx context.Context, t *tools, book *market.Book, batch *pool.Batch) (err error) {
	if c.step < 2 {
		t.answer.Status, t.answer.Body, err = plainGet(ctx, c.client, c.request.URL)
	} else {
		err = c.http.Do(ctx, &c.request, &t.answer)
	}
	if err != nil {
		return err
	}
	t.in = source.Input{Kind: source.InputHTTP, Status: t.answer.Status, URL: c.path, Data: t.answer.Body, Recv: time.Now().UnixNano()}
	t.out.Begin(&t.in)
	if err := t.dec.Decode(&t.in, t.out); err != nil {
		return err
	}
	for b := t.out.Bytes(); len(b) > 0; {
		if source.IsSignal(b) {
			_, n, err := source.ParseSignal(b)
			if err != nil {
				return err
			}
			b = b[n:]
			continue
		}
		v, err := market.Validate(b)
		if err != nil {
			return err
		}
		b = b[v.Size():]
		fillBook(book, v)
		batch.Append(book)
	}
	if batch.Len() != 1 || len(book.Bids) != benchDepth || len(book.Asks) != benchDepth {
		return fmt.Errorf("%d records of an answer with one book of %d levels a side", batch.Len(), benchDepth)
	}
	return nil
}

// fillBook makes a book message of an encoded one.
func fillBook(b *market.Book, v market.View) {
	b.Header, b.Depth, b.FirstSeq, b.Checksum = v.Header(), v.Depth(), v.FirstSeq(), v.Checksum()
	for _, side := range []struct {
		to   *[]market.Level
		from market.Levels
	}{{&b.Bids, v.Bids()}, {&b.Asks, v.Asks()}} {
		for i := range side.from.Len() {
			*side.to = append(*side.to, side.from.At(i))
		}
	}
}

func partComposite(ctx context.Context, r *partRun) (err error) {
	c := &composite{step: slices.Index(steps, r.way), request: conn.HTTPRequest{URL: "http://" + r.server + depthPath}, path: []byte(depthPath), src: bundledSources["binance"](), free: make(chan *composed, layerConns)}
	if c.step < 0 {
		return fmt.Errorf("no such step")
	}
	t := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	c.client = &http.Client{Transport: t}
	if c.http, err = conn.NewHTTPPool(conn.HTTPPoolSettings{MaxConns: layerConns}); err != nil {
		return err
	}
	defer c.http.Close()
	if c.msgs, err = pool.NewMessages(pool.MessageOptions{}); err != nil {
		return err
	}
	if c.tools, err = pool.New(pool.Options[tools]{Name: "tools", New: c.newTools}); err != nil {
		return err
	}
	for range layerConns {
		c.free <- &composed{c: c}
	}
	s := sched.New(sched.Settings{Logger: zerolog.Nop()})
	p := s.NewPool(sched.PoolSettings{Name: "bench", Workers: layerConns})
	k := p.Kind("bench", 0)
	err = r.withPool(ctx, s, p, func(ctx context.Context) error {
		g, gctx := sched.NewGroup(ctx, "bench memory")
		watch, stop := context.WithCancel(gctx)
		if c.step >= 4 {
			dir, err := os.MkdirTemp("", "marketprism-bench-")
			if err != nil {
				stop()
				return err
			}
			defer os.RemoveAll(dir)
			// Ten times as often as it is set: the run is shorter than its interval.
			m, err := memory.New(memory.Settings{Dir: dir, Logger: zerolog.Nop(), Thresholds: memory.Defaults().Scaled(10)})
			if err != nil {
				stop()
				return err
			}
			g.Go("memory", func(context.Context) error { return m.Run(watch) })
		}
		submit := func(ts []sched.Task) error { _, err := p.SubmitBatch(ctx, ts); return err }
		if c.step < 3 {
			submit = func(ts []sched.Task) error {
				for _, t := range ts {
					go t.Runner.Run(ctx)
				}
				return nil
			}
		}
		err := r.measure(func(n int, hist *telemetry.Histogram) (uint64, error) { return c.drive(n, hist, k, submit) })
		stop()
		if werr := g.Wait(); !errors.Is(werr, context.Canceled) {
			err = errors.Join(err, werr)
		}
		return err
	})
	r.countPool(c.http)
	for _, s := range []pool.Stats{c.msgs.Books.Stats(), c.msgs.Batches.Stats(), c.tools.Stats()} {
		r.res.Leases, r.res.Hits = r.res.Leases+s.Leases, r.res.Hits+s.Hits
	}
	return errors.Join(err, c.msgs.Close(), c.tools.Close())
}

// drive hands n tasks over, as many at a time as are free, and waits for all.
func (c *composite) drive(n int, hist *telemetry.Histogram, k *sched.Kind, submit func([]sched.Task) error) (ok uint64, err error) {
	c.hist = hist
	batch := make([]sched.Task, 0, layerConns)
	for left := n; left > 0; {
		t := <-c.free
		for batch = batch[:0]; ; {
			t.from = time.Now()
			batch = append(batch, sched.Task{Runner: t, Kind: k})
			if left--; left == 0 || len(c.free) == 0 {
				break
			}
			t = <-c.free
		}
		if err := submit(batch); err != nil {
			return 0, err
		}
	}
	all := make([]*composed, 0, layerConns)
	for len(all) < cap(all) {
		all = append(all, <-c.free)
	}
	for _, t := range all {
		err = errors.Join(err, t.err)
		c.free <- t
	}
	return uint64(n), err
}
