package plan

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// maxListed is how many instruments a line of the text form names.
const maxListed = 8

// WriteText writes the plan for people: the same bytes for the same plan.
func (p *Plan) WriteText(w io.Writer) error {
	t := &text{}
	t.tab = tabwriter.NewWriter(&t.buf, 0, 0, 2, ' ', 0)
	t.line("Pipeline %s  %s", p.Pipeline, short(p.Digest))
	t.line("  data in %s, journals synced %q, latency %s, admin on %s", p.DataDir, p.Sync, p.Latency, orDash(p.Listen))
	if p.Proxy != "" {
		t.line("  proxy %s", p.Proxy)
	}
	for _, f := range p.Feeds {
		t.feed(p, f)
	}
	if len(p.Processors) > 0 {
		t.head("Processors")
		t.row("name", "gives", "config", "reads")
		for _, x := range p.Processors {
			t.row(x.Name, names(x.Kinds), config(x.Shown), reads(x.Inputs))
		}
	}
	if len(p.Sinks) > 0 {
		t.head("Sinks")
	}
	for _, s := range p.Sinks {
		when := "each batch"
		if s.Roll != nil {
			when = fmt.Sprintf("each %s or %s", s.Roll.Every, pipefile.FormatSize(s.Roll.MaxBytes))
		}
		t.line("  %s commits %s; batches of %d records or %s; %s when the journal is full", s.Name, when, s.Batch.MaxRecords, s.Batch.MaxWait, s.OnFull)
		if len(s.Shown) > 0 {
			t.line("    %s", config(s.Shown))
		}
		t.line("    %s", may(&s.Access))
		for _, in := range s.Inputs {
			of := "all instruments"
			if !in.All {
				of = count(len(in.Instruments), "instrument")
			}
			t.row("  "+in.Journal, of, names(in.Kinds))
		}
	}
	t.head("Plugin processes")
	t.row("name", "plugin", "version", "origin")
	for _, x := range p.Processes {
		origin := "first-party"
		if !x.FirstParty {
			origin = x.Path + " " + short("sha256:"+x.SHA256)
		}
		t.row(x.Name, x.Plugin, orDash(x.Version), origin)
	}
	t.head("Journals")
	t.row("name", "preallocated", "limit", "age", "a day (assumed)", "reaches back (assumed)")
	for _, j := range p.Journals {
		t.row(j.Name, pipefile.FormatSize(j.Preallocated), pipefile.FormatSize(j.MaxBytes), j.MaxAge.String(), pipefile.FormatSize(j.BytesPerDay), j.Holds.String())
	}
	t.head("Total")
	o := p.Totals
	standbys := ""
	if o.Standbys > 0 {
		standbys = fmt.Sprintf(" and up to %d as standby", o.Standbys)
	}
	t.line("  %s%s, %s of %s; %s", count(o.Connections, "connection"), standbys, count(o.Subscriptions, "subscription"),
		count(o.Instruments, "instrument"), count(o.Processes, "plugin process"))
	t.line("  all subscribed and in step after about %s", seconds(o.ReadySeconds))
	t.line("  journals: %s at once, %s at most; assumed %s frames/s, %s a day", pipefile.FormatSize(o.Preallocated),
		pipefile.FormatSize(o.MaxBytes), number(o.FramesPerSecond), pipefile.FormatSize(o.BytesPerDay))
	if err := t.tab.Flush(); err != nil {
		return fmt.Errorf("plan: write text: %w", err)
	}
	for l := range bytes.Lines(t.buf.Bytes()) { // a table pads its last column
		if _, err := fmt.Fprintf(w, "%s\n", bytes.TrimRight(l, " \n")); err != nil {
			return fmt.Errorf("plan: write text: %w", err)
		}
	}
	return nil
}

type text struct {
	buf bytes.Buffer
	tab *tabwriter.Writer
}

func (t *text) line(format string, args ...any) {
	_ = t.tab.Flush() // into memory
	fmt.Fprintf(&t.buf, format+"\n", args...)
}

func (t *text) head(title string) { t.line("\n%s", title) }

func (t *text) row(cells ...string) { fmt.Fprintf(t.tab, "  %s\t\n", strings.Join(cells, "\t")) }

