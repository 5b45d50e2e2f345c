package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// Options of a replay.
type Options struct {
	Manifest source.Manifest // of the venue's plugin
	Plugin   host.Spec
	Host     host.Options
	Plan     *plan.Plan // a pipeline whose sinks take the records; nil: Each reads them
	Speed    float64    // times the recorded pace; 0: as fast as it goes
	Logger   zerolog.Logger
	Build    string
	WorkDir  string
}

// replaySegment is the segment size of a replay's journals, which keep all.
const replaySegment = 32 << 20

// Run replays one input through a data directory of its own, which is removed
// at the end. It calls each for every record with its instrument, in order, if
// each isn't nil.
func Run(ctx context.Context, in *Input, o Options, each func(market.View, *market.Instrument) error) (frames Frames, err error) {
	dir, remove, err := engine.TempDir()
	if err != nil {
		return frames, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	name := in.Venue + "-" + in.Market.String()
	p := o.Plan
	if p == nil {
		p = &plan.Plan{Latency: pipefile.LatencyBalanced, Feeds: []*plan.Feed{{Name: name, Venue: in.Venue, Market: in.Market,
			Plugin: o.Plugin.Name, Manifest: &o.Manifest, Channels: []*plan.Channel{}}},
			Processes: []plan.Process{{Name: "source/" + name, Kind: wire.KindSource, Plugin: o.Plugin.Name, Path: o.Plugin.Path, SHA256: o.Plugin.SHA256}}}
	} else {
		c := *p
		p = &c
		keep := p.Feeds[:0:0]
		for _, f := range p.Feeds {
			if f.Name == name {
				keep = append(keep, f)
			}
		}
		if p.Feeds = keep; len(keep) == 0 {
			return frames, fmt.Errorf("replay: %s is of %s, which is no feed of the pipeline", in.Path, name)
		}
	}
	p.DataDir, p.Sync, p.Listen = dir, "process", ""
	p.Journals = nil
	add := func(name, feed string, content plan.Content) {
		p.Journals = append(p.Journals, plan.Journal{Name: name, Feed: feed, Content: content, SegmentBytes: replaySegment, MaxBytes: 1 << 50})
	}
	add("frames", name, plan.Frames)
	add("records", name, plan.Records)
	for _, pr := range p.Processors {
		for _, j := range pr.Journals {
			add(j, name, plan.Derived)
		}
	}
	timer := time.Second
	e, err := engine.New(engine.Options{Plan: p, Host: o.Host, Logger: o.Logger, Build: o.Build, WorkDir: o.WorkDir, Drain: 24 * time.Hour,
		Replay: func(ctx context.Context, _ string, j *journal.Journal) error {
			last, err := Feed(ctx, in, j, o.Speed, timer, &frames)
			if err == nil {
				_, err = j.Append(shm.Header{Kind: uint8(source.InputNote), Wall: last}, flow.Note{Note: flow.NoteStop}.Encode())
				j.Ring()
			}
			return err
		}})
	if err != nil {
		return frames, err
	}
	if err := e.Run(ctx, ctx); err != nil {
		return frames, err
	}
	if each == nil {
		return frames, nil
	}
	return frames, Records(filepath.Join(dir, "feeds", name, "records"), in.Venue, in.Market, each)
}

// Records calls each for every record of a records journal with its instrument.
func Records(dir, venue string, m market.Market, each func(market.View, *market.Instrument) error) error {
	r, err := shm.OpenReader(dir, 0, nil)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer r.Close()
	table := map[market.InstrumentID]*market.Instrument{0: {Venue: venue, Market: m}}
	var head []market.Instrument
	if b := r.Head(); len(b) > 0 && json.Unmarshal(b, &head) == nil {
		for i := range head {
			table[head[i].ID] = &head[i]
		}
	}
	for {
		rec, ok, err := r.Next()
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		if !ok {
			return nil
		}
		if rec.Kind == wire.KindDefine {
			i := new(market.Instrument)
			if err := json.Unmarshal(rec.Payload, i); err != nil {
				return fmt.Errorf("replay: %s: definition at %d: %w", dir, rec.Pos, err)
			}
			table[i.ID] = i
			continue
		}
		v, err := market.Validate(rec.Payload)
		if err != nil {
			return fmt.Errorf("replay: %s: record at %d: %w", dir, rec.Pos, err)
		}
		i := table[v.Instrument()]
		if i == nil {
			return fmt.Errorf("replay: %s: record at %d is of instrument %d, which is not defined", dir, rec.Pos, v.Instrument())
		}
		if err := each(v, i); err != nil {
			return err
		}
	}
}
