package memory

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/marketprism/marketprism/sdk/wire/heap"
)

// Text says how reports are written for people.
type Text struct {
	Color bool
	Top   int // rows of a table; 10 if zero
}

// page is a report that is being written.
type page struct {
	bytes.Buffer
	Text
}

const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (p *page) paint(code, s string) string {
	if !p.Color || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *page) head(title string) { p.line("\n%s", p.paint(bold, title)) }

// table writes rows under a heading; columns whose heading begins with > are
// aligned to the right. It says how many rows it left out.
func (p *page) table(heads []string, rows [][]string) {
	top := cmp.Or(p.Top, 10)
	left := max(0, len(rows)-top)
	rows = rows[:len(rows)-left]
	width := make([]int, len(heads))
	right := make([]bool, len(heads))
	heads = slices.Clone(heads)
	for i, h := range heads {
		heads[i], right[i] = strings.CutPrefix(h, ">")
		width[i] = utf8.RuneCountInString(heads[i])
		for _, r := range rows {
			width[i] = max(width[i], utf8.RuneCountInString(r[i]))
		}
	}
	write := func(cells []string, code string) {
		var b strings.Builder
		for i, c := range cells {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if right[i] {
				b.WriteString("  " + pad + c)
			} else {
				b.WriteString("  " + c + pad)
			}
		}
		p.line("%s", p.paint(code, strings.TrimRight(b.String(), " ")))
	}
	write(heads, dim)
	for _, r := range rows {
		write(r, "")
	}
	if left > 0 {
		p.line("  %s", p.paint(dim, fmt.Sprintf("and %d more", left)))
	}
}

func (p *page) to(w io.Writer) error {
	if _, err := w.Write(p.Bytes()); err != nil {
		return fmt.Errorf("memory: write report: %w", err)
	}
	return nil
}

