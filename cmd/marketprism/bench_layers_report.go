package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// earlier are the figures that the earlier system published, in the units of the
// table. They are the only ones here that no run gave.
var earlier = map[string]float64{
	"pool_hit_rate":        85.71,
	"connection_reuse":     71.25,
	"request_rate":         8229,
	"task_rate":            152.6,
	"concurrent_task_rate": 605,
	"memory_growth/in_all": 15.54e6,
}

// layersReport is what the layers' benchmark found.
type layersReport struct {
	At         time.Time    `json:"at"`
	Machine    machine      `json:"machine"`
	Build      string       `json:"build"`
	Quick      bool         `json:"quick"`
	Rounds     int          `json:"rounds"`
	Rows       []layerRow   `json:"rows"`
	Cumulative []layerStep  `json:"cumulative"`
	Monitor    *monitorUse  `json:"monitor"` // of the median look
	Floors     []layerFloor `json:"floors"`
	Runs       []partResult `json:"runs"`
}

// layerRow is a line of the table. What nobody measured is nil.
type layerRow struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Unit      string    `json:"unit"` // "/s", "%" or "bytes"
	Earlier   *float64  `json:"earlier"`
	Without   *float64  `json:"without"`
	With      *float64  `json:"with"`
	Spread    []float64 `json:"spread,omitempty"` // least and most of With
	Gain      *float64  `json:"gain"`             // with against without
	OfEarlier *float64  `json:"of_earlier"`       // with against the earlier system; below 1 is less memory
}

// layerStep is the composite with a layer more.
type layerStep struct {
	Layer     string  `json:"layer"`
	PerSecond float64 `json:"per_second"`
	P50       int64   `json:"p50_ns"`
	P99       int64   `json:"p99_ns"`
	CPU       float64 `json:"cpu_ns_per_operation"` // of the process: the server's is apart
	Allocs    float64 `json:"allocations_per_operation"`
	Gain      float64 `json:"gain"` // of throughput, against the first
}

// layerFloor is what the layers must reach.
type layerFloor struct {
	Name string  `json:"name"`
	Unit string  `json:"unit"`
	Want float64 `json:"want"`
	Got  float64 `json:"got"`
	Met  bool    `json:"met"`
}

// of are the runs of one way of a part.
func (r *layersReport) of(part, way string) (all []partResult) {
	for _, p := range r.Runs {
		if p.Part == part && p.Way == way {
			all = append(all, p)
		}
	}
	return all
}

// figures takes one figure out of each run, in order of size.
func figures(rs []partResult, f func(partResult) float64) []float64 {
	all := make([]float64, len(rs))
	for i := range rs {
		all[i] = f(rs[i])
	}
	slices.Sort(all)
	return all
}

