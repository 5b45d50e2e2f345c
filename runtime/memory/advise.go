package memory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Advice is one change that would help, with the reason.
type Advice struct {
	Severity Severity `json:"severity"`
	Setting  string   `json:"setting"`  // as it is written where it is set
	Where    string   `json:"where"`    // environment, pipeline, service unit
	Now      string   `json:"now"`      // its value
	Value    string   `json:"value"`    // that it should have
	Evidence string   `json:"evidence"` // what was measured
	Effect   string   `json:"effect"`
}

// Severity orders advice.
type Severity string

// The severities.
const (
	Urgent Severity = "urgent" // something runs out
	Should Severity = "should"
	Could  Severity = "could"
)

var severities = []Severity{Urgent, Should, Could}

// Advise says what to change, the most urgent first. Evidence is one snapshot,
// and an earlier one of the same run where a rate is needed (nil if there is
// none). No advice is given without a figure that was measured.
func Advise(s, before *Snapshot) []Advice {
	var out []Advice
	for _, f := range []func(s, before *Snapshot) []Advice{adviseLimit, adviseGC, advisePlugins, adviseJournals, advisePools, adviseDescriptors, adviseLeaks} {
		out = append(out, f(s, before)...)
	}
	slices.SortStableFunc(out, func(a, b Advice) int {
		return cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity))
	})
	return out
}

// ceiling is what bounds all processes together, and its name.
func ceiling(s *Snapshot) (int64, string) {
	if s.Machine.Cgroup > 0 {
		return s.Machine.Cgroup, "the control group's limit"
	}
	return s.Machine.Memory, "the machine's memory"
}

func percent(part, of int64) string {
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(max(of, 1)))
}

// roundUp makes a size that people would write: a multiple of 64 MiB.
func roundUp(n int64) int64 { return (n + 64<<20 - 1) &^ (64<<20 - 1) }

// roundDown is a multiple of 16 MiB, at least one.
func roundDown(n int64) int64 { return max(16<<20, n&^(16<<20-1)) }

func plain(n int64) string { return fmt.Sprintf("%dMiB", n>>20) }

// adviseLimit looks at GOMEMLIMIT and at what bounds the processes together.
func adviseLimit(s, _ *Snapshot) (out []Advice) {
	whole, what := ceiling(s)
	if whole == 0 {
		return nil
	}
	anonymous := int64(0)
	for i := range s.Processes {
		anonymous += s.Processes[i].Anonymous + s.Processes[i].Swapped
	}
	if anonymous > whole*85/100 {
		setting, where := "memory limit of the control group", "service unit (MemoryMax) or container"
		if s.Machine.Cgroup == 0 {
			setting, where = "memory of the machine", "machine"
		}
		out = append(out, Advice{Urgent, setting, where, Size(whole), Size(roundUp(anonymous * 3 / 2)),
			fmt.Sprintf("%d processes hold %s that no file backs: %s of %s", len(s.Processes), Size(anonymous), percent(anonymous, whole), what),
			"the kernel kills a process when nothing is left"})
	}
	var plugins int64
	for i := range s.Processes[min(1, len(s.Processes)):] {
		plugins += s.Processes[i+1].Anonymous
	}
	if s.Machine.Cgroup > 0 && s.Go.Limit == 0 {
		v := roundDown((s.Machine.Cgroup - plugins) * 9 / 10)
		out = append(out, Advice{Should, "GOMEMLIMIT", "environment of marketprism run", "none", plain(v),
			fmt.Sprintf("the control group ends at %s, plugins hold %s of it, and the runtime's collector knows of no limit (heap goal %s)",
				Size(s.Machine.Cgroup), Size(plugins), Size(int64(s.Go.Goal))),
			"the collector works harder before the kernel kills"})
	}
	if s.Go.Limit > 0 {
		used := int64(s.Go.Used())
		switch v := roundUp(used * 3 / 2); {
		case used > s.Go.Limit*9/10 && s.Go.GCShare > 0.05 && v+plugins < whole*9/10:
			out = append(out, Advice{Should, "GOMEMLIMIT", "environment of marketprism run", Size(s.Go.Limit), plain(v),
				fmt.Sprintf("%s of %s is used and collections take %.1f %% of the processor time used; %s leaves room", Size(used), Size(s.Go.Limit), 100*s.Go.GCShare, what),
				"fewer collections"})
		case s.Go.Limit > whole-plugins:
			out = append(out, Advice{Should, "GOMEMLIMIT", "environment of marketprism run", Size(s.Go.Limit), plain(roundDown((whole - plugins) * 9 / 10)),
				fmt.Sprintf("it is above what %s (%s) leaves beside the plugins' %s", what, Size(whole), Size(plugins)),
				"a limit that is never reached bounds nothing"})
		}
	}
	return out
}

