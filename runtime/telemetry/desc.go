package telemetry

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Type of a metric.
type Type int

// The types.
const (
	Counter Type = iota
	Gauge
	Hist // classic and native buckets
)

func (t Type) String() string { return [...]string{"counter", "gauge", "histogram"}[t] }

// Question is what a person on call asks. A metric that helps to answer none of
// them is left out.
type Question int

// The questions, in the order in which they are asked.
const (
	Complete Question = iota // is data complete?
	Late                     // is it late, and where?
	Who                      // which venue, which plugin, which sink?
	RunsOut                  // what runs out next, and when?
	Changed                  // what changed before it broke?
	Pays                     // does this resource layer do its work?
)

var questions = [...]string{"Is the data complete?", "Is it late, and where?", "Which venue, which plugin, which sink?",
	"What runs out next, and when?", "What changed before it broke?", "Do the resource layers do their work?"}

func (q Question) String() string { return questions[q] }

// Desc describes a metric. Packages declare theirs as variables by a Layer, so
// that there is one list of all metrics, and one place for each one's meaning.
type Desc struct {
	Name   string // marketprism_…, ends in its unit, counters in _total
	Help   string // what it is, and what to do when it moves
	Type   Type
	Layer  string
	Answer Question
	Labels []string // names; their values are bounded: never a symbol

	once sync.Once
	prom *prometheus.Desc
}

func (d *Desc) desc() *prometheus.Desc {
	d.once.Do(func() { d.prom = prometheus.NewDesc(d.Name, d.Help, d.Labels, nil) })
	return d.prom
}

// Layer is the metrics of a package. The four resource layers are memory, pool,
// conn and sched.
type Layer struct {
	name  string
	descs []*Desc
}

// NewLayer names a layer. Its name is the first word of its metrics' names.
func NewLayer(name string) *Layer { return &Layer{name: name} }

// Metrics are the layer's, in the order of their declaration.
func (l *Layer) Metrics() []*Desc { return slices.Clone(l.descs) }

func (l *Layer) add(t Type, q Question, name, help string, labels []string) *Desc {
	d := &Desc{Name: "marketprism_" + l.name + "_" + name, Help: help, Type: t, Layer: l.name, Answer: q, Labels: labels}
	l.descs = append(l.descs, d)
	return d
}

// Counter declares a metric that only grows; its name ends in _total.
func (l *Layer) Counter(q Question, name, help string, labels ...string) *Desc {
	return l.add(Counter, q, name, help, labels)
}

// Gauge declares a metric that goes up and down.
func (l *Layer) Gauge(q Question, name, help string, labels ...string) *Desc {
	return l.add(Gauge, q, name, help, labels)
}

// Histogram declares a distribution of durations; its name ends in _seconds.
func (l *Layer) Histogram(q Question, name, help string, labels ...string) *Desc {
	return l.add(Hist, q, name, help, labels)
}

var (
	nameForm  = regexp.MustCompile(`^marketprism_[a-z][a-z0-9]*(_[a-z0-9]+)+$`)
	labelForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// forbidden labels have no bound.
var forbidden = []string{"symbol", "instrument", "conn", "pid", "url", "error", "le", "quantile"}

// Check says what is wrong with a list of metrics: names that break the
// conventions, labels without a bound, help that says nothing, two of one name.
func Check(descs []*Desc) error {
	seen := map[string]bool{}
	for _, d := range descs {
		total := strings.HasSuffix(d.Name, "_total")
		switch {
		case !nameForm.MatchString(d.Name):
			return fmt.Errorf("telemetry: metric %q: want lower case words joined by _", d.Name)
		case seen[d.Name]:
			return fmt.Errorf("telemetry: metric %q is declared twice", d.Name)
		case total != (d.Type == Counter):
			return fmt.Errorf("telemetry: metric %q is a %s: counters, and nothing else, end in _total", d.Name, d.Type)
		case d.Type == Hist && !strings.HasSuffix(d.Name, "_seconds"):
			return fmt.Errorf("telemetry: histogram %q does not end in _seconds", d.Name)
		case len(strings.Fields(d.Help)) < 4 || !strings.HasSuffix(d.Help, "."):
			return fmt.Errorf("telemetry: metric %q: its help is no sentence: %q", d.Name, d.Help)
		}
		for _, l := range d.Labels {
			if !labelForm.MatchString(l) || slices.Contains(forbidden, l) {
				return fmt.Errorf("telemetry: metric %q: label %q has no bound, or a bad name", d.Name, l)
			}
		}
		seen[d.Name] = true
	}
	return nil
}
