package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// http answers the public requests that a collector makes. What is refused has
// status 200.
func (d *htx) http(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	d.e.mu.Lock()
	data, ok := d.answer(r.URL.Path, r.URL.Query().Get, now)
	d.e.mu.Unlock()
	o := obj{"status": "ok", "data": data, "ts": now.UnixMilli()}
	if strings.HasSuffix(r.URL.Path, "/batch_merged") {
		o = obj{"status": "ok", "ticks": data, "ts": now.UnixMilli()}
	}
	if !ok {
		o = obj{"status": "error", "err_code": 1332, "err_msg": "The contract doesn't exist or the request isn't emulated.", "ts": now.UnixMilli()}
	}
	if strings.HasSuffix(r.URL.Path, "/market/history/trade") && ok {
		o["ch"] = "market." + r.URL.Query().Get("symbol") + r.URL.Query().Get("contract_code") + ".trade.detail"
	}
	b, _ := json.Marshal(o) // texts and numbers always marshal
	d.e.reply(w, r, http.StatusOK, b)
}

// api is where requests for a symbol go: of market data and of all else.
func (d *htx) api(s *symbol) (data, api string) {
	switch {
	case d.market == market.MarketSpot:
		return "", ""
	case d.market == market.MarketLinear:
		return "/linear-swap-ex", "/linear-swap-api/v1/swap_"
	case strings.Contains(s.native, "-"):
		return "/swap-ex", "/swap-api/v1/swap_"
	}
	return "", "/api/v1/contract_"
}

func (d *htx) answer(path string, arg func(string) string, now time.Time) (answer any, ok bool) {
	list := []any{}
	for _, s := range d.e.mkt.syms {
		data, api := d.api(s)
		mine := arg("symbol")+arg("contract_code") == s.native
		switch {
		case d.market == market.MarketSpot && path == "/v1/settings/common/market-symbols":
			list = append(list, obj{"symbol": s.native, "state": "online", "bc": strings.ToLower(s.base), "qc": strings.ToLower(s.quote), "pp": s.tick, "ap": s.step, "at": "enabled"})
		case api != "" && path == api+"contract_info":
			list = append(list, d.listing(s))
		case d.market == market.MarketSpot && path == "/market/tickers", d.market != market.MarketSpot && data != "" && path == data+"/market/detail/batch_merged":
			b := d.ticker([]byte(`{`), s, true, now.UnixNano())
			name := `,"symbol":"`
			if d.market != market.MarketSpot {
				name = `,"contract_code":"`
			}
			list = append(list, json.RawMessage(string(b[:len(b)-2])+name+s.native+`"}`))
		case api != "" && path == api+"open_interest" && mine:
			list = append(list, obj{"volume": 78696, "amount": 78.696, "symbol": s.base, "value": 3823138.2456, "contract_code": s.native})
		case api != "" && (path == api+"elite_account_ratio" || path == api+"elite_position_ratio") && mine:
			at := now.Truncate(5 * time.Minute).UnixMilli()
			return obj{"symbol": s.base, "contract_code": s.native, "list": []obj{{"buy_ratio": 0.5943, "sell_ratio": 0.4049, "locked_ratio": 0.0008, "ts": at - 300_000},
				{"buy_ratio": 0.6021, "sell_ratio": 0.3979, "locked_ratio": 0, "ts": at}}}, true
		case path == data+"/market/history/trade" && mine:
			limit, _ := strconv.Atoi(arg("size"))
			for id := s.trade; id > max(s.trade-recentTrades, 0) && limit > 0; id, limit = id-1, limit-1 {
				if t := s.recent[id%recentTrades]; t.id == id {
					list = append(list, obj{"id": id, "ts": t.now / 1_000_000, "data": []json.RawMessage{d.trade(nil, s, t)}})
				}
			}
		}
	}
	return list, len(list) > 0 || strings.HasSuffix(path, "contract_info")
}

func (d *htx) listing(s *symbol) obj {
	size, expiry := "10", ""
	if s.base == "BTC" {
		size = "100"
	}
	if d.market == market.MarketLinear {
		size = "0.001"
	}
	if i := len(s.native) - 6; s.native[i] >= '0' && s.native[i] <= '9' {
		t, _ := time.Parse("060102", s.native[i:])
		expiry = strconv.FormatInt(t.Add(8*time.Hour).UnixMilli(), 10)
	}
	return obj{"symbol": s.base, "contract_code": s.native, "contract_size": json.Number(size), "price_tick": json.Number(appendFixed(nil, 1, s.tick, s.printTick)),
		"delivery_time": expiry, "create_date": "20201021", "contract_status": 1, "settlement_date": "1645142400000"}
}
