package pool

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// reported are a registry's metrics by name and labels; of histograms the counts.
func reported(r *Registry) map[string]float64 {
	reg := telemetry.NewRegistry()
	defer reg.Add(r.Report)()
	m := map[string]float64{}
	for _, v := range reg.Values() {
		key := strings.TrimPrefix(v.Desc.Name, "marketprism_pool_") + " " + strings.Join(v.Labels, ",")
		if m[key] = v.Value; v.Hist != nil {
			m[key] = float64(v.Hist.Count)
		}
	}
	return m
}

// TestMetricsOfWaits has two wait at the capacity: one gets what is returned, the
// other gives up.
func TestMetricsOfWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry
		p := make1(t, Options[thing]{MaxOutstanding: 1, Policy: Block, Registry: &r})
		held := lease(t, p)
		got, gaveUp := make(chan error, 1), make(chan error, 1)
		go func() {
			l, err := p.LeaseContext(t.Context())
			if err == nil {
				l.Return()
			}
			got <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			_, err := p.LeaseContext(ctx)
			gaveUp <- err
		}()
		synctest.Wait()
		if m := reported(&r); m["waiting_goroutines things"] != 2 || m["outstanding_leases things,"] != 1 || m["capacity_objects things"] != 1 {
			t.Errorf("while two wait: %v", m)
		}
		if err := <-gaveUp; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who gave up got %v", err)
		}
		held.Return()
		if err := <-got; err != nil {
			t.Error(err)
		}
		if m := reported(&r); m["waiting_goroutines things"] != 0 || m["wait_seconds things"] != 2 || m["refused_leases_total things"] != 1 || m["outstanding_leases things,"] != 0 {
			t.Errorf("in the end: %v", m)
		}
	})
}

// TestMetricsOfLostLeases drops a traced lease.
func TestMetricsOfLostLeases(t *testing.T) {
	var r Registry
	p := make1(t, Options[thing]{Sample: 1, Registry: &r, OnFault: func(*Fault) {}})
	func() { lease(t, p) }()
	var m map[string]float64
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); runtime.Gosched() {
		runtime.GC()
		if m = reported(&r); m["lost_leases_total things"] == 1 {
			break
		}
	}
	if m["lost_leases_total things"] != 1 || m["leak_sites things"] != 1 {
		t.Errorf("%v", m)
	}
}

// TestMetricsOfExchanges leases more than a magazine holds.
func TestMetricsOfExchanges(t *testing.T) {
	if invariants {
		t.Skip("pools keep no magazines in the invariants build")
	}
	var r Registry
	p := make1(t, Options[thing]{Registry: &r})
	for range 2 {
		var held []Lease[thing]
		for range 10_000 {
			held = append(held, lease(t, p))
		}
		for _, l := range held {
			l.Return()
		}
	}
	if m := reported(&r); m["depot_exchanges_total things"] == 0 || m["depot_exchanges_total things"] > 40_000 || m["leases_total things"] != 20_000 {
		t.Errorf("%v", m)
	}
}
