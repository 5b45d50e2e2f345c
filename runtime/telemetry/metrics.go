package telemetry

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Type of a metric.
type Type int

// The types.
const (
	Counter Type = iota
	Gauge
)

// Sample is one value at the moment of a scrape. Hot paths keep plain atomic
// counters of their own; a scrape reads them.
type Sample struct {
	Name   string // marketprism_…, with its unit
	Help   string
	Type   Type
	Labels []string // name, value, name, value, …; never a symbol
	Value  float64
}

// Reporter gives its samples to emit.
type Reporter func(emit func(Sample))

// Registry collects reporters.
type Registry struct {
	prom *prometheus.Registry

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

// Each calls all reporters.
func (r *Registry) Each(emit func(Sample)) {
	r.mu.Lock()
	reps := make([]Reporter, 0, len(r.reporters))
	for _, rep := range r.reporters {
		reps = append(reps, rep)
	}
	r.mu.Unlock()
	for _, rep := range reps {
		rep(emit)
	}
}

// Handler serves the metrics.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{})
}

// unchecked turns samples into Prometheus metrics; it describes none ahead,
// since reporters come and go with feeds and sinks.
type unchecked struct{ r *Registry }

func (unchecked) Describe(chan<- *prometheus.Desc) {}

func (u unchecked) Collect(ch chan<- prometheus.Metric) {
	u.r.Each(func(s Sample) {
		names, values := make([]string, 0, len(s.Labels)/2), make([]string, 0, len(s.Labels)/2)
		for i := 0; i+1 < len(s.Labels); i += 2 {
			names, values = append(names, s.Labels[i]), append(values, s.Labels[i+1])
		}
		t := prometheus.CounterValue
		if s.Type == Gauge {
			t = prometheus.GaugeValue
		}
		m, err := prometheus.NewConstMetric(prometheus.NewDesc(s.Name, s.Help, names, nil), t, s.Value, values...)
		if err != nil {
			m = prometheus.NewInvalidMetric(prometheus.NewDesc(s.Name, s.Help, names, nil), err)
		}
		ch <- m
	})
}
