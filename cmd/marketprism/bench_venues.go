package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
)

// venueRow is what one venue cost, and whether it got its share. CPU is that of
// its plugin's process alone: the runtime's is shared.
type venueRow struct {
	Venue    string        `json:"venue"`
	Market   market.Market `json:"market"`
	Sent     float64       `json:"sent_frames_per_second"`     // by the emulator
	Received float64       `json:"received_frames_per_second"` // journalled
	Records  float64       `json:"records_per_second"`
	CPU      float64       `json:"plugin_cpu_us_per_frame"`
	Resident float64       `json:"plugin_resident_mib"`
	Mean     float64       `json:"receive_to_journal_mean_ms"` // of the stream for which it is longest
	Max      float64       `json:"receive_to_journal_max_ms"`  // since the start
	Gaps     int64         `json:"gaps"`
	Missing  int64         `json:"missing"`
	Lag      uint64        `json:"lag_bytes"` // journalled and not decoded at the end
	Unsynced int64         `json:"books_not_in_force"`
	Starved  bool          `json:"starved"`
}

type venuesResult struct {
	Machine     any        `json:"machine"`
	Seconds     float64    `json:"seconds"`
	Rate        float64    `json:"events_per_second_each"`
	Venues      []venueRow `json:"venues"`
	RuntimeCPU  float64    `json:"runtime_cpu_us_per_frame"`
	RuntimeRSS  float64    `json:"runtime_resident_mib"`
	SinkCPU     float64    `json:"sink_cpu_us_per_record"`
	SinkRSS     float64    `json:"sink_resident_mib"`
	AllPrivate  float64    `json:"all_processes_anonymous_mib"`
	SimulateCPU float64    `json:"emulators_cpu_share"` // of one processor
	OurCPU      float64    `json:"our_cpu_share"`       // of one processor
}

// starvedBelow is the share of what its emulator sent that a venue must have
// received: the two are asked one after the other, not at the same moment.
const starvedBelow = 0.97

func benchVenuesCommand() *cobra.Command {
	var each time.Duration
	var rate float64
	var asJSON bool
	c := &cobra.Command{Use: "venues", Short: "Run all venues at once against their emulators: CPU a message by venue, memory, and whether one starves",
		Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := benchVenues(c.Context(), rate, each)
			if err != nil {
				return fmt.Errorf("bench: %w", err)
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(r)
			} else {
				err = printVenues(c.OutOrStdout(), r)
			}
			if i := slices.IndexFunc(r.Venues, func(v venueRow) bool { return v.Starved }); i >= 0 && err == nil {
				err = fmt.Errorf("bench: %s %s starved: it received %.1f of %.1f frames a second", r.Venues[i].Venue, r.Venues[i].Market, r.Venues[i].Received, r.Venues[i].Sent)
			}
			return err
		}}
	c.Flags().DurationVar(&each, "for", 30*time.Second, "how long it is measured, after 15 s of warm-up")
	c.Flags().Float64Var(&rate, "rate", 200, "market events a second of each venue")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// benchFeeds are each emulated venue's first market, and Kraken's contracts, which
// have a protocol of their own.
func benchFeeds() (rows []venueRow) {
	for _, v := range emulator.Venues() {
		rows = append(rows, venueRow{Venue: v, Market: emulator.Markets(v)[0]})
	}
	return append(rows, venueRow{Venue: "kraken", Market: market.MarketLinear})
}

const venuesWarmUp = 15 * time.Second

