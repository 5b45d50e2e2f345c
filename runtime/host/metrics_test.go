package host_test

import (
	"testing"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/telemetry"
)

// reported are a plugin's values by name; of histograms the counts.
func reported(r interface{ Report(*telemetry.Emitter) }) map[string]float64 {
	reg := telemetry.NewRegistry()
	reg.Add(r.Report)
	m := map[string]float64{}
	for _, v := range reg.Values() {
		name := v.Desc.Name[len("marketprism_plugin_"):]
		if m[name] = v.Value; v.Hist != nil {
			m[name] = float64(v.Hist.Count)
		}
	}
	return m
}

// metrics compares a plugin's values with what was done to it.
func metrics(t *testing.T, r interface{ Report(*telemetry.Emitter) }, want map[string]float64) {
	t.Helper()
	got := reported(r)
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s is %v (%v), want %v", name, g, ok, v)
		}
	}
}

func TestDescs(t *testing.T) {
	if err := telemetry.Check(host.Descs()); err != nil {
		t.Fatal(err)
	}
}

// checkUsage says that a running plugin uses the CPU time that a small process does.
func checkUsage(t *testing.T, r interface{ Report(*telemetry.Emitter) }) {
	t.Helper()
	if cpu := reported(r)["cpu_seconds_total"]; cpu < 0 || cpu > 60 {
		t.Errorf("%v s of CPU time", cpu)
	}
}