func (t *text) feed(p *Plan, f *Feed) {
	t.head(fmt.Sprintf("Feed %s  of %s", f.Name, strings.Join(f.Sources, ", ")))
	if len(f.Shown) > 0 {
		t.line("  %s", config(f.Shown))
	}
	if len(f.ShownEgress) > 0 {
		t.line("  egress: %s", strings.Join(f.ShownEgress, ", "))
	}
	if len(f.Login) > 0 {
		t.line("  signed as (redacted), with %s", list(f.Login))
	}
	for _, s := range p.Selected {
		if slices.Contains(f.Sources, s.Source) && slices.Contains(s.Markets, f.Market) {
			t.line("  selected by %s: %s; asked again each %s", s.Source, s.Select, s.Every)
			if !s.Asked {
				t.line("  instruments: unknown; the venue wasn't asked")
			}
		}
	}
	if len(f.Instruments) > 0 {
		t.line("  instruments: %s", instruments(f.Instruments))
	}
	t.row("channel", "kinds", "by", "symbols", "config")
	for _, c := range f.Channels {
		by := string(c.Transport)
		switch {
		case c.Derived:
			by = "from the book"
		case c.Class != "":
			by += " " + c.Class
		}
		if c.Transport == source.Poll {
			for _, p := range f.Polls {
				if p.Channel == c.Channel {
					by += " each " + p.Every.String()
				}
			}
		}
		n := strconv.Itoa(len(c.Symbols))
		if c.PerMarket {
			n = "whole market"
		}
		t.row(c.Channel.String(), names(c.Kinds), by, n, config(c.Shown))
	}
	if len(f.Connections) > 0 {
		t.row("connection", "subscriptions", "frames", "URL")
	}
	for _, c := range f.Connections {
		t.row(c.Name, strconv.Itoa(len(c.Subscriptions)), strconv.Itoa(c.Frames), c.URL)
	}
	s := f.Startup
	t.line("  start: %s to connect, %s to subscribe, %s for %s", seconds(s.ConnectSeconds), seconds(s.SubscribeSeconds), seconds(s.SnapshotSeconds), count(s.Snapshots, "book snapshot"))
	if x := s.Standby; x != nil {
		t.line("  standby: up to %s more, %s more; all up after about %s", count(x.Connections, "connection"), count(x.SubscribeFrames, "subscribe frame"), seconds(x.ConnectSeconds+s.SubscribeSeconds))
	}
	for _, c := range f.Channels {
		switch h := c.Spec.History; {
		case c.Channel != market.ChannelTrades:
		case !f.Backfill:
			t.line("  backfill: off; trades that a gap took stay missing")
		case h == nil || h.Single && c.Config.Bool("aggregate"):
			t.line("  backfill: none; the venue has no history of these trades")
		case h.By == source.HistoryRecent:
			t.line("  backfill: trades that a gap took are asked for again, as far as the venue's latest ones reach back")
		default:
			t.line("  backfill: trades that a gap took are asked for again")
		}
	}
	limit := "no limit stated"
	if s.WeightLimit > 0 {
		limit = fmt.Sprintf("limit %d in %s", s.WeightLimit, s.WeightPer)
	}
	if s.Requests > 0 || s.PollWeight > 0 {
		t.line("  requests: %d at start of weight %d, then a weight of %s for polls; %s", s.Requests, s.Weight, number(s.PollWeight), limit)
	}
	a := f.Assumed
	t.line("  assumed: %s frames/s; a day %s of frames, %s of records", number(a.FramesPerSecond), pipefile.FormatSize(a.FrameBytesPerDay), pipefile.FormatSize(a.RecordBytesPerDay))
	for _, c := range f.Channels {
		if c.Lossy != "" {
			t.line("  note: %s is lossy at the venue: %s", c.Channel, c.Lossy)
		}
	}
}

func names[T market.Kind | market.Channel](l []T) string {
	s := make([]string, len(l))
	for i, k := range l {
		s[i] = fmt.Sprint(k)
	}
	return strings.Join(s, " ")
}

func instruments(l []Instrument) string {
	var s []string
	for _, i := range l[:min(len(l), maxListed)] {
		s = append(s, i.Name+" ("+i.Symbol+")")
	}
	if n := len(l) - maxListed; n > 0 {
		s = append(s, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(s, ", ")
}

func reads(in []Selection) string {
	var s []string
	for _, x := range in {
		s = append(s, fmt.Sprintf("%s of %s", names(x.Channels), x.Feed))
	}
	return strings.Join(s, ", ")
}

// may says what a sink may do.
func may(a *Access) string {
	if a.Undeclared {
		return "may do all that this user may: its plugin doesn't say what it needs"
	}
	var parts []string
	for _, w := range a.Writes {
		if w.Target == schema.File {
			parts = append(parts, "write the file "+w.Attribute)
		} else {
			parts = append(parts, "write below "+w.Attribute)
		}
	}
	for _, p := range []struct {
		may  bool
		what string
	}{{a.Stdout, "write to standard output"}, {a.Connect, "open TCP connections"}, {a.Listen, "listen on TCP"}} {
		if p.may {
			parts = append(parts, p.what)
		}
	}
	if len(parts) == 0 {
		return "may neither write nor use TCP"
	}
	return "may " + strings.Join(parts, ", ")
}

// config writes values as HCL names them, in order of name.
func config(m pipefile.Shown) string {
	var s []string
	for _, n := range slices.Sorted(maps.Keys(m)) {
		s = append(s, fmt.Sprintf("%s=%v", n, m[n]))
	}
	return strings.Join(s, " ")
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
		if strings.HasSuffix(what, "ss") {
			what = what[:len(what)-1] + "es"
		}
	}
	return strconv.Itoa(n) + " " + what
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func seconds(f float64) string { return number(f) + " s" }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// short cuts a digest for display.
func short(s string) string { return s[:min(len(s), len("sha256:")+12)] }
