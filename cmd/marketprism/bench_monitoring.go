package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// scrapeEvery is how often a monitored run's metrics are asked for: as often as
// many set their Prometheus to, and four times as often as its default.
const scrapeEvery = 15 * time.Second

// monitoringResult is what monitoring costs in one scenario. Figures are medians.
type monitoringResult struct {
	scenario
	Off      float64     `json:"off_cpu_us_per_message"`
	On       float64     `json:"on_cpu_us_per_message"`
	Overhead float64     `json:"overhead_percent"`            // median of the rounds
	Rounds   []float64   `json:"overhead_percent_each_round"` // in order of size
	OffRuns  []e2eResult `json:"off"`
	OnRuns   []e2eResult `json:"on"`
}

// benchMonitoring runs the same scenario with and without monitoring side by side,
// each with a simulator of its own, so that what else the machine does, and how it
// drifts, meets both at the same moment. A round is two such pairs, and the one
// that starts second in the first starts first in the second: its overhead is that
// of the two runs with against the two without. Saturated runs would take each
// other's processors, and batches grow with the queue: they take turns.
func benchMonitoring(ctx context.Context, w io.Writer, all []scenario, each time.Duration, rounds int, asJSON bool) error {
	var results []monitoringResult
	for _, s := range all {
		m := monitoringResult{scenario: s}
		for round := range rounds {
			var on, off float64
			for _, first := range []bool{true, false} {
				fmt.Fprintf(os.Stderr, "%s, round %d of %d: measuring for %v with and without monitoring\n", s.name(), round+1, rounds, each)
				pair, err := s.measurePair(ctx, each, first)
				if err != nil {
					return fmt.Errorf("bench: %s: %w", s.name(), err)
				}
				on += pair[1].CPU
				off += pair[0].CPU
				m.OnRuns = append(m.OnRuns, pair[1])
				m.OffRuns = append(m.OffRuns, pair[0])
			}
			m.Rounds = append(m.Rounds, 100*(on/max(off, 1e-9)-1))
		}
		slices.Sort(m.Rounds)
		m.Overhead = middle(m.Rounds)
		m.Off, m.On = medianOf(m.OffRuns, messageCPU), medianOf(m.OnRuns, messageCPU)
		results = append(results, m)
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"machine": thisMachine(), "scrape_seconds": scrapeEvery.Seconds(), "results": results})
	}
	return printMonitoring(w, results)
}

// measurePair measures without (0) and with monitoring (1); first says whether the one with starts first.
func (s scenario) measurePair(ctx context.Context, each time.Duration, first bool) (pair [2]e2eResult, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var errs [2]error
	order := []int{0, 1}
	if first {
		slices.Reverse(order)
	}
	for _, i := range order {
		run := s
		if i == 1 {
			run.scrape = scrapeEvery
		}
		measure := func() {
			if pair[i], errs[i] = run.measure(ctx, each, i == 0); errs[i] != nil {
				cancel() // half a pair says nothing
			}
		}
		if s.Rate == 0 {
			measure()
		} else {
			wg.Go(measure)
		}
	}
	wg.Wait()
	for _, e := range errs { // the first that isn't only the other's end
		if e != nil && (err == nil || errors.Is(err, context.Canceled)) {
			err = e
		}
	}
	return pair, err
}

func messageCPU(r e2eResult) float64 { return r.CPU }

func medianOf(rs []e2eResult, f func(e2eResult) float64) float64 {
	all := make([]float64, len(rs))
	for i := range rs {
		all[i] = f(rs[i])
	}
	slices.Sort(all)
	return middle(all)
}

func printMonitoring(w io.Writer, rs []monitoringResult) error {
	fmt.Fprintf(w, "%s; metrics scraped each %v where monitored; medians, and least to most\n\n", thisMachine(), scrapeEvery)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "scenario\truns\tCPU µs/msg without\t\twith\t\toverhead of a round\t\truntime\tsource\tsink\tmessages/s without\twith\t")
	for _, m := range rs {
		between := func(rs []e2eResult) string {
			cpu := make([]float64, len(rs))
			for i := range rs {
				cpu[i] = rs[i].CPU
			}
			return fmt.Sprintf("%.2f–%.2f", slices.Min(cpu), slices.Max(cpu))
		}
		fmt.Fprintf(t, "%s\t%d\t%.3f\t%s\t%.3f\t%s\t%+.1f %%\t%+.1f–%+.1f\t", m.name(), len(m.OnRuns)+len(m.OffRuns), m.Off, between(m.OffRuns), m.On, between(m.OnRuns),
			m.Overhead, m.Rounds[0], m.Rounds[len(m.Rounds)-1])
		for i := range m.OnRuns[0].Processes {
			cpu := func(r e2eResult) float64 { return r.Processes[i].CPU }
			fmt.Fprintf(t, "%+.3f\t", medianOf(m.OnRuns, cpu)-medianOf(m.OffRuns, cpu))
		}
		rate := func(r e2eResult) float64 { return r.PerSecond }
		fmt.Fprintf(t, "%s\t%s\t\n", thousands(int64(medianOf(m.OffRuns, rate))), thousands(int64(medianOf(m.OnRuns, rate))))
	}
	return t.Flush()
}

// scraping asks for the metrics until the returned function is called, which says
// what went wrong.
func scraping(admin string, every time.Duration) (stop func() error) {
	if every <= 0 {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		next := time.NewTimer(every / 2) // so that a time of n intervals has n of them
		defer next.Stop()
		for {
			select {
			case <-next.C:
				next.Reset(every)
				if err := scrapeOnce(ctx, admin); err != nil && ctx.Err() == nil {
					ended <- err
					return
				}
			case <-ctx.Done():
				ended <- nil
				return
			}
		}
	}()
	return func() error { cancel(); return <-ended }
}

func scrapeOnce(ctx context.Context, admin string) error {
	status, body, err := plainGet(ctx, http.DefaultClient, "http://"+admin+"/metrics")
	if err != nil {
		return err
	}
	return expect200(status, len(body))
}