func benchVenues(ctx context.Context, rate float64, each time.Duration) (r venuesResult, err error) {
	dir, err := os.MkdirTemp("", "marketprism-bench-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	admin, err := freeAddr()
	if err != nil {
		return r, err
	}
	r.Machine, r.Rate, r.Venues = thisMachine(), rate, benchFeeds()
	var hcl strings.Builder
	fmt.Fprintf(&hcl, "marketprism {\n  data_dir = %q\n  listen = %q\n  journal {\n    max_size = \"64MiB\"\n  }\n}\n", filepath.Join(dir, "data"), admin)
	var sims []*simulator
	defer func() {
		for _, s := range sims {
			s.stop()
		}
	}()
	addrs := make([]string, len(r.Venues))
	var inputs []string
	for i, v := range r.Venues {
		if addrs[i], err = freeAddr(); err != nil {
			return r, err
		}
		s, err := startSimulator(ctx, addrs[i], venuesWarmUp+each+time.Minute, "--venue", v.Venue, "--market", v.Market.String(), "--rate", fmt.Sprint(rate), "--no-ledger")
		if err != nil {
			return r, fmt.Errorf("emulator of %s %s: %w", v.Venue, v.Market, err)
		}
		sims = append(sims, s)
		symbols, err := json.Marshal(emulator.DefaultSymbols(v.Venue, v.Market))
		if err != nil {
			return r, err
		}
		name := fmt.Sprintf("%s_%s", v.Venue, v.Market)
		inputs = append(inputs, fmt.Sprintf("source.%s.%s", v.Venue, name))
		fmt.Fprintf(&hcl, "source %q %q {\n  symbols = %s\n  url = \"ws://%[4]s\"\n  http_url = \"http://%[4]s\"\n  channel \"trades\" {}\n  channel \"book\" {}\n}\n", v.Venue, name, symbols, addrs[i])
	}
	fmt.Fprintf(&hcl, "sink \"null\" \"bench\" {\n  input = [%s]\n}\n", strings.Join(inputs, ", "))
	file := filepath.Join(dir, "venues.hcl")
	if err := os.WriteFile(file, []byte(hcl.String()), 0o644); err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "run", "--quiet", "--log-level", "warn", "--for", (venuesWarmUp + each + 5*time.Second).String(), file)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return r, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	pause := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case err := <-ended:
			ended <- err
			return fmt.Errorf("the runtime ended: %w", err)
		}
	}
	if err := pause(venuesWarmUp); err != nil {
		return r, err
	}
	before, err := lookAtVenues(admin, addrs, cmd.Process.Pid, sims)
	if err == nil {
		err = pause(each)
	}
	if err != nil {
		return r, err
	}
	after, err := lookAtVenues(admin, addrs, cmd.Process.Pid, sims)
	if err != nil {
		return r, err
	}
	r.compare(before, after)
	err = <-ended
	ended <- err
	return r, err
}

// venuesLook is what all processes have done so far.
type venuesLook struct {
	at      time.Time
	status  engine.Status
	streams []engine.StreamStatus
	sent    []emulator.Stats
	sentAt  []time.Time
	runtime procUse
	plugins map[int]procUse
	sims    time.Duration
}

func askJSON(url string, v any) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return fmt.Errorf("%s: %s: %s", url, resp.Status, b)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

func lookAtVenues(admin string, addrs []string, pid int, sims []*simulator) (l venuesLook, err error) {
	l.plugins = map[int]procUse{}
	for _, a := range addrs {
		var s emulator.Stats
		if err := askJSON("http://"+a+"/_stats", &s); err != nil {
			return l, err
		}
		l.sent, l.sentAt = append(l.sent, s), append(l.sentAt, time.Now())
	}
	l.at = time.Now()
	if err := askJSON("http://"+admin+"/api/v1/status", &l.status); err != nil {
		return l, err
	}
	var page struct {
		Streams []engine.StreamStatus `json:"streams"`
	}
	if err := askJSON("http://"+admin+"/api/v1/streams", &page); err != nil {
		return l, err
	}
	l.streams = page.Streams
	if l.runtime, err = usage1(pid, "runtime"); err != nil {
		return l, err
	}
	for _, s := range l.status.Sinks {
		if l.plugins[s.Plugin.Pid], err = usage1(s.Plugin.Pid, s.Name); err != nil {
			return l, err
		}
	}
	for _, f := range l.status.Feeds {
		if l.plugins[f.Plugin.Pid], err = usage1(f.Plugin.Pid, f.Name); err != nil {
			return l, err
		}
	}
	for _, s := range sims {
		u, err := usage1(s.cmd.Process.Pid, "emulator")
		if err != nil {
			return l, err
		}
		l.sims += u.cpu
	}
	return l, nil
}