// middle is the median of sorted figures.
func middle(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func perSecond(p partResult) float64 { return p.PerSecond }
func grownBy(p partResult) float64   { return float64(p.After.Resident - p.Before.Resident) }
func liveBy(p partResult) float64    { return float64(p.After.Live - p.Before.Live) }

// share is a part of a whole in percent.
func share(rs []partResult, part, whole func(partResult) uint64) float64 {
	var a, b uint64
	for _, r := range rs {
		a, b = a+part(r), b+whole(r)
	}
	if b == 0 {
		return 0
	}
	return 100 * float64(a) / float64(b)
}

func tried(p partResult) uint64     { return p.Tried }
func succeeded(p partResult) uint64 { return p.Succeeded }

func (r *layersReport) row(id, name, unit string, without, with []float64) *layerRow {
	w := layerRow{ID: id, Name: name, Unit: unit}
	if e, ok := earlier[id]; ok {
		w.Earlier = &e
	}
	set := func(to **float64, v []float64) {
		if len(v) > 0 {
			m := middle(v)
			*to = &m
		}
	}
	set(&w.Without, without)
	set(&w.With, with)
	if len(with) > 1 {
		w.Spread = []float64{with[0], with[len(with)-1]}
	}
	quotient := func(a, b *float64) *float64 {
		if a == nil || b == nil || *b <= 0 {
			return nil
		}
		q := *a / *b
		return &q
	}
	if unit == "/s" {
		w.Gain = quotient(w.With, w.Without)
	}
	w.OfEarlier = quotient(w.With, w.Earlier)
	r.Rows = append(r.Rows, w)
	return &r.Rows[len(r.Rows)-1]
}

// grown are the parts whose growth is told layer by layer.
var grown = []struct{ name, part, without, with string }{
	{"object pools", "objects", "off", "on"}, {"connections", "requests", "off", "on"}, {"scheduler, one by one", "tasks", "off", "on"},
	{"scheduler, concurrent", "tasks-concurrent", "off", "on"}, {"memory monitor", "memory", "", "on"}, {"all of them at once", "composite", "none", "memory"},
}

// sum makes the table of the runs.
func (r *layersReport) sum() {
	rates := func(part, way string) []float64 { return figures(r.of(part, way), perSecond) }
	one := func(v float64) []float64 { return []float64{v} }
	objects, requests := r.of("objects", "on"), r.of("requests", "on")
	tasks := slices.Concat(r.of("tasks", "on"), r.of("tasks-concurrent", "on"))
	r.row("object_creation", "decoded messages made or leased", "/s", rates("objects", "off"), rates("objects", "on"))
	hits := share(objects, func(p partResult) uint64 { return p.Hits }, func(p partResult) uint64 { return p.Leases })
	reused := share(requests, func(p partResult) uint64 { return p.Reused }, func(p partResult) uint64 { return p.Requests })
	r.row("pool_hit_rate", "object pool hit rate", "%", one(0), one(hits))
	r.row("connection_reuse", "connection reuse", "%", one(0), one(reused))
	requestRate := r.row("request_rate", "requests, a fresh connection each or pooled", "/s", rates("requests", "off"), rates("requests", "on")).With
	r.row("request_rate_nethttp", "requests, net/http's kept connections or pooled", "/s", rates("requests", "nethttp"), rates("requests", "on"))
	taskRate := r.row("task_rate", "tasks handed over one by one", "/s", rates("tasks", "off"), rates("tasks", "on")).With
	manyRate := r.row("concurrent_task_rate", "tasks of concurrent submitters", "/s", rates("tasks-concurrent", "off"), rates("tasks-concurrent", "on")).With
	taskOK, requestOK := share(tasks, succeeded, tried), share(requests, succeeded, tried)
	r.row("success_rate/tasks", "tasks that succeeded", "%", nil, one(taskOK))
	r.row("success_rate/requests", "requests that succeeded", "%", one(share(r.of("requests", "off"), succeeded, tried)), one(requestOK))
	total := 0.0
	for _, g := range grown {
		with := figures(r.of(g.part, g.with), grownBy)
		total += middle(with)
		r.row("memory_growth/"+g.part, "resident memory grown, "+g.name, "bytes", figures(r.of(g.part, g.without), grownBy), with)
		r.row("live_growth/"+g.part, "live heap grown, "+g.name, "bytes", figures(r.of(g.part, g.without), liveBy), figures(r.of(g.part, g.with), liveBy))
	}
	r.row("memory_growth/in_all", "resident memory grown, in all", "bytes", nil, one(total))
	for _, s := range steps {
		runs := r.of("composite", s)
		med := func(f func(partResult) float64) float64 { return middle(figures(runs, f)) }
		step := layerStep{Layer: s, PerSecond: med(perSecond), P50: int64(med(func(p partResult) float64 { return float64(p.P50) })),
			P99: int64(med(func(p partResult) float64 { return float64(p.P99) })), CPU: med(func(p partResult) float64 { return p.CPU }),
			Allocs: med(func(p partResult) float64 { return p.Allocs })}
		step.Gain = 1
		if len(r.Cumulative) > 0 {
			step.Gain = step.PerSecond / r.Cumulative[0].PerSecond
		}
		r.Cumulative = append(r.Cumulative, step)
	}
	looks := r.of("memory", "on")
	slices.SortFunc(looks, func(a, b partResult) int { return int(a.CPU - b.CPU) })
	r.Monitor = looks[len(looks)/2].Monitor
	count := func(rs []partResult) (n float64) {
		for _, p := range rs {
			n += float64(p.Succeeded)
		}
		return n
	}
	floor := func(name, unit string, want, got float64, met bool) {
		r.Floors = append(r.Floors, layerFloor{name, unit, want, got, met})
	}
	least := func(name, unit string, want, got float64) { floor(name, unit, want, got, got >= want) }
	least("tasks handed over one by one", "/s", 1e6, *taskRate)
	least("tasks of concurrent submitters", "/s", 1e6, *manyRate)
	least("pooled HTTP requests on loopback", "/s", 5e4, *requestRate)
	least("object pool hit rate", "%", 99.9, hits)
	least("connection reuse", "%", 99.9, reused)
	least("tasks that succeeded", "%", 100, taskOK)
	least("tasks that succeeded", "", 10e6, count(tasks))
	least("requests that succeeded", "%", 100, requestOK)
	least("requests that succeeded", "", 1e6, count(requests))
	floor("resident memory grown, in all, less than", "bytes", 8<<20, total, total < 8<<20)
}

// missed names the floors that weren't reached.
func (r *layersReport) missed() error {
	var all []string
	for _, f := range r.Floors {
		if !f.Met {
			all = append(all, fmt.Sprintf("%s: %s, want %s", f.Name, quantity(f.Got, f.Unit), quantity(f.Want, f.Unit)))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("floors missed (load average at the start %.1f):\n  %s", r.Machine.Load, strings.Join(all, "\n  "))
}

// quantity writes a figure with its unit.
func quantity(v float64, unit string) string {
	switch unit {
	case "%":
		digits := 2
		for miss := 100 - v; miss > 0 && miss < 0.01 && digits < 9; miss *= 10 {
			digits++ // so that what isn't all of it doesn't look so
		}
		return fmt.Sprintf("%.*f %%", digits, v)
	case "bytes":
		return fmt.Sprintf("%.2f MB", v/1e6)
	}
	if v < 1000 {
		return fmt.Sprintf("%.4g%s", v, unit)
	}
	return thousands(int64(v)) + unit
}

// thousands groups digits.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func optional(v *float64, f func(float64) string) string {
	if v == nil {
		return "–"
	}
	return f(*v)
}

// times writes a ratio with three digits or so.
func times(v float64) string {
	switch {
	case v >= 100:
		return thousands(int64(v)) + "×"
	case v >= 10:
		return fmt.Sprintf("%.1f×", v)
	}
	return fmt.Sprintf("%.2f×", v)
}

func (r *layersReport) writeText(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s\nmedians of %s, each part in a process of its own; %d connections to a lean HTTP server,\nwhich is another process on the same cores; load average at the start %.2f\n\n",
		r.At.Format(time.DateTime+" MST"), r.Machine, number(r.Rounds, "round"), layerConns, r.Machine.Load)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tearlier system\twithout the layer\twith it\tgain\tagainst the earlier\t")
	for _, row := range r.Rows {
		q := func(v float64) string { return quantity(v, row.Unit) }
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", row.Name, optional(row.Earlier, q), optional(row.Without, q), optional(row.With, q),
			optional(row.Gain, times), optional(row.OfEarlier, times))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nThe earlier system's figures are those that it published, on its machine; what its tasks did it\n"+
		"didn't say. Tasks of the table count, and do no more; those below do a whole message's work.\n\n"+
		"One task: request, answer of %d levels a side decoded, book message filled, record appended; %d under way\n", benchDepth, layerConns)
	fmt.Fprintln(t, "layers\ttasks/s\tgain\tp50 ms\tp99 ms\tCPU µs\tallocations\t")
	for i, s := range r.Cumulative {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%.2f\t%.1f\t%.1f\t\n", stepName(i), thousands(int64(s.PerSecond)), times(s.Gain), float64(s.P50)/1e6, float64(s.P99)/1e6, s.CPU/1e3, s.Allocs)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	m := r.Monitor
	fmt.Fprintf(w, "\nThe memory monitor takes %.1f ms of processor time a look, one each %.0f s: %.3f %% of a core.\n", m.CPU/1e3, m.Interval, m.Share)
	fmt.Fprintf(w, "In the last step it looks ten times as often.\n\n")
	fmt.Fprintln(t, "floor\twant\tgot\t\t")
	for _, f := range r.Floors {
		verdict := "met"
		switch {
		case r.Quick:
			verdict = "not looked at: --quick"
		case !f.Met:
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", f.Name, quantity(f.Want, f.Unit), quantity(f.Got, f.Unit), verdict)
	}
	return t.Flush()
}

// stepName is a step of the composite for people.
func stepName(i int) string {
	return [...]string{"no layer", "+ object pools", "+ connection pool", "+ scheduler", "+ memory monitor"}[i]
}
