package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// http answers the public endpoints that a collector uses. Answers have nothing
// around their rows.
func (d *bitmex) http(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v1/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	fail := func(status int, name, message string) {
		b, _ := json.Marshal(obj{"error": obj{"message": message, "name": name}}) // texts always marshal
		d.e.reply(w, r, status, b)
	}
	used, allowed := d.e.weigh(1)
	w.Header().Set("X-Ratelimit-Limit", strconv.Itoa(d.e.limits.weight))
	w.Header().Set("X-Ratelimit-Remaining", strconv.Itoa(max(d.e.limits.weight-used, 0)))
	if !allowed {
		w.Header().Set("Retry-After", "1")
		fail(http.StatusTooManyRequests, "RateLimitError", "Rate limit exceeded, retry in 1 seconds.")
		return
	}
	d.e.mu.Lock()
	body, why := d.answered(path, r.URL.Query().Get)
	d.e.mu.Unlock()
	if why != "" {
		fail(http.StatusBadRequest, "HTTPError", why)
		return
	}
	d.e.reply(w, r, http.StatusOK, body)
}

func (d *bitmex) answered(path string, arg func(string) string) (body []byte, why string) {
	if path == "instrument/active" || path == "instrument" {
		all := []obj{}
		for _, s := range d.e.mkt.syms {
			if columns := arg("columns"); columns != "" {
				all = append(all, d.statistic(s, columns))
			} else {
				all = append(all, d.listing(s))
			}
		}
		body, _ = json.Marshal(all) // texts and numbers always marshal
		return body, ""
	}
	s := d.e.mkt.byName[arg("symbol")]
	if s == nil {
		return nil, "Unknown symbol"
	}
	body = []byte{'['}
	switch path {
	case "orderBook/L2":
		if d.e.take(FaultStaleSnapshot) != nil {
			s = s.first(d.e.opt.Seed, d.e.opt.Depth, d.e.opt.FirstID)
		}
		body = d.book(body, s, time.Now().UnixNano())
	case "trade": // the first ones of the span
		count, _ := strconv.Atoi(arg("count"))
		from, err := time.Parse(time.RFC3339, arg("startTime"))
		to, err2 := time.Parse(time.RFC3339, arg("endTime"))
		if err != nil || err2 != nil || count > 1000 {
			return nil, "Invalid request"
		}
		for id := max(s.trade-recentTrades, 0) + 1; id <= s.trade && count > 0; id++ {
			if t := s.recent[id%recentTrades]; t.id == id && t.now >= from.UnixNano() && t.now <= to.UnixNano() {
				if len(body) > 1 {
					body = append(body, ',')
				}
				body = d.trade(body, s, t)
				count--
			}
		}
	default:
		return nil, "Not Found"
	}
	return append(body, ']'), ""
}

// statistic has the columns of an instrument that are asked for.
func (d *bitmex) statistic(s *symbol, columns string) obj {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(d.instrument(nil, s, time.Now().UnixNano(), true), &all) // it is JSON
	var names []string
	_ = json.Unmarshal([]byte(columns), &names)
	o := obj{}
	for _, name := range names {
		if v, ok := all[name]; ok {
			o[name] = v
		}
	}
	return o
}

func (d *bitmex) listing(s *symbol) obj {
	tick := json.RawMessage(appendFixed(nil, 1, s.tick, s.printTick))
	coin := func(c string) string { return strings.Replace(c, "BTC", "XBT", 1) }
	o := obj{"symbol": s.native, "rootSymbol": coin(s.base), "state": "Open", "typ": "FFWCSX", "underlying": coin(s.base), "quoteCurrency": coin(s.quote),
		"tickSize": tick, "lotSize": 1, "isInverse": d.market == market.MarketInverse, "isQuanto": false, "timestamp": bitmexTime(time.Now().UnixNano())}
	switch {
	case d.market == market.MarketSpot:
		o["typ"], o["underlyingToPositionMultiplier"], o["multiplier"] = "IFXXXP", 100_000_000, 1
		return o
	case d.market == market.MarketInverse && s.base != "BTC":
		o["settlCurrency"], o["multiplier"] = "Gwei", -1_000_000_000
	case d.market == market.MarketInverse:
		o["settlCurrency"], o["multiplier"] = "XBt", -100_000_000
	case s.quote == "USDT":
		o["settlCurrency"], o["multiplier"] = "USDt", 1
	default:
		o["settlCurrency"], o["multiplier"], o["isQuanto"] = "XBt", 100, true
	}
	if expiry := s.bitmexExpiry(); expiry != "" {
		o["typ"], o["expiry"] = "FFCCSX", expiry
	}
	return o
}
