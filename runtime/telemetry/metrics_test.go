package telemetry

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogramQuantilesAreWithinTheirBucket(t *testing.T) {
	var h Histogram
	r := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for range 100_000 {
		d := time.Duration(1) << r.IntN(40)
		d += time.Duration(r.Int64N(int64(d)))
		all = append(all, d)
		h.Observe(d)
	}
	slices.Sort(all)
	s := h.Snapshot()
	if s.Count != 100_000 {
		t.Fatal(s.Count)
	}
	for _, q := range []float64{0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[int(q*100_000)-1]
		if got := s.Quantile(q); got < want || float64(got) > float64(want)*1.0906+1 {
			t.Errorf("quantile %v: %d, want %d or up to 9 %% above", q, got, want)
		}
	}
	if (&Snapshot{}).Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	h.Observe(-1)
	h.Observe(1000 * time.Hour)
	if d := h.Snapshot().Since(s); d.Count != 2 || d.Quantile(1) != time.Duration(histBounds[histBuckets-1]) {
		t.Errorf("since: %d, %v", d.Count, d.Quantile(1))
	}
}

func TestExposition(t *testing.T) {
	l := NewLayer("test")
	c := l.Counter(Late, "things_total", "Things that were counted here.", "feed")
	g := l.Gauge(Late, "level", "A level that goes up and down.")
	hd := l.Histogram(Late, "wait_seconds", "How long things had to wait.", "feed")
	if err := Check(l.Metrics()); err != nil {
		t.Fatal(err)
	}
	var h Histogram
	h.ObserveN(time.Microsecond, 3) // above 2^-20 s, below 2^-18
	h.Observe(time.Second)
	h.Observe(100 * time.Second) // above the last classic bound
	r := NewRegistry()
	r.Add(func(e *Emitter) {
		e.Count(c, 7, "a")
		e.Value(g, -1.5)
		e.Histogram(hd, h.Snapshot(), "a")
		e.Value(c, 1) // a value too few: left out, the others stay
	})
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	var got []string
	for sc := bufio.NewScanner(rec.Body); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "marketprism_test") {
			got = append(got, sc.Text())
		}
	}
	for _, want := range []string{`marketprism_test_things_total{feed="a"} 7`, `marketprism_test_level -1.5`,
		`marketprism_test_wait_seconds_bucket{feed="a",le="9.5367431640625e-07"} 0`, `marketprism_test_wait_seconds_bucket{feed="a",le="3.814697265625e-06"} 3`,
		`marketprism_test_wait_seconds_bucket{feed="a",le="1"} 4`, `marketprism_test_wait_seconds_bucket{feed="a",le="64"} 4`,
		`marketprism_test_wait_seconds_bucket{feed="a",le="+Inf"} 5`, `marketprism_test_wait_seconds_count{feed="a"} 5`} {
		if !slices.Contains(got, want) {
			t.Errorf("no line %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text")
	rec = httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, req)
	body, _ := io.ReadAll(rec.Body)
	text := strings.ReplaceAll(string(body), "  ", " ") // the format's spaces vary on purpose
	i := strings.Index(text, `name: "marketprism_test_wait_seconds"`)
	if i < 0 || strings.Count(text[i:], "positive_span") != 3 {
		t.Errorf("want three native spans in %.2000s", text[max(i, 0):])
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, d := range []*Desc{
		{Name: "marketprism_Bad_total", Help: "A help of four words."},
		{Name: "marketprism_a_b", Help: "A help of four words."},
		{Name: "marketprism_a_total", Help: "A help of four words.", Type: Gauge},
		{Name: "marketprism_a_wait", Help: "A help of four words.", Type: Hist},
		{Name: "marketprism_a_total", Help: "short"},
		{Name: "marketprism_a_total", Help: "A help of four words.", Labels: []string{"symbol"}},
	} {
		if Check([]*Desc{d}) == nil {
			t.Errorf("%+v was taken", d)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	b.ReportAllocs()
	var h Histogram
	for i := 0; b.Loop(); i++ {
		h.Observe(time.Duration(i&0xfffff) * 100)
	}
}
