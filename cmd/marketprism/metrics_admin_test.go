package main

var reloadChecks = map[string]func(*check){
	"runtime_reloads_total": func(c *check) {
		c.equal(c.before, 0, "runtime_reloads_total")
		for result, n := range map[string]float64{"unchanged": 1, "invalid": 1, "applied": 0, "failed": 0} {
			c.equal(c.end, n, "runtime_reloads_total", "result", result)
		}
		c.equal(c.again, 0, "runtime_reloads_total")
	},
	"runtime_last_reload_success_timestamp_seconds": func(c *check) {
		if len(c.before.all("runtime_last_reload_success_timestamp_seconds")) != 0 {
			c.Error("it is there before the first reload")
		}
		c.between(c.end, stamp(c.looked), stamp(c.reloaded), "runtime_last_reload_success_timestamp_seconds")
	},
}

var adminChecks = map[string]func(*check){
	"admin_requests_total": func(c *check) {
		// What look asked; the scrapes and the status requests are counted by the
		// run itself, which is the only one that asks.
		for _, w := range []struct {
			route, code string
			n           float64
		}{{"health", "2xx", 2}, {"other", "4xx", 1}, {"pprof", "4xx", 1}, {"reload", "2xx", 1}, {"reload", "4xx", 1}, {"api", "4xx", 2}, {"api", "2xx", snapshotsAsked + outsideAsks}} {
			by := c.end.of("admin_requests_total", "route", w.route, "code", w.code) - c.before.of("admin_requests_total", "route", w.route, "code", w.code)
			if by != w.n {
				c.Errorf("%s %s: %v more, look asked %v times", w.route, w.code, by, w.n)
			}
		}
		// This scrape is not counted in itself; before is.
		c.equal(c.end, c.scrapes-1, "admin_requests_total", "route", "metrics", "code", "2xx")
		for _, code := range []string{"3xx", "5xx"} {
			c.equal(c.end, 0, "admin_requests_total", "code", code)
		}
		c.equal(c.end, 0, "admin_requests_total", "route", "metrics", "code", "4xx")
	},
	"admin_refused_total": func(c *check) {
		c.equal(c.before, 0, "admin_refused_total")
		c.equal(c.end, 1, "admin_refused_total", "reason", "host")
		c.equal(c.end, 0, "admin_refused_total", "reason", "token") // there is none in this run
	},
}