// mibs writes bytes as MiB, so that a column can be compared at a glance.
func mibs(n int64) string {
	if n != 0 && max(n, -n) < 1<<20/20 {
		return fmt.Sprintf("%.2f", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f", float64(n)/(1<<20))
}

// short leaves the program's own module out of a name.
func short(name string) string {
	m := heap.Module()
	if m == "" {
		return name
	}
	return strings.ReplaceAll(name, m+"/", "")
}

func since(s float64) string {
	d := seconds(s)
	if d > time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// WriteText writes a snapshot.
func (s *Snapshot) WriteText(w io.Writer, t Text) error {
	p := &page{Text: t}
	p.line("%s  %s, up %s (%s)", p.paint(bold, "Memory "+s.ID), s.Time.Local().Format(time.DateTime), since(s.Uptime), cmp.Or(s.Reason, "sample"))
	p.line("  load: %.0f frames/s, %d connections, %d books", s.Load.FramesPerSecond, s.Load.Connections, s.Load.Books)
	whole, what := ceiling(s)
	p.line("  %s resident in %d processes, %s of %s (%s)", Size(s.Resident()), len(s.Processes), percent(s.Resident(), whole), what, Size(whole))
	p.head("Processes, MiB")
	var rows [][]string
	for i := range s.Processes {
		x := &s.Processes[i]
		live, n, limit := "-", "-", "-"
		switch {
		case i == 0:
			live, n = mibs(int64(s.Go.Live)), strconv.FormatUint(s.Go.Goroutines, 10)
			if s.Go.Limit > 0 {
				limit = mibs(s.Go.Limit)
			}
		case x.Heap != nil:
			live, n = mibs(int64(x.Heap.Live)), strconv.Itoa(int(x.Heap.Goroutines))
		}
		if x.Limit > 0 {
			limit = mibs(x.Limit)
		}
		rows = append(rows, []string{x.Name, mibs(x.Resident), mibs(x.Peak), mibs(x.Anonymous), mibs(x.PrivateDirty), mibs(x.File + x.Shared), live, limit, n, x.Why})
	}
	p.table([]string{"process", ">resident", ">peak", ">anonymous", ">dirty", ">files", ">live heap", ">limit", ">goroutines", ""}, rows)

	p.head("Go runtime")
	g := &s.Go
	percent := "off"
	if g.Percent != math.MaxUint64 {
		percent = strconv.FormatUint(g.Percent, 10)
	}
	limit := "no limit"
	if g.Limit > 0 {
		limit = "limit " + Size(g.Limit)
	}
	p.line("  live heap %s, goal %s; stacks %s; mapped %s, of it %s given back; GOGC %s, %s", Size(int64(g.Live)), Size(int64(g.Goal)),
		Size(int64(g.Stacks)), Size(int64(g.Total)), Size(int64(g.Released)), percent, limit)
	p.line("  %d collections took %.2f s, %.2f %% of the processor time used; %s allocated since the start", g.Cycles, g.GCSeconds, 100*g.GCShare, Size(int64(g.Allocated)))

	p.head("Subsystems of the runtime")
	rows = nil
	for i := range s.Subsystems {
		x := &s.Subsystems[i]
		rows = append(rows, []string{x.Name, mibs(x.Bytes), strconv.FormatInt(x.Objects, 10), strconv.Itoa(x.Goroutines)})
	}
	p.table([]string{"subsystem", ">live MiB", ">objects", ">goroutines"}, rows)
	p.head("Allocation sites")
	rows = nil
	for _, x := range allSites(s) {
		rows = append(rows, []string{short(x.process + x.Func + ":" + strconv.Itoa(x.Line)), mibs(x.Bytes), strconv.FormatInt(x.Objects, 10)})
	}
	p.table([]string{"site", ">live MiB", ">objects"}, rows)
	p.head("Mappings of the runtime, MiB")
	rows = nil
	for i := range s.Mappings {
		x := &s.Mappings[i]
		rows = append(rows, []string{x.Kind, x.Name, mibs(x.Bytes), mibs(x.Resident), mibs(x.Dirty), strconv.Itoa(x.Count)})
	}
	p.table([]string{"kind", "name", ">mapped", ">resident", ">dirty", ">mappings"}, rows)
	if len(s.Pools) > 0 {
		p.head("Pools")
		rows = nil
		for i := range s.Pools {
			x := &s.Pools[i]
			rows = append(rows, []string{x.Name, strconv.FormatInt(x.Outstanding, 10), strconv.FormatInt(x.Idle, 10), mibs(x.Bytes)})
		}
		p.table([]string{"pool", ">leased", ">idle", ">MiB"}, rows)
	}
	p.head("Goroutines")
	rows = nil
	for i := range s.Goroutines {
		x := &s.Goroutines[i]
		rows = append(rows, []string{strconv.Itoa(x.Count), short(x.Entry), short(x.Wait)})
	}
	p.table([]string{">count", "began as", "is at"}, rows)
	n := 0
	rows = nil
	for _, x := range s.Descriptors {
		n += x.Count
		rows = append(rows, []string{strconv.Itoa(x.Count), x.Kind, x.Name})
	}
	p.head(fmt.Sprintf("Descriptors: %d of %d", n, s.DescriptorLimit))
	p.table([]string{">count", "kind", "name"}, rows)
	if len(s.Leaks) > 0 {
		p.head("Leaks")
		p.leaks(s.Leaks)
	}
	return p.to(w)
}

// WriteText writes a difference.
func (d *Diff) WriteText(w io.Writer, t Text) error {
	p := &page{Text: t}
	p.line("%s  %s apart", p.paint(bold, "Memory from "+d.From+" to "+d.To), since(d.Seconds))
	p.line("  load: %.0f → %.0f frames/s, %d → %d connections, %d → %d books", d.LoadFrom.FramesPerSecond, d.LoadTo.FramesPerSecond,
		d.LoadFrom.Connections, d.LoadTo.Connections, d.LoadFrom.Books, d.LoadTo.Books)
	if d.Restarted {
		p.line("  %s", p.paint(yellow, "the runtime was restarted in between: differences are between two runs"))
	}
	for _, x := range []struct {
		title, name string
		all         []Change
		bytes       bool
	}{{"Totals, MiB", "", d.Totals, true}, {"Resident by process, MiB", "process", d.Processes, true}, {"Live heap of plugins, MiB", "process", d.Heaps, true},
		{"Live heap by subsystem, MiB", "subsystem", d.Subsystems, true}, {"Live heap by site, MiB", "site", d.Sites, true},
		{"Mappings, MiB", "mapping", d.Mappings, true}, {"Leases", "pool", d.Pools, false}, {"Goroutines", "stack", d.Goroutines, false},
		{"Descriptors", "kind", d.Descriptors, false}} {
		if len(x.all) == 0 {
			continue
		}
		p.head(x.title)
		number := func(n int64) string { return strconv.FormatInt(n, 10) }
		if x.bytes {
			number = mibs
		}
		var rows [][]string
		for i := range x.all {
			c := &x.all[i]
			by := number(c.By())
			if c.By() > 0 {
				by = "+" + by
			}
			rows = append(rows, []string{by, number(c.From), number(c.To), short(c.Name)})
		}
		p.table([]string{">change", ">from", ">to", x.name}, rows)
	}
	return p.to(w)
}

// WriteText writes what leaks.
func (r LeakReport) WriteText(w io.Writer, t Text) error {
	p := &page{Text: t}
	watched := since(r.Watched)
	if len(r.Leaks) == 0 {
		p.line("%s  nothing grows without end (watched for %s; a leak of 1 MiB a minute is found within five minutes)", p.paint(green, "No leaks"), watched)
		return p.to(w)
	}
	p.line("%s (watched for %s)", p.paint(red, fmt.Sprintf("%d leaks", len(r.Leaks))), watched)
	p.leaks(r.Leaks)
	return p.to(w)
}

func (p *page) leaks(all []Leak) {
	for i := range all {
		l := &all[i]
		number := func(v float64) string { return fmt.Sprintf("%.1f", v) }
		if l.Bytes() {
			number = func(v float64) string { return Size(int64(v)) }
		}
		p.line("  %s  %s in %s", p.paint(bold, short(l.Site())), l.Kind, l.Process)
		p.line("    grows by %s (99 %% sure of %s to %s), is at %s, since %s", p.paint(red, l.Rate()), number(l.Low), number(l.High), number(l.Value), l.Since.Local().Format(time.DateTime))
		if l.File != "" && l.Line > 0 {
			p.line("    %s", p.paint(dim, l.File+":"+strconv.Itoa(l.Line)))
		}
	}
}

// WriteAdvice writes advice.
func WriteAdvice(w io.Writer, all []Advice, t Text) error {
	p := &page{Text: t}
	if len(all) == 0 {
		p.line("%s  nothing that was measured asks for another setting", p.paint(green, "No advice"))
	}
	for i := range all {
		a := &all[i]
		code := map[Severity]string{Urgent: red, Should: yellow, Could: dim}[a.Severity]
		p.line("%s  %s: %s → %s", p.paint(code, fmt.Sprintf("%-6s", a.Severity)), p.paint(bold, short(a.Setting)), a.Now, a.Value)
		p.line("        where     %s", a.Where)
		p.line("        evidence  %s", short(a.Evidence))
		p.line("        effect    %s", a.Effect)
	}
	return p.to(w)
}
