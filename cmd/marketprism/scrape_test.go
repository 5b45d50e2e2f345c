package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// scrape is an answer of /metrics.
type scrape struct {
	text   []byte
	types  map[string]string
	series map[string][]series // by name, without marketprism_
}

type series struct {
	labels map[string]string
	value  float64
}

var (
	sampleForm = regexp.MustCompile(`^([a-z_]\w*)(?:\{(.*)\})? (\S+)$`)
	labelForm  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

func parseScrape(r io.Reader) (s scrape, err error) {
	s.types, s.series = map[string]string{}, map[string][]series{}
	if s.text, err = io.ReadAll(r); err != nil {
		return s, err
	}
	for line := range strings.Lines(string(s.text)) {
		line = strings.TrimSuffix(line, "\n")
		if f := strings.Fields(line); len(f) == 4 && f[1] == "TYPE" {
			s.types[f[2]] = f[3]
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := sampleForm.FindStringSubmatch(line)
		if m == nil {
			return s, fmt.Errorf("no sample: %q", line)
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return s, fmt.Errorf("%q: %w", line, err)
		}
		x := series{map[string]string{}, v}
		for _, l := range labelForm.FindAllStringSubmatch(m[2], -1) {
			x.labels[l[1]] = l[2]
		}
		name := strings.TrimPrefix(m[1], "marketprism_")
		s.series[name] = append(s.series[name], x)
	}
	return s, nil
}

// all are a metric's series with these labels (name, value, …); of a histogram
// its counts.
func (s scrape) all(name string, labels ...string) (out []series) {
	found := s.series[name]
	if s.types["marketprism_"+name] == "histogram" {
		found = s.series[name+"_count"]
	}
next:
	for _, x := range found {
		for i := 0; i < len(labels); i += 2 {
			if x.labels[labels[i]] != labels[i+1] {
				continue next
			}
		}
		out = append(out, x)
	}
	return out
}

// of is the sum of a metric's values with these labels; of a histogram its count.
func (s scrape) of(name string, labels ...string) (sum float64) {
	for _, x := range s.all(name, labels...) {
		sum += x.value
	}
	return sum
}

// sum is a histogram's sum.
func (s scrape) sum(name string, labels ...string) float64 { return s.of(name+"_sum", labels...) }

// check is what a check gets: the run, and ways to compare.
type check struct {
	*testing.T
	*metricsRun
}

// equal compares a value at a moment with what it must be.
func (c *check) equal(at scrape, want float64, name string, labels ...string) {
	c.Helper()
	if len(at.all(name, labels...)) == 0 && want != 0 {
		c.Errorf("%s%v isn't there, want %v", name, labels, want)
	}
	if got := at.of(name, labels...); got != want {
		c.Errorf("%s%v is %v, want %v", name, labels, got, want)
	}
}

// between compares a value with bounds.
func (c *check) between(at scrape, low, high float64, name string, labels ...string) {
	c.Helper()
	if got := at.of(name, labels...); got < low || got > high || math.IsNaN(got) || len(at.all(name, labels...)) == 0 {
		c.Errorf("%s%v is %v, want %v to %v", name, labels, got, low, high)
	}
}

// mean compares the mean of a histogram with bounds.
func (c *check) mean(at scrape, low, high float64, name string, labels ...string) {
	c.Helper()
	n, sum := at.of(name, labels...), at.sum(name, labels...)
	if m := sum / n; !(m >= low && m <= high) {
		c.Errorf("the mean of %s%v is %v s (%v in %v s), want %v to %v", name, labels, m, n, sum, low, high)
	}
	// Its buckets are cumulative, and their last one is its count.
	last := map[string]float64{}
	for _, b := range at.series[name+"_bucket"] {
		series := maps.Clone(b.labels)
		delete(series, "le")
		k := fmt.Sprint(series)
		if b.value < last[k] {
			c.Errorf("%s: bucket le=%s holds less than the one before", name, b.labels["le"])
		}
		last[k] = b.value
	}
}

// stamp is a time as metrics have it.
func stamp(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// checkScrape parses a scrape as Prometheus does.
func checkScrape(t *testing.T, text []byte) {
	t.Helper()
	tool := promtool(t)
	if tool == "" {
		t.Log("not parsed by promtool: there is none")
		return
	}
	// Its advice on names is of metrics other than ours as well; what it
	// can't parse is an error.
	if out, err := runTool(tool, bytes.NewReader(text), "check", "metrics"); err != nil && strings.Contains(string(out), "marketprism_") || bytes.Contains(out, []byte("error while")) {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