// adviseGC looks at GOGC.
func adviseGC(s, before *Snapshot) []Advice {
	whole, what := ceiling(s)
	share, cycles, over := s.Go.GCShare, float64(s.Go.Cycles), s.Uptime
	if before != nil && before.Go.Cycles < s.Go.Cycles && before.Go.CPUSeconds < s.Go.CPUSeconds {
		share = (s.Go.GCSeconds - before.Go.GCSeconds) / (s.Go.CPUSeconds - before.Go.CPUSeconds)
		cycles, over = float64(s.Go.Cycles-before.Go.Cycles), s.Time.Sub(before.Time).Seconds()
	}
	if over <= 0 || s.Go.Percent == gcOff || s.Go.Percent == 0 {
		return nil
	}
	now := fmt.Sprint(s.Go.Percent)
	live, resident := int64(s.Go.Live), s.Resident()
	extra := live * int64(s.Go.Percent) / 100 // that doubling GOGC may add
	switch {
	case share > 0.05 && cycles >= 10 && resident+extra < whole*7/10 && (s.Go.Limit == 0 || int64(s.Go.Used())+extra < s.Go.Limit*8/10):
		return []Advice{{Should, "GOGC", "environment of marketprism run", now, fmt.Sprint(s.Go.Percent * 2),
			fmt.Sprintf("collections take %.1f %% of the processor time used (%.1f a minute); the live heap is %s and %s of %s is resident",
				100*share, cycles/over*60, Size(live), percent(resident, whole), what),
			fmt.Sprintf("half as many collections for %s more", Size(extra))}}
	case whole > 0 && resident > whole*8/10 && share < 0.01 && live > 32<<20:
		return []Advice{{Should, "GOGC", "environment of marketprism run", now, fmt.Sprint(max(25, s.Go.Percent/2)),
			fmt.Sprintf("%s of %s is resident, and collections take only %.2f %% of the processor time used", percent(resident, whole), what, 100*share),
			fmt.Sprintf("about %s less for twice as many collections", Size(live*int64(s.Go.Percent)/200))}}
	}
	return nil
}

// advisePlugins looks at plugins' heaps beside their limits, and at the batches
// of sinks.
func advisePlugins(s, _ *Snapshot) (out []Advice) {
	for i := range s.Processes {
		p := &s.Processes[i]
		if p.Heap == nil || p.Limit == 0 || int64(p.Heap.Live) < p.Limit*8/10 {
			continue
		}
		evidence := fmt.Sprintf("%s has %s alive after a collection, %s of its limit of %s: its collector runs without pause near it",
			p.Name, Size(int64(p.Heap.Live)), percent(int64(p.Heap.Live), p.Limit), Size(p.Limit))
		if len(p.Heap.Sites) > 0 {
			evidence += fmt.Sprintf("; most of it is %s (%s)", p.Heap.Sites[0].Func, Size(p.Heap.Sites[0].Bytes))
		}
		sink, isSink := strings.CutPrefix(p.Name, "sink/")
		for _, b := range s.Batches {
			if isSink && b.Sink == sink && b.Records > 100 {
				out = append(out, Advice{Should, "batch.max_records", "pipeline, sink " + sink, fmt.Sprint(b.Records), fmt.Sprint(max(100, b.Records/2)), evidence, "less is held between two writes"})
				isSink = false
				break
			}
		}
		if len(out) == 0 || out[len(out)-1].Evidence != evidence {
			out = append(out, Advice{Should, "symbols and channels of " + p.Name, "pipeline", "-", "fewer in one feed", evidence, "less state in one process"})
		}
	}
	return out
}

