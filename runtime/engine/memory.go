package engine

import (
	"context"
	"path/filepath"
	"time"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/memory"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/heap"
)

// MemoryDir is where snapshots of memory are kept, below the data directory.
const MemoryDir = "memory"

// MemoryOptions configure the memory monitor.
type MemoryOptions struct {
	Off        bool
	Thresholds memory.Thresholds    // memory.Defaults() if zero
	Pools      func() []memory.Pool // beside the engine's own; may be nil
}

// openMemory makes the memory monitor of this engine, unless it is switched off.
func (e *Engine) openMemory() (err error) {
	if e.opt.Memory.Off || e.opt.Replay != nil {
		return nil
	}
	s := memory.Settings{Dir: filepath.Join(e.dir, MemoryDir), Thresholds: e.opt.Memory.Thresholds, Logger: e.log,
		Plugins: e.memoryPlugins, Load: e.memoryLoad, Journals: e.memoryJournals, Batches: e.memoryBatches, Pools: e.memoryPools}
	e.memory, err = memory.New(s)
	return err
}

// Memory is the memory monitor; nil if it is switched off.
func (e *Engine) Memory() *memory.Monitor { return e.memory }

// asker is a plugin's account of itself.
type asker interface {
	Health(context.Context) (wire.Health, error)
	Heap(context.Context) ([]heap.Site, error)
	State() host.State
}

func (e *Engine) memoryPlugins() (all []memory.Plugin) {
	_, feeds, sinks := e.now()
	add := func(name string, a asker, limit int64) {
		st := a.State()
		if st.Phase != host.Running || st.Pid == 0 {
			return
		}
		all = append(all, memory.Plugin{Name: name, Pid: st.Pid, Limit: limit, Ask: func(ctx context.Context) (m memory.PluginHeap, err error) {
			// The heap first: it collects if it must, and health then counts that.
			if m.Sites, err = a.Heap(ctx); err != nil {
				return m, err
			}
			h, err := a.Health(ctx)
			m.Live, m.Runtime, m.Goroutines, m.Cycles = h.LiveBytes, h.RuntimeBytes, h.Goroutines, h.GCCycles
			return m, err
		}})
	}
	for _, f := range feeds {
		add("source/"+f.p.Name, f.src, host.SourceMemory)
	}
	for _, d := range sinks {
		add("sink/"+d.p.Name, d.proc, host.SinkMemory)
	}
	return all
}

func (e *Engine) memoryLoad() (l memory.Load) {
	_, feeds, _ := e.now()
	for _, f := range feeds {
		l.Frames += f.frames.Stats().Records
		l.Books += int(f.lane.Counts.Books.Load())
		if f.conn != nil {
			l.Connections += len(f.conn.Stats())
		}
	}
	return l
}

func (e *Engine) memoryJournals() (all []memory.Journal) {
	pl, feeds, _ := e.now()
	for _, f := range feeds {
		for _, j := range f.allJournals() {
			name := f.p.Name + "-" + filepath.Base(j.Dir())
			for i := range pl.Journals {
				if p := &pl.Journals[i]; p.Name == name {
					all = append(all, memory.Journal{Name: name, Dir: j.Dir(), Max: p.MaxBytes, Age: time.Duration(p.MaxAge),
						Segment: p.SegmentBytes, Held: j.Stats().TotalBytes})
				}
			}
		}
	}
	return all
}

func (e *Engine) memoryBatches() (all []memory.Batch) {
	_, _, sinks := e.now()
	for _, d := range sinks {
		all = append(all, memory.Batch{Sink: d.p.Name, Records: d.p.Batch.MaxRecords})
	}
	return all
}
