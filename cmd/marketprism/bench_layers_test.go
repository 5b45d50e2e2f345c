package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBenchLayers runs the benchmark once, shortly, and holds what it says
// together: no figure's size is looked at that depends on the machine.
func TestBenchLayers(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "layers.svg")
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "bench", "layers", "--quick", "--json", "--svg", picture)
	var told strings.Builder
	cmd.Stderr = &told
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, told.String())
	}
	var r layersReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	if r.Machine.Cores < 1 || r.Machine.Go == "" || r.At.IsZero() || !r.Quick || r.Rounds != 1 || len(r.Runs) != len(layerPlan) {
		t.Errorf("machine %+v, at %v, quick %t, %d rounds, %d runs", r.Machine, r.At, r.Quick, r.Rounds, len(r.Runs))
	}
	for i, p := range r.Runs {
		if p.Part != layerPlan[i].part || p.Way != layerPlan[i].way || p.Tried != uint64(layerPlan[i].quick) || p.Succeeded != p.Tried || p.Failure != "" ||
			p.PerSecond <= 0 || p.Before.Resident == 0 || p.After.Live == 0 {
			t.Errorf("run %d: %+v", i, p)
		}
	}
	one := func(part, way string) partResult {
		all := r.of(part, way)
		if len(all) != 1 {
			t.Fatalf("%s %s ran %d times", part, way, len(all))
		}
		return all[0]
	}
	// What a layer is for doesn't depend on the machine: fewer allocations, fewer
	// connections.
	for _, p := range []struct {
		part, off, on string
		most          float64
	}{{"objects", "off", "on", 0.1}, {"requests", "off", "on", 3}, {"tasks", "off", "on", 0.5}, {"tasks-concurrent", "off", "on", 0.5},
		{"composite", "none", "pools", math.Inf(1)}, {"composite", "pools", "connections", 20}} {
		off, on := one(p.part, p.off), one(p.part, p.on)
		if on.Allocs >= off.Allocs || on.Allocs > p.most {
			t.Errorf("%s: %.2f allocations an operation without, %.2f with", p.part, off.Allocs, on.Allocs)
		}
	}
	req := one("requests", "on")
	if n := req.Tried + req.Tried/10; req.Requests != n || req.Reused != n-req.Opened || req.Opened == 0 || req.Opened > layerConns {
		t.Errorf("%d requests, %d on connections that had served one, of %d connections", req.Requests, req.Reused, req.Opened)
	}
	rows := map[string]layerRow{}
	for _, row := range r.Rows {
		rows[row.ID] = row
		if row.With == nil {
			t.Errorf("row %s has no figure", row.ID)
		}
		if row.Gain != nil && math.Abs(*row.Gain - *row.With / *row.Without) > 1e-9 || row.OfEarlier != nil && math.Abs(*row.OfEarlier - *row.With / *row.Earlier) > 1e-9 {
			t.Errorf("row %s: %+v", row.ID, row)
		}
	}
	for id, v := range earlier {
		if row := rows[id]; row.Earlier == nil || *row.Earlier != v {
			t.Errorf("row %s says nothing of the earlier system's %g", id, v)
		}
	}
	if w := rows["connection_reuse"].With; *w != 100*float64(req.Reused)/float64(req.Requests) {
		t.Errorf("connection reuse %g", *w)
	}
	if len(r.Cumulative) != len(steps) || r.Cumulative[0].Gain != 1 || r.Monitor == nil || r.Monitor.Says.Resident == 0 || len(r.Floors) != 10 {
		t.Errorf("%d steps, monitor %+v, %d floors", len(r.Cumulative), r.Monitor, len(r.Floors))
	}
	checkPicture(t, picture, r.Cumulative)
}

// checkPicture reads a picture as XML and looks for each step's bars and figures.
func checkPicture(t *testing.T, path string, cumulative []layerStep) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	elements, text := map[string]int{}, ""
	for d := xml.NewDecoder(f); ; {
		tok, err := d.Token()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			for _, a := range tok.Attr {
				if a.Name.Local == "class" {
					elements[a.Value]++
				}
			}
		case xml.CharData:
			text += string(tok) + "\n"
		}
	}
	if elements["rate"] != len(steps) || elements["wait"] != len(steps) {
		t.Errorf("bars: %v", elements)
	}
	for i, s := range cumulative {
		if !strings.Contains(text, stepName(i)) || !strings.Contains(text, thousands(int64(s.PerSecond))) {
			t.Errorf("the picture lacks step %s", s.Layer)
		}
	}
}

// TestFloors holds that a floor that is missed is an error that names it.
func TestFloors(t *testing.T) {
	r := layersReport{Machine: machine{Load: 3}, Floors: []layerFloor{{"pooled HTTP requests on loopback", "/s", 5e4, 49_999, false}, {"connection reuse", "%", 99.9, 99.95, true}}}
	err := r.missed()
	if err == nil || !strings.Contains(err.Error(), "pooled HTTP requests on loopback: 49,999/s, want 50,000/s") || strings.Contains(err.Error(), "reuse") {
		t.Errorf("%v", err)
	}
	r.Floors[0].Met = true
	if err := r.missed(); err != nil {
		t.Error(err)
	}
	var c *exitCode
	if errors.As(err, &c) {
		t.Errorf("status %d for a missed floor; plain errors end with %d", c.code, exitError)
	}
}

// TestQuantity holds that what isn't all doesn't look like all.
func TestQuantity(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit string
		want string
	}{{100, "%", "100.00 %"}, {99.99998, "%", "99.99998 %"}, {99.5, "%", "99.50 %"}, {8229, "/s", "8,229/s"}, {152.6, "/s", "152.6/s"}, {15.54e6, "bytes", "15.54 MB"}, {10e6, "", "10,000,000"}} {
		if got := quantity(c.v, c.unit); got != c.want {
			t.Errorf("%g %s: %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}
