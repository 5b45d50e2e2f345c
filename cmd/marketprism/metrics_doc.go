package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// look is an expression to look at first, and what it says.
type look struct{ says, expr string }

// looks are the first things to look at for each question, in this order.
var looks = map[telemetry.Question][]look{
	telemetry.Complete: {
		{"Is anything down?", `marketprism_runtime_ready == 0`},
		{"Streams that are broken now, by feed and channel", `sum by (feed, channel) (marketprism_flow_streams_broken) > 0`},
		{"Gaps of the last hour, and whose they are", `sum by (feed, channel, cause) (increase(marketprism_flow_gaps_total[1h])) > 0`},
		{"Messages that the venue's numbers say are missing", `sum by (feed, channel) (increase(marketprism_flow_missing_total[1h])) > 0`},
		{"Books that wait for a snapshot", `marketprism_book_tracked - marketprism_book_synced > 0`},
		{"Selectors whose catalogues can't be had or aren't believed", `sum by (feed, result) (increase(marketprism_runtime_catalogues_total{result!="believed"}[1h])) > 0`},
		{"Sinks that lost data", `increase(marketprism_sink_dropped_total[1d]) > 0 or increase(marketprism_sink_refused_total[1d]) > 0`},
	},
	telemetry.Late: {
		{"From the venue to reception, 99 of 100 records, by channel", `histogram_quantile(0.99, sum by (le, feed, channel) (rate(marketprism_flow_exchange_latency_seconds_bucket[5m])))`},
		{"From reception to the records journal", `histogram_quantile(0.99, sum by (le, feed) (rate(marketprism_flow_record_latency_seconds_bucket[5m])))`},
		{"What waits for the lane", `marketprism_flow_lag_seconds > 1`},
		{"From reception to commit, by sink", `histogram_quantile(0.99, sum by (le, sink) (rate(marketprism_sink_commit_latency_seconds_bucket[5m])))`},
		{"What waits for a sink", `marketprism_sink_lag_seconds`},
		{"Connections whose data are old", `marketprism_conn_data_age_seconds > 30`},
		{"Tasks that wait for a worker", `histogram_quantile(0.99, sum by (le, pool, kind) (rate(marketprism_sched_wait_seconds_bucket[5m])))`},
		{"What is stuck", `marketprism_sched_stuck_tasks > 0 or marketprism_sched_lane_stuck > 0`},
		{"Channels that are silent, and for how long", `time() - marketprism_flow_last_record_timestamp_seconds`},
	},
	telemetry.Who: {
		{"Which feed isn't collecting", `marketprism_runtime_feed_ready == 0`},
		{"Which plugin isn't running", `marketprism_plugin_up == 0`},
		{"Records a second by feed and kind", `sum by (feed, kind) (rate(marketprism_flow_records_total[5m]))`},
		{"Connections by state", `sum by (feed, state) (marketprism_conn_open) > 0`},
		{"Who limits us", `increase(marketprism_conn_rate_limited_total[1h]) > 0 or marketprism_conn_breaker_state > 0`},
		{"Whose memory", `topk(5, marketprism_memory_resident_bytes)`},
		{"Records a second by sink", `rate(marketprism_sink_records_total[5m])`},
		{"Cores that each plugin takes", `rate(marketprism_plugin_cpu_seconds_total[5m])`},
	},
	telemetry.RunsOut: {
		{"When the disk is full, in seconds, at the rate of the last six hours", `marketprism_runtime_disk_free_bytes / clamp_min(-deriv(marketprism_runtime_disk_free_bytes[6h]), 1)`},
		{"When retention passes a sink that stands still", `marketprism_sink_until_dropped_seconds`},
		{"How far back a replay reaches", `min by (feed) (marketprism_journal_retained_seconds{journal="frames"})`},
		{"What is left of memory, and when leaks have used it up", `marketprism_memory_headroom_bytes or marketprism_memory_exhaustion_seconds`},
		{"What leaks", `marketprism_memory_leaks > 0`},
		{"Descriptors of those that it may open", `sum without (kind) (marketprism_memory_descriptors) / marketprism_memory_descriptors_limit`},
		{"Budgets at the venues", `marketprism_conn_weight_used / marketprism_conn_weight_limit`},
		{"Queues of tasks", `sum by (pool) (marketprism_sched_queue_tasks) / sum by (pool) (marketprism_sched_queue_capacity_tasks)`},
		{"What a power failure would take", `max by (feed) (marketprism_journal_unsynced_bytes{journal="frames"})`},
	},
	telemetry.Changed: {
		{"Was the runtime started anew, when?", `time() - marketprism_runtime_start_timestamp_seconds < 3600`},
		{"Another build or pipeline?", `count by (version) (marketprism_runtime_build_info) or count by (pipeline, plan) (marketprism_runtime_plan_info)`},
		{"Plugins that died", `increase(marketprism_plugin_restarts_total[1h]) > 0`},
		{"What venues said of themselves", `increase(marketprism_flow_notices_total[1h]) > 0`},
		{"Connections that were replaced, and why", `sum by (feed, reason) (increase(marketprism_conn_replacements_total[1h])) > 0`},
		{"Parts that were started again", `increase(marketprism_sched_restarts_total[1h]) > 0`},
		{"What selectors have taken and left out", `sum by (feed, change) (increase(marketprism_runtime_selection_changes_total[1h])) > 0`},
		{"Reloads", `increase(marketprism_runtime_reloads_total[1h]) > 0`},
		{"Stores that refused batches", `increase(marketprism_sink_retries_total[1h]) > 0`},
	},
	telemetry.Pays: {
		{"Leases that found an object, by pool; 99.9 % and more", `rate(marketprism_pool_hits_total[5m]) / (rate(marketprism_pool_leases_total[5m]) > 0)`},
		{"Requests that reused a connection", `rate(marketprism_conn_http_reused_total[5m]) / (rate(marketprism_conn_http_sent_total[5m]) > 0)`},
		{"Frames that one wake-up of a reader yields", `rate(marketprism_conn_frames_total[5m]) / (rate(marketprism_conn_bursts_total[5m]) > 0)`},
		{"Part of the CPU that collections take", `marketprism_memory_gc_cpu_ratio`},
		{"Spins of workers that found work", `rate(marketprism_sched_worker_spin_hits_total[5m]) / (rate(marketprism_sched_worker_spins_total[5m]) > 0)`},
		{"What a lane takes at a time", `rate(marketprism_sched_lane_taken_units_total[5m]) / (rate(marketprism_sched_lane_polls_total[5m]) > 0)`},
	},
}