func (r *venuesResult) compare(a, b venuesLook) {
	const mib = 1 << 20
	secs := b.at.Sub(a.at).Seconds()
	r.Seconds = secs
	frames, all := 0.0, 0.0
	find := func(l *venuesLook, name string) *engine.FeedStatus {
		i := slices.IndexFunc(l.status.Feeds, func(f engine.FeedStatus) bool { return f.Name == name })
		if i < 0 {
			return new(engine.FeedStatus)
		}
		return &l.status.Feeds[i]
	}
	for i := range r.Venues {
		v := &r.Venues[i]
		name := v.Venue + "-" + v.Market.String()
		x, y := find(&a, name), find(&b, name)
		n := float64(y.Frames - x.Frames)
		v.Sent = float64(b.sent[i].Frames-a.sent[i].Frames) / b.sentAt[i].Sub(a.sentAt[i]).Seconds()
		v.Received, v.Records = n/secs, float64(y.Records-x.Records)/secs
		p, q := a.plugins[x.Plugin.Pid], b.plugins[y.Plugin.Pid]
		v.CPU = float64((q.cpu - p.cpu).Microseconds()) / max(n, 1)
		v.Resident = float64(q.anon+q.file) / mib
		v.Gaps, v.Missing, v.Lag, v.Unsynced = y.Gaps, y.Missing, y.LagBytes, y.Books-y.BooksSynced
		for _, s := range b.streams {
			if s.Feed == name && s.Journal != nil {
				v.Mean, v.Max = max(v.Mean, 1e3*s.Journal.Mean), max(v.Max, 1e3*s.Journal.Max)
			}
		}
		v.Starved = v.Received < starvedBelow*v.Sent || n == 0 || v.Unsynced > 0 || y.Books == 0
		frames += n
		all += float64((q.cpu - p.cpu).Microseconds())
		r.AllPrivate += float64(q.anon) / mib
	}
	cpu := float64((b.runtime.cpu - a.runtime.cpu).Microseconds())
	r.RuntimeCPU, r.RuntimeRSS = cpu/max(frames, 1), float64(b.runtime.anon+b.runtime.file)/mib
	all += cpu
	if len(b.status.Sinks) == 1 && len(a.status.Sinks) == 1 {
		p, q := a.plugins[a.status.Sinks[0].Plugin.Pid], b.plugins[b.status.Sinks[0].Plugin.Pid]
		cpu := float64((q.cpu - p.cpu).Microseconds())
		r.SinkCPU, r.SinkRSS = cpu/max(float64(b.status.Sinks[0].Records-a.status.Sinks[0].Records), 1), float64(q.anon+q.file)/mib
		all += cpu
		r.AllPrivate += float64(q.anon) / mib
	}
	r.AllPrivate += float64(b.runtime.anon) / mib
	r.SimulateCPU, r.OurCPU = (b.sims-a.sims).Seconds()/secs, all/1e6/secs
}

func printVenues(w io.Writer, r venuesResult) error {
	fmt.Fprintf(w, "%v; %d venues at once for %.0f s, %g market events a second each\n\n", r.Machine, len(r.Venues), r.Seconds, r.Rate)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "feed\tframes/s sent\treceived\trecords/s\tplugin CPU µs/frame\tplugin MiB\tto journal, mean ms\tmost ms\tgaps\tmissing\tlag bytes\tbooks not in force\t")
	for _, v := range r.Venues {
		fmt.Fprintf(t, "%s-%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%d\t%d\t%d\t%d\t\n", v.Venue, v.Market, v.Sent, v.Received, v.Records, v.CPU, v.Resident, v.Mean, v.Max, v.Gaps, v.Missing, v.Lag, v.Unsynced)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nruntime: %.1f µs a frame, %.1f MiB resident with its journals; sink: %.2f µs a record, %.1f MiB; anonymous memory of all processes: %.1f MiB\nwe used %.2f of a processor, the emulators %.2f\n",
		r.RuntimeCPU, r.RuntimeRSS, r.SinkCPU, r.SinkRSS, r.AllPrivate, r.OurCPU, r.SimulateCPU)
	return err
}
