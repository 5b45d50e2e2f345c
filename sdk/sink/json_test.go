package sink

import (
	"encoding/json"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
)

func TestAppendJSON(t *testing.T) {
	i := &market.Instrument{ID: 1, Venue: "binance", Market: market.MarketLinear, Symbol: "BTC\"USDT", Name: "BTC-USDT-PERP",
		AmountUnit: market.UnitContract, ContractSize: market.MustDecimal("0.001")}
	h := market.Header{Instrument: 1, Ts: 5, TsSend: market.None, TsRecv: 6, Seq: 7, PrevSeq: market.None, Key: 255, Pos: 64}
	tr := market.Trade{Header: h, ID: []byte("7\x01é\xff"), Price: market.MustDecimal("1.50"), Amount: market.MustDecimal("3"),
		Side: market.SideBuy, FirstID: market.None, LastID: market.None}
	want := `{"kind":"trade","venue":"binance","market":"linear","symbol":"BTC\"USDT","instrument":"BTC-USDT-PERP","ts":5,"ts_recv":6,"seq":7,` +
		`"id":"7\u0001é` + "�" + `","price":"1.5","amount":"3","side":"buy","amount_base":"0.003","amount_unit":"contract","key":"00000000000000ff","pos":64,"index":0}`
	got := string(AppendJSON(nil, market.View(tr.AppendTo(nil)), i))
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !json.Valid([]byte(got)) {
		t.Error("not valid JSON")
	}
	bk := market.Book{Header: h, Bids: []market.Level{{Price: market.MustDecimal("1.10"), Amount: market.MustDecimal("0.00")}},
		Depth: market.None, FirstSeq: 6, Checksum: market.None}
	bk.Flags = market.FlagUnsynced
	want = `{"kind":"book_delta","venue":"binance","market":"linear","symbol":"BTC\"USDT","instrument":"BTC-USDT-PERP","ts":5,"ts_recv":6,"seq":7,` +
		`"unsynced":true,"bids":[["1.1","0"]],"asks":[],"first_seq":6,"key":"00000000000000ff","pos":64,"index":0}`
	if got := string(AppendJSON(nil, market.View(bk.AppendTo(nil)), i)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	liq := market.Liquidation{Header: h, Price: market.MustDecimal("2"), Amount: market.MustDecimal("3"), Side: market.SideSell}
	liq.Flags = market.FlagLossy | market.FlagQuoteAmount
	want = `{"kind":"liquidation","venue":"binance","market":"linear","symbol":"BTC\"USDT","instrument":"BTC-USDT-PERP","ts":5,"ts_recv":6,"seq":7,` +
		`"lossy":true,"price":"2","amount":"3","side":"sell","amount_unit":"quote","key":"00000000000000ff","pos":64,"index":0}`
	if got := string(AppendJSON(nil, market.View(liq.AppendTo(nil)), i)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	buf := make([]byte, 0, 1024)
	rec := market.View(bk.AppendTo(nil))
	if n := testing.AllocsPerRun(100, func() { buf = AppendJSON(buf[:0], rec, i) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