var questions = []telemetry.Question{telemetry.Complete, telemetry.Late, telemetry.Who, telemetry.RunsOut, telemetry.Changed, telemetry.Pays}

const metricsHead = `# Metrics

` + "`GET /metrics`" + ` on ` + "`listen`" + ` (127.0.0.1:9464) gives them in Prometheus' formats: text with classic buckets, protobuf with native histograms beside them, whose buckets grow by 9 %. Names begin with ` + "`marketprism_`" + ` and carry their unit; counters start at 0 with the process. Labels are bounded by the pipeline and by the program: feed, channel, journal, sink, plugin, process, venue, egress, host, pool, lane, tenant; kind, class, state, cause, reason, result, outcome. No label is a symbol: what is known of single symbols is in the ` + "`quality`" + ` and ` + "`coverage`" + ` records, and in ` + "`/api/v1/`" + `.

This document is generated by ` + "`marketprism metrics doc`" + ` from the declarations beside the code that counts; ` + "`marketprism metrics list`" + ` prints the same on a terminal. A metric that answers none of the questions below isn't there. Alert rules, recording rules and a dashboard lie in [monitoring](monitoring/alerts.yml); [the runbook](runbook.md) has an entry for each alert.

`

// metricsDoc writes docs/metrics.md.
func metricsDoc(w io.Writer) error {
	descs := allMetrics()
	var b strings.Builder
	b.WriteString(metricsHead)
	b.WriteString("# The questions\n\n")
	for _, q := range questions {
		answers := slices.DeleteFunc(slices.Clone(descs), func(d *telemetry.Desc) bool { return d.Answer != q })
		if len(answers) == 0 {
			continue
		}
		fmt.Fprintf(&b, "## %s\n\n", q)
		if len(looks[q]) > 0 {
			b.WriteString("Look at these first:\n\n| | |\n|---|---|\n")
			for _, l := range looks[q] {
				fmt.Fprintf(&b, "| %s | `%s` |\n", l.says, l.expr)
			}
			b.WriteString("\n")
		}
		b.WriteString("All that answer it: ")
		for i, d := range answers {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "`%s`", strings.TrimPrefix(d.Name, "marketprism_"))
		}
		b.WriteString(".\n\n")
	}
	b.WriteString("# All metrics\n\n")
	for _, layer := range layerNames(descs) {
		fmt.Fprintf(&b, "## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", layer)
		for _, d := range descs {
			if d.Layer == layer {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, strings.Join(d.Labels, ", "), strings.ReplaceAll(d.Help, "|", `\|`))
			}
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%d metrics. The Go runtime's (`go_`) and the process's (`process_`) stand beside them.\n", len(descs))
	_, err := io.WriteString(w, b.String())
	return err
}
