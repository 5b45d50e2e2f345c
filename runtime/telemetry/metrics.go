package telemetry

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// Reporter emits a package's values at the moment of a scrape. Hot paths keep
// plain counters of their own; nothing is counted twice.
type Reporter func(*Emitter)

// Emitter takes values.
type Emitter struct {
	Exemplars bool // they are asked for
	emit      func(sample)
}

type sample struct {
	desc   *Desc
	value  float64
	hist   *Snapshot
	ex     *Exemplar
	labels []string
}

// Exemplar is one of the observations that a histogram counts, and whose it was:
// what is no label, since there are too many of it.
type Exemplar struct {
	Label, Of string
	Value     time.Duration
	At        time.Time
}

// Value gives a counter's or gauge's value; labels are the values of d's labels,
// in their order.
func (e *Emitter) Value(d *Desc, v float64, labels ...string) {
	e.emit(sample{desc: d, value: v, labels: labels})
}

// Count gives a counter's or gauge's value.
func (e *Emitter) Count(d *Desc, v uint64, labels ...string) {
	e.emit(sample{desc: d, value: float64(v), labels: labels})
}

// Histogram gives a histogram.
func (e *Emitter) Histogram(d *Desc, s *Snapshot, labels ...string) {
	e.emit(sample{desc: d, hist: s, labels: labels})
}

// HistogramLike gives a histogram with an exemplar, or without if that is nil.
func (e *Emitter) HistogramLike(d *Desc, s *Snapshot, ex *Exemplar, labels ...string) {
	e.emit(sample{desc: d, hist: s, ex: ex, labels: labels})
}

// Registry collects reporters. It answers scrapes in the text format, with
// classic buckets, and in the protobuf format with native ones beside them.
type Registry struct {
	prom      *prometheus.Registry
	exemplars atomic.Bool

	mu        sync.Mutex
	reporters map[int]Reporter
	next      int
}

// NewRegistry makes a registry with the Go runtime's and the process's own metrics.
func NewRegistry() *Registry {
	r := &Registry{prom: prometheus.NewRegistry(), reporters: map[int]Reporter{}}
	r.prom.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), unchecked{r})
	return r
}

// SetExemplars says whether histograms have exemplars. They are off at first:
// they make answers larger, and few look at them.
func (r *Registry) SetExemplars(on bool) { r.exemplars.Store(on) }

// Add adds a reporter; the returned function removes it.
func (r *Registry) Add(rep Reporter) (remove func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.next
	r.next++
	r.reporters[id] = rep
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.reporters, id)
	}
}

func (r *Registry) each(emit func(sample)) {
	r.mu.Lock()
	reps := make([]Reporter, 0, len(r.reporters))
	for _, id := range slices.Sorted(maps.Keys(r.reporters)) {
		reps = append(reps, r.reporters[id])
	}
	r.mu.Unlock()
	for _, rep := range reps {
		rep(&Emitter{r.exemplars.Load(), emit})
	}
}

// Value is one value of a metric.
type Value struct {
	Desc   *Desc
	Labels []string  // values, in the order of Desc.Labels
	Value  float64   // of a counter or gauge
	Hist   *Snapshot // of a histogram
}

// Values asks all reporters.
func (r *Registry) Values() (vs []Value) {
	r.each(func(s sample) { vs = append(vs, Value{s.desc, slices.Clone(s.labels), s.value, s.hist}) })
	return vs
}

// Handler serves the metrics. A metric that can't be collected is left out and
// said in the answer's log; the others are served.
func (r *Registry) Handler() http.Handler {
	plain := promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	open := promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true})
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if r.exemplars.Load() { // of the text formats OpenMetrics alone has them
			open.ServeHTTP(w, q)
			return
		}
		plain.ServeHTTP(w, q)
	})
}

// unchecked turns samples into Prometheus metrics; it describes none ahead,
// since reporters come and go with feeds and sinks.
type unchecked struct{ r *Registry }

func (unchecked) Describe(chan<- *prometheus.Desc) {}

func (u unchecked) Collect(ch chan<- prometheus.Metric) {
	u.r.each(func(s sample) {
		d := s.desc.desc()
		switch {
		case len(s.labels) != len(s.desc.Labels):
			ch <- prometheus.NewInvalidMetric(d, fmt.Errorf("telemetry: %s: %d values for %d labels", s.desc.Name, len(s.labels), len(s.desc.Labels)))
		case s.desc.Type == Hist:
			if s.hist == nil {
				return
			}
			var m prometheus.Metric = histMetric{s, d}
			if s.ex != nil {
				x := prometheus.Exemplar{Value: s.ex.Value.Seconds(), Labels: prometheus.Labels{s.ex.Label: s.ex.Of}, Timestamp: s.ex.At}
				if with, err := prometheus.NewMetricWithExemplars(m, x); err == nil { // else the name is too long for one
					m = with
				}
			}
			ch <- m
		default:
			t := prometheus.CounterValue
			if s.desc.Type == Gauge {
				t = prometheus.GaugeValue
			}
			ch <- prometheus.MustNewConstMetric(d, t, s.value, s.labels...)
		}
	})
}

// histMetric writes classic and native buckets.
type histMetric struct {
	sample
	d *prometheus.Desc
}

func (m histMetric) Desc() *prometheus.Desc { return m.d }

// The classic buckets' bounds are 2^-20 s (0.95 µs) to 2^6 s, each 4 times the
// one before: every 16th native bound, so that both agree to the last count.
const (
	classicLow  = -20
	classicHigh = 6
	classicStep = 2
)

func (m histMetric) Write(out *dto.Metric) error {
	for i, v := range m.labels {
		out.Label = append(out.Label, &dto.LabelPair{Name: &m.desc.Labels[i], Value: new(v)})
	}
	h := &dto.Histogram{SampleCount: new(m.hist.Count), SampleSum: new(m.hist.Sum.Seconds()),
		Schema: new(int32(histSchema)), ZeroThreshold: new(0.0), ZeroCount: new(uint64(0))}
	var cumulative uint64
	i := 0
	for e := classicLow; e <= classicHigh; e += classicStep {
		for ; i < histBuckets && i+histLow <= e<<histSchema; i++ {
			cumulative += m.hist.buckets[i]
		}
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: new(math.Exp2(float64(e))), CumulativeCount: new(cumulative)})
	}
	last, before := int32(histLow), int64(0) // the bucket after the last span, and the count of the last bucket
	for i, n := range m.hist.buckets {
		if n == 0 {
			continue
		}
		at := int32(i + histLow)
		if k := len(h.PositiveSpan); k > 0 && at == last {
			h.PositiveSpan[k-1].Length = new(h.PositiveSpan[k-1].GetLength() + 1)
		} else {
			offset := at
			if k > 0 {
				offset = at - last
			}
			h.PositiveSpan = append(h.PositiveSpan, &dto.BucketSpan{Offset: new(offset), Length: new(uint32(1))})
		}
		h.PositiveDelta = append(h.PositiveDelta, int64(n)-before)
		last, before = at+1, int64(n)
	}
	if len(h.PositiveSpan) == 0 { // says that it is native all the same
		h.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32(0)), Length: new(uint32(0))}}
	}
	out.Histogram = h
	return nil
}