// adviseJournals looks at journals beside the memory that their pages may take,
// and at segments of one journal.
func adviseJournals(s, _ *Snapshot) (out []Advice) {
	resident := map[string]int64{}
	for i := range s.Mappings {
		if s.Mappings[i].Kind == "journal" {
			resident[s.Mappings[i].Name] += s.Mappings[i].Resident
		}
	}
	whole, what := ceiling(s)
	var all, dirty int64
	for i := range s.Mappings {
		if s.Mappings[i].Kind == "journal" {
			all += s.Mappings[i].Resident
			dirty += s.Mappings[i].Dirty
		}
	}
	if whole == 0 || all < whole/4 || all < 64<<20 {
		return nil
	}
	js := slices.Clone(s.Journals)
	slices.SortFunc(js, func(a, b Journal) int { return cmp.Compare(resident[b.Name], resident[a.Name]) })
	for _, j := range js[:min(1, len(js))] {
		v := max(int64(64<<20), roundDown(j.Max/2))
		if v >= j.Max {
			continue
		}
		out = append(out, Advice{Could, "journal.max_size", "pipeline, marketprism block", plain(j.Max), plain(v),
			fmt.Sprintf("mapped journal pages take %s of %s (%s); %s has most of them, %s, with segments of %s", Size(all), what, percent(all, whole), j.Name, Size(resident[j.Name]), Size(j.Segment)),
			"smaller segments are mapped, and the kernel has less to take back; sinks have less time to catch up"})
	}
	return out
}

// advisePools looks at pools that are at their bound or hold what nobody uses.
func advisePools(s, _ *Snapshot) (out []Advice) {
	for i := range s.Pools {
		p := &s.Pools[i]
		n := p.Idle + p.Outstanding
		switch {
		case p.Limit > 0 && max(p.Peak, p.Outstanding) >= p.Limit*95/100:
			out = append(out, Advice{Should, "limit of pool " + p.Name, "pool", fmt.Sprint(p.Limit), fmt.Sprint(p.Limit * 2),
				fmt.Sprintf("%d of %d objects were leased at once", max(p.Peak, p.Outstanding), p.Limit), "nobody waits for an object or makes one beside the pool"})
		case n > 0 && p.Bytes > 8<<20 && p.Peak > 0 && p.Idle > 4*p.Peak:
			free := p.Bytes / n * (p.Idle - p.Peak)
			out = append(out, Advice{Could, "limit of pool " + p.Name, "pool", fmt.Sprint(p.Limit), fmt.Sprint(2 * p.Peak),
				fmt.Sprintf("%d objects are idle and %d were leased at most", p.Idle, p.Peak), Size(free) + " are given back"})
		}
	}
	return out
}

func adviseDescriptors(s, _ *Snapshot) []Advice {
	n := uint64(0)
	for i := range s.Descriptors {
		n += uint64(s.Descriptors[i].Count)
	}
	if s.DescriptorLimit == 0 || n < s.DescriptorLimit*7/10 {
		return nil
	}
	return []Advice{{Urgent, "LimitNOFILE", "service unit, or ulimit -n", fmt.Sprint(s.DescriptorLimit), fmt.Sprint(max(1024, s.DescriptorLimit*4)),
		fmt.Sprintf("%d descriptors are open, most of them %s (%d)", n, joined(s.Descriptors[0].Kind, s.Descriptors[0].Name), s.Descriptors[0].Count),
		"connections and segments can be opened"}}
}

// adviseLeaks says when a leak will have used up what there is.
func adviseLeaks(s, _ *Snapshot) (out []Advice) {
	whole, what := ceiling(s)
	for i := range s.Leaks {
		l := &s.Leaks[i]
		if !l.Bytes() || whole == 0 || l.PerMinute <= 0 {
			continue
		}
		left := max(0, whole-s.Resident())
		out = append(out, Advice{Urgent, "code at " + l.Site(), "program", Size(int64(l.Value)), "no growth",
			fmt.Sprintf("%s grows by %s; %s ends in about %s", l.Process, l.Rate(), what, minutes(float64(left)/l.PerMinute)),
			"until it is mended, restart in time: nothing that was read is lost"})
	}
	return out
}

func minutes(m float64) string {
	switch {
	case m < 120:
		return fmt.Sprintf("%.0f minutes", m)
	case m < 48*60:
		return fmt.Sprintf("%.0f hours", m/60)
	}
	return fmt.Sprintf("%.0f days", m/60/24)
}
