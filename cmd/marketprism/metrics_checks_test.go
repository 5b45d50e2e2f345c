package main

import (
	"maps"
	"math"
	"runtime"
	"time"

	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// metricChecks say of each metric what it must be after newMetricsRun's life. A
// layer's checks stand together; a new layer adds a map here.
var metricChecks = merged(runtimeChecks, selectionChecks, checkpointChecks, journalChecks, flowChecks, bookChecks, pluginChecks, sinkChecks,
	reloadChecks, adminChecks, memoryChecks, poolChecks, connChecks, schedChecks)

func merged(layers ...map[string]func(*check)) map[string]func(*check) {
	all := map[string]func(*check){}
	for _, l := range layers {
		maps.Copy(all, l)
	}
	return all
}

// never is the check of what must not have happened in this run; what makes it
// happen is tested beside the code that counts it.
func never(name string) func(*check) {
	return func(c *check) {
		for _, s := range []scrape{c.calm, c.end, c.again} {
			if len(s.all(name)) == 0 {
				c.Error("it isn't in each scrape")
			}
			c.equal(s, 0, name)
		}
	}
}

const (
	lake = "parquet.lake"
	top  = "null.top"
	src  = "source/" + metricsFeed
)

var runtimeChecks = map[string]func(*check){
	"runtime_ready":      func(c *check) { c.equal(c.calm, 1, "runtime_ready"); c.equal(c.again, 1, "runtime_ready") },
	"runtime_feed_ready": func(c *check) { c.equal(c.end, 1, "runtime_feed_ready", "feed", metricsFeed) },
	"runtime_start_timestamp_seconds": func(c *check) {
		c.between(c.calm, stamp(c.began), stamp(c.calmStamp), "runtime_start_timestamp_seconds")
		c.equal(c.end, c.calm.of("runtime_start_timestamp_seconds"), "runtime_start_timestamp_seconds")
		c.between(c.again, stamp(c.lastAt), stamp(time.Now()), "runtime_start_timestamp_seconds")
	},
	"runtime_build_info": func(c *check) {
		c.equal(c.end, 1, "runtime_build_info", "version", build(), "go_version", runtime.Version())
	},
	"runtime_plan_info": func(c *check) {
		c.equal(c.end, 1, "runtime_plan_info")
		if a, b := c.end.all("runtime_plan_info")[0].labels, c.again.all("runtime_plan_info")[0].labels; !maps.Equal(a, b) || len(a["plan"]) < 16 || a["pipeline"] == "" {
			c.Errorf("the same pipeline is %v and then %v", a, b)
		}
	},
	"runtime_feeds": func(c *check) { c.equal(c.end, 1, "runtime_feeds") },
	"runtime_sinks": func(c *check) { c.equal(c.end, 2, "runtime_sinks") },
	"runtime_disk_free_bytes": func(c *check) {
		free, _, err := journal.Space(c.dir)
		if err != nil {
			c.Fatal(err)
		}
		// Others write to the disk as well.
		c.between(c.again, float64(free)/2, float64(free)*2, "runtime_disk_free_bytes")
	},
	"runtime_disk_size_bytes": func(c *check) {
		_, size, err := journal.Space(c.dir)
		if err != nil {
			c.Fatal(err)
		}
		c.equal(c.end, float64(size), "runtime_disk_size_bytes")
	},
	"runtime_holds_total": never("runtime_holds_total"),
}

// Nothing is selected in this run; TestSelection's has them by value.
var selectionChecks = map[string]func(*check){
	"runtime_selected_instruments":        unselected("runtime_selected_instruments"),
	"runtime_selection_changes_total":     unselected("runtime_selection_changes_total"),
	"runtime_catalogues_total":            unselected("runtime_catalogues_total"),
	"runtime_catalogue_timestamp_seconds": unselected("runtime_catalogue_timestamp_seconds"),
}

// unselected is the check of a metric that feeds have which selectors choose.
func unselected(name string) func(*check) {
	return func(c *check) {
		if got := c.end.all(name); len(got) > 0 {
			c.Errorf("no selector is in the pipeline, and %v", got)
		}
	}
}

var checkpointChecks = map[string]func(*check){
	// One at the first start, and one each segment of frames.
	"checkpoint_writes_total": func(c *check) {
		segments := math.Floor(c.end.of("journal_bytes_total", "journal", "frames") / (1 << 20))
		c.between(c.end, max(2, 1+segments/2), 2+segments, "checkpoint_writes_total")
	},
	"checkpoint_errors_total": never("checkpoint_errors_total"),
	"checkpoint_write_seconds": func(c *check) {
		c.equal(c.end, c.end.of("checkpoint_writes_total"), "checkpoint_write_seconds")
		c.mean(c.end, 1e-6, 5, "checkpoint_write_seconds")
	},
	"checkpoint_timestamp_seconds": func(c *check) {
		c.between(c.end, stamp(c.calmStamp), stamp(c.lastAt), "checkpoint_timestamp_seconds")
	},
	"checkpoint_behind_bytes": func(c *check) {
		c.between(c.end, 0, min(2<<20, c.end.of("journal_bytes_total", "journal", "frames")), "checkpoint_behind_bytes")
	},
}

// eachJournal calls f with the names of the run's journals, as labels and as
// directories.
func eachJournal(f func(label, dir string)) {
	f("frames", "frames")
	f("records", "records")
	f("book_snapshot.top", metricsFeed+"-book_snapshot-top")
}

var journalChecks = map[string]func(*check){
	"journal_records_total": func(c *check) {
		// Every record is either an input of the lane or one of its own; what
		// stands in the journals is what was counted, and the venue's frames
		// are among them.
		texts, _ := inputs(c.first("frames", c.calm.of("journal_records_total", "journal", "frames")))
		if sent := float64(framesSent(c.sent)); texts != sent {
			c.Errorf("%v frames are in the journal, the venue had sent %v", texts, sent)
		}
		eachJournal(func(label, dir string) {
			c.first(dir, c.end.of("journal_records_total", "journal", label))
		})
	},
	"journal_bytes_total": func(c *check) {
		eachJournal(func(label, dir string) {
			sum := uint64(0)
			for _, r := range c.first(dir, c.end.of("journal_records_total", "journal", label)) {
				sum += shm.RecordBytes(len(r.Payload))
			}
			c.equal(c.end, float64(sum), "journal_bytes_total", "journal", label)
		})
	},
	"journal_refused_total": never("journal_refused_total"),
	"journal_full":          never("journal_full"),
	"journal_used_bytes": func(c *check) {
		eachJournal(func(label, _ string) {
			n := c.end.of("journal_segments", "journal", label)
			// Those in use, one or two prepared, and the reserved one of frames.
			c.between(c.end, n*(1<<20), (n+2)*(1<<20)+journal.ReserveBytes, "journal_used_bytes", "journal", label)
		})
	},
	"journal_max_bytes": func(c *check) {
		eachJournal(func(label, _ string) { c.equal(c.end, 256<<20, "journal_max_bytes", "journal", label) })
	},
	"journal_retained_seconds": func(c *check) {
		c.between(c.end, c.lastAt.Sub(c.calmStamp).Seconds(), c.lastAt.Sub(c.began).Seconds(), "journal_retained_seconds", "journal", "frames")
		c.between(c.again, c.end.of("journal_retained_seconds", "journal", "frames"), time.Since(c.began).Seconds(), "journal_retained_seconds", "journal", "frames")
	},
	"journal_fill_seconds": func(c *check) {
		// At the mean rate so far it would take this long; the present one
		// is of the last minute.
		n := c.end.of("journal_bytes_total", "journal", "frames")
		fill := (256<<20 - n) / (n / c.lastAt.Sub(c.began).Seconds())
		c.between(c.end, fill/5, fill*5, "journal_fill_seconds", "journal", "frames")
	},
	"journal_segments": func(c *check) {
		eachJournal(func(label, _ string) {
			n := c.end.of("journal_bytes_total", "journal", label) / (1 << 20)
			c.between(c.end, math.Ceil(n), math.Ceil(n*1.1)+1, "journal_segments", "journal", label)
		})
	},
	"journal_segments_dropped_total": never("journal_segments_dropped_total"),
	"journal_segments_late_total": func(c *check) {
		c.between(c.end, 0, c.end.of("journal_segments"), "journal_segments_late_total")
	},
	"journal_readers_passed_total": never("journal_readers_passed_total"),
	"journal_sync_seconds": func(c *check) {
		// The default: each 50 ms while something is appended; two segments'
		// headers and ends come on top. Records are synced by rolls.
		c.between(c.end, 10, c.lastAt.Sub(c.began).Seconds()*20+10*c.end.of("journal_segments"), "journal_sync_seconds", "journal", "frames")
		c.mean(c.end, 1e-7, 5, "journal_sync_seconds", "journal", "frames")
		c.between(c.end, c.end.of("sink_rolls_total", "sink", lake)-3, math.Inf(1), "journal_sync_seconds", "journal", "records") // some roll again what was synced
	},
	"journal_synced_bytes_total": func(c *check) {
		// Settled: all of the frames but the last ticks are on the disk, and
		// no byte was written much more than once.
		n := c.end.of("journal_bytes_total", "journal", "frames")
		c.between(c.end, n-4096, 1.2*n+(1<<20), "journal_synced_bytes_total", "journal", "frames")
	},
	"journal_unsynced_bytes": func(c *check) {
		c.between(c.end, 0, 4096, "journal_unsynced_bytes", "journal", "frames")
		c.between(c.end, 0, c.end.of("journal_bytes_total", "journal", "records")+(1<<20), "journal_unsynced_bytes", "journal", "records")
	},
	"journal_sync_errors_total": never("journal_sync_errors_total"),
	"journal_recovered_clean": func(c *check) {
		eachJournal(func(label, _ string) {
			c.equal(c.end, 1, "journal_recovered_clean", "journal", label)
			c.equal(c.again, 0, "journal_recovered_clean", "journal", label) // it was killed
		})
	},
	// kill -9 tears and damages nothing: commit words are stored last.
	"journal_recovered_bad_records":      never("journal_recovered_bad_records"),
	"journal_recovered_torn_bytes":       never("journal_recovered_torn_bytes"),
	"journal_recovered_damaged_segments": never("journal_recovered_damaged_segments"),
}

// framesSent counts text frames that were handed to sockets.
func framesSent(es []emulator.Entry) (n int) {
	for _, e := range es {
		if e.Kind == emulator.EntryFrame && e.Flags&emulator.FlagWithheld == 0 {
			n++
		}
	}
	return n
}

// madeOf are the records of a channel that the venue had sent.
func madeOf(es []emulator.Entry, ch emulator.Channel) (n float64) {
	for _, e := range es {
		if e.Kind == emulator.EntryFrame && e.Channel == ch && e.Flags == 0 {
			n++
		}
	}
	return n
}

var flowChecks = map[string]func(*check){
	"flow_entries_total": func(c *check) {
		// Every frame gave something, but acknowledgements may not.
		n := c.end.of("journal_records_total", "journal", "frames")
		c.between(c.end, n-50, n, "flow_entries_total")
	},
	"flow_records_total": func(c *check) {
		c.equal(c.calm, madeOf(c.sent, emulator.ChannelTrades), "flow_records_total", "kind", "trade")
		for _, s := range []scrape{c.calm, c.end} {
			have, defs := kinds(c.first("records", s.of("journal_records_total", "journal", "records")))
			sum := defs
			for kind, n := range have {
				c.equal(s, n, "flow_records_total", "kind", kind)
				sum += n
			}
			c.equal(s, sum-defs, "flow_records_total")
		}
	},
	"flow_lag_bytes": func(c *check) {
		c.equal(c.end, 0, "flow_lag_bytes")
		// 2,000 events a second for at least two seconds wait for the plugin that stands still.
		c.between(c.stalled, 200_000, math.Inf(1), "flow_lag_bytes")
	},
	"flow_lag_seconds": func(c *check) {
		c.equal(c.end, 0, "flow_lag_seconds")
		c.between(c.stalled, 2, c.stall.Seconds()+0.1, "flow_lag_seconds")
	},
	"flow_exchange_latency_seconds": func(c *check) {
		// Each live record once: calm had no other ones than trades and book
		// updates of the stream.
		c.equal(c.calm, c.calm.of("flow_records_total", "kind", "trade"), "flow_exchange_latency_seconds", "channel", "trades")
		c.mean(c.end, 0, 5, "flow_exchange_latency_seconds", "channel", "trades") // loopback; the machine may be busy
	},
	"flow_clock_ahead_total": func(c *check) { // venue and runtime have the same clock
		c.between(c.end, 0, c.end.of("flow_records_total")/100, "flow_clock_ahead_total")
	},
	"flow_record_latency_seconds": func(c *check) {
		c.equal(c.end, c.end.of("flow_records_total"), "flow_record_latency_seconds")
		// The plugin stood still for as long as it takes to be found, while
		// frames came: so long they had to wait, half of that in the mean.
		waited := c.end.sum("flow_record_latency_seconds") - c.stalled.sum("flow_record_latency_seconds")
		if waited < 2*2000*2/2 {
			c.Errorf("records waited %v s behind the stall together", waited)
		}
	},
	"flow_last_record_timestamp_seconds": func(c *check) {
		last := map[market.Channel]int64{}
		for _, rec := range c.first("records", c.end.of("journal_records_total", "journal", "records")) {
			if v := market.View(rec.Payload); rec.Kind < wire.KindDefine && v.Origin() == market.OriginLive {
				last[v.Channel()] = v.TsRecv()
			}
		}
		for _, ch := range []market.Channel{market.ChannelTrades, market.ChannelBook} {
			c.equal(c.end, float64(last[ch])/1e9, "flow_last_record_timestamp_seconds", "channel", ch.String())
		}
	},
	"flow_streams": func(c *check) {
		for _, ch := range []string{"trades", "book"} {
			c.equal(c.end, 2, "flow_streams", "channel", ch)
			c.equal(c.again, 2, "flow_streams", "channel", ch)
		}
	},
	"flow_streams_broken": func(c *check) { c.equal(c.end, 0, "flow_streams_broken"); c.equal(c.again, 0, "flow_streams_broken") },
	"flow_gaps_total": func(c *check) {
		c.equal(c.calm, 0, "flow_gaps_total")
		for _, w := range []struct {
			channel, cause string
			n              float64
		}{{"book", "crossed", 1}, {"book", "disconnect", 2}, {"trades", "disconnect", 2}, {"trades", "gap", 2}} {
			c.equal(c.end, w.n, "flow_gaps_total", "channel", w.channel, "cause", w.cause)
		}
		// The one injected. And a snapshot may come before the connection that is
		// opened behind the disconnect: what passed between them is one, too.
		c.between(c.end, 1, 3, "flow_gaps_total", "channel", "book", "cause", "gap")
		c.equal(c.end, 7+c.end.of("flow_gaps_total", "channel", "book", "cause", "gap"), "flow_gaps_total")
		c.equal(c.again, 4, "flow_gaps_total", "cause", "runtime_down") // each stream, for it was killed
	},
	"flow_missing_total": func(c *check) {
		c.equal(c.calm, 0, "flow_missing_total")
		// Those withheld, the one out of order, and what the disconnect took.
		c.between(c.end, lostTrades+1, lostTrades+1+10_000, "flow_missing_total", "channel", "trades")
		seen := c.end.of("flow_records_total", "kind", "trade")
		missing, again := c.end.of("flow_missing_total", "channel", "trades"), c.end.of("flow_backfilled_total")
		if made := c.lastTrades(); seen+missing-again != made+1 {
			c.Errorf("%v trades came, %v of them by history, and %v were missing; the venue numbered %v", seen, again, missing, made)
		}
	},
	"flow_backfills_total": func(c *check) {
		c.equal(c.calm, 0, "flow_backfills_total")
		// Those withheld, the one out of order, and what the disconnect took of each
		// symbol, if it took any.
		asked := c.end.of("flow_backfills_total")
		c.between(c.end, 2, 4, "flow_backfills_total")
		c.equal(c.end, asked, "flow_backfills_total", "result", "whole")
		c.between(c.end, 1, asked, "conn_http_requests_total", "purpose", "history") // an answer may hold what two of them lack
	},
	"flow_backfilled_total": func(c *check) {
		c.equal(c.calm, 0, "flow_backfilled_total")
		// All that was missing but the one that came late.
		c.equal(c.end, c.end.of("flow_missing_total", "channel", "trades")-1, "flow_backfilled_total")
	},
	"flow_backfilling": func(c *check) { c.equal(c.end, 0, "flow_backfilling"); c.equal(c.again, 0, "flow_backfilling") },
	"flow_decode_errors_total": func(c *check) {
		c.equal(c.calm, 0, "flow_decode_errors_total")
		c.equal(c.end, 2, "flow_decode_errors_total") // half a frame, and the answer that was no snapshot
	},
	"flow_notices_total": never("flow_notices_total"),
	"flow_duplicates_total": func(c *check) {
		c.equal(c.calm, 0, "flow_duplicates_total")
		// What two connections carried while one took over from the other, and the
		// one that was sent twice. Books leave out the others themselves.
		c.equal(c.end, c.repeated(emulator.ChannelTrades), "flow_duplicates_total", "channel", "trades")
		books := c.repeated(emulator.ChannelBook)
		c.between(c.end, books/2, books, "flow_duplicates_total", "channel", "book")
		c.between(c.end, c.replaced.of("flow_duplicates_total", "channel", "trades")+1, 1e6, "flow_duplicates_total", "channel", "trades")
	},
	"flow_out_of_order_total": func(c *check) {
		c.equal(c.calm, 0, "flow_out_of_order_total")
		c.equal(c.end, 1, "flow_out_of_order_total")
	},
	"flow_diverged_total": never("flow_diverged_total"),
}

// lastTrades is how many trades the venue had numbered up to end, by the trade
// records themselves: the last number of each symbol less the first, and one.
func (r *metricsRun) lastTrades() (n float64) {
	type span struct{ first, last int64 }
	spans := map[market.InstrumentID]span{}
	for _, rec := range r.first("records", r.end.of("journal_records_total", "journal", "records")) {
		if market.Kind(rec.Kind) != market.KindTrade {
			continue
		}
		v := market.View(rec.Payload)
		s, ok := spans[v.Instrument()]
		if !ok {
			s.first = v.Seq()
		}
		s.last = max(s.last, v.Seq())
		spans[v.Instrument()] = s
	}
	for _, s := range spans {
		n += float64(s.last - s.first + 1)
	}
	return n
}

var bookChecks = map[string]func(*check){
	"book_tracked": func(c *check) { c.equal(c.end, 2, "book_tracked"); c.equal(c.again, 2, "book_tracked") },
	"book_synced":  func(c *check) { c.equal(c.end, 2, "book_synced"); c.equal(c.again, 2, "book_synced") },
	"book_resyncs_total": func(c *check) {
		// Each break at least once; a snapshot older than the updates held is asked for again.
		for cause, n := range map[string]float64{"start": 2, "gap": 1, "crossed": 1, "disconnect": 1} {
			c.between(c.end, n, n+10, "book_resyncs_total", "cause", cause)
		}
	},
	"book_resync_seconds": func(c *check) {
		c.equal(c.calm, 2, "book_resync_seconds")
		// Two at the start, those of gaps, the crossing, two by the disconnect.
		c.equal(c.end, 5+c.end.of("flow_gaps_total", "channel", "book", "cause", "gap"), "book_resync_seconds")
		c.mean(c.end, 1e-5, 30, "book_resync_seconds")
	},
	"book_updates_total": func(c *check) {
		for _, s := range []scrape{c.calm, c.end} {
			c.equal(s, s.of("flow_records_total", "kind", "book_delta")+s.of("flow_records_total", "kind", "book_snapshot"), "book_updates_total")
		}
		by := map[string]float64{}
		for _, rec := range c.first("records", c.end.of("journal_records_total", "journal", "records")) {
			if k := market.Kind(rec.Kind); k == market.KindBookDelta || k == market.KindBookSnapshot {
				f := market.View(rec.Payload).Flags()
				for name, bit := range map[string]market.Flags{"applied": market.FlagApplied, "stale": market.FlagStale, "unsynced": market.FlagUnsynced} {
					if f&bit != 0 {
						by[name]++
					}
				}
			}
		}
		for _, name := range []string{"applied", "stale", "unsynced"} {
			c.equal(c.end, by[name], "book_updates_total", "result", name)
		}
	},
	"book_checksums_total": never("book_checksums_total"), // the venue has none
	"book_crossed_total":   func(c *check) { c.equal(c.calm, 0, "book_crossed_total"); c.equal(c.end, 1, "book_crossed_total") },
}

var pluginChecks = map[string]func(*check){
	"plugin_up": func(c *check) {
		for _, p := range []string{src, "sink/" + lake, "sink/" + top} {
			c.equal(c.end, 1, "plugin_up", "plugin", p)
		}
	},
	"plugin_quarantined": never("plugin_quarantined"),
	"plugin_restarts_total": func(c *check) {
		c.equal(c.calm, 0, "plugin_restarts_total")
		c.equal(c.end, sourceKills+1, "plugin_restarts_total", "plugin", src)
		c.equal(c.end, sinkKills, "plugin_restarts_total", "plugin", "sink/"+lake)
		c.equal(c.end, 0, "plugin_restarts_total", "plugin", "sink/"+top)
	},
	"plugin_hangs_total": func(c *check) {
		c.equal(c.stalled, 0, "plugin_hangs_total")
		c.equal(c.end, 1, "plugin_hangs_total", "plugin", src)
		c.equal(c.end, 1, "plugin_hangs_total")
	},
	"plugin_violations_total": never("plugin_violations_total"),
	"plugin_start_seconds": func(c *check) {
		c.equal(c.end, sourceKills+2, "plugin_start_seconds", "plugin", src)
		c.equal(c.end, sinkKills+1, "plugin_start_seconds", "plugin", "sink/"+lake)
		c.mean(c.end, 1e-3, 15, "plugin_start_seconds", "plugin", src)
	},
	"plugin_cpu_seconds_total": func(c *check) {
		lived := c.lastAt.Sub(c.began).Seconds()
		for _, p := range []string{src, "sink/" + lake} {
			c.between(c.end, c.calm.of("plugin_cpu_seconds_total", "plugin", p), lived*2, "plugin_cpu_seconds_total", "plugin", p)
			if c.end.of("plugin_cpu_seconds_total", "plugin", p) < 0.02 {
				c.Errorf("%s did its work in no time", p)
			}
		}
	},
	"plugin_ring_full_total": func(c *check) { // behind the stall there was much to take
		c.between(c.end, 0, c.end.of("flow_entries_total"), "plugin_ring_full_total")
		c.equal(c.calm, 0, "plugin_ring_full_total")
	},
	"plugin_log_lines_dropped_total": never("plugin_log_lines_dropped_total"),
}

var sinkChecks = map[string]func(*check){
	"sink_records_total": func(c *check) {
		have, _ := kinds(c.first("records", c.calm.of("journal_records_total", "journal", "records")))
		sum := 0.0
		for _, n := range have {
			sum += n
		}
		c.equal(c.calm, sum, "sink_records_total", "sink", lake)
		// Later some are handed over again, by refusals and the kill.
		c.between(c.end, c.end.of("flow_records_total"), 3*c.end.of("flow_records_total"), "sink_records_total", "sink", lake)
		derived, _ := kinds(c.first(metricsFeed+"-book_snapshot-top", c.end.of("journal_records_total", "journal", "book_snapshot.top")))
		c.between(c.end, derived["book_snapshot"]-2, derived["book_snapshot"], "sink_records_total", "sink", top)
	},
	"sink_batches_total": func(c *check) {
		for _, k := range []string{lake, top} {
			c.between(c.end, 5, c.end.of("sink_records_total", "sink", k), "sink_batches_total", "sink", k)
		}
	},
	"sink_rolls_total": func(c *check) {
		c.equal(c.end, 0, "sink_rolls_total", "sink", top)
		// One a second while something comes, at most.
		c.between(c.end, 3, c.lastAt.Sub(c.began).Seconds()+2, "sink_rolls_total", "sink", lake)
	},
	"sink_retries_total": func(c *check) {
		c.equal(c.calm, 0, "sink_retries_total")
		c.between(c.refused, 2, 2+c.store.Seconds()*10, "sink_retries_total", "sink", lake)
		c.equal(c.end, 0, "sink_retries_total", "sink", top)
	},
	"sink_repeated_total": func(c *check) {
		c.equal(c.calm, 0, "sink_repeated_total")
		c.between(c.end, 0, sinkKills, "sink_repeated_total", "sink", lake)
	},
	"sink_refused_total": never("sink_refused_total"),
	"sink_dropped_total": never("sink_dropped_total"),
	"sink_lag_bytes": func(c *check) {
		c.equal(c.calm, 0, "sink_lag_bytes", "sink", lake)
		c.equal(c.end, 0, "sink_lag_bytes", "sink", lake)
		c.between(c.refused, 100_000, math.Inf(1), "sink_lag_bytes", "sink", lake)
	},
	"sink_lag_seconds": func(c *check) {
		c.equal(c.end, 0, "sink_lag_seconds", "sink", lake)
		c.between(c.refused, 0.1, c.store.Seconds()+5, "sink_lag_seconds", "sink", lake)
	},
	"sink_commit_latency_seconds": func(c *check) {
		c.equal(c.end, c.end.of("sink_rolls_total", "sink", lake), "sink_commit_latency_seconds", "sink", lake)
		// A batch of definitions alone commits no record.
		n := c.end.of("sink_batches_total", "sink", top)
		c.between(c.end, n-2, n, "sink_commit_latency_seconds", "sink", top)
		c.mean(c.calm, 0.2, 5, "sink_commit_latency_seconds", "sink", lake) // rolls each second
	},
	"sink_write_seconds": func(c *check) {
		for _, k := range []string{lake, top} {
			c.equal(c.calm, c.calm.of("sink_batches_total", "sink", k), "sink_write_seconds", "sink", k, "op", "write")
			c.equal(c.calm, c.calm.of("sink_rolls_total", "sink", k), "sink_write_seconds", "sink", k, "op", "flush")
		}
		n := c.end.of("sink_batches_total", "sink", lake) + c.end.of("sink_rolls_total", "sink", lake) + c.end.of("sink_retries_total", "sink", lake)
		c.equal(c.end, n, "sink_write_seconds", "sink", lake)
		c.mean(c.end, 1e-6, 5, "sink_write_seconds", "sink", lake, "op", "write")
	},
	"sink_last_commit_timestamp_seconds": func(c *check) {
		c.between(c.end, stamp(c.calmStamp), stamp(c.lastAt), "sink_last_commit_timestamp_seconds", "sink", lake)
		for _, k := range c.last.Sinks { // it was received before it was committed
			c.between(c.end, stamp(k.LastCommit), stamp(c.lastAt), "sink_last_commit_timestamp_seconds", "sink", k.Name)
		}
	},
	"sink_backoff_seconds": func(c *check) {
		c.between(c.refused, 1e-9, 30, "sink_backoff_seconds", "sink", lake)
		c.equal(c.end, 0, "sink_backoff_seconds")
	},
	"sink_until_dropped_seconds": func(c *check) {
		// The lake's cursor is the tail: all of max_size is left to it.
		c.between(c.end, c.end.of("journal_fill_seconds", "journal", "records"), math.Inf(1), "sink_until_dropped_seconds", "sink", lake)
		c.between(c.refused, 1, math.Inf(1), "sink_until_dropped_seconds", "sink", lake)
	},
}
