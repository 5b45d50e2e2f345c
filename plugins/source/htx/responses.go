package htx

import (
	"bytes"
	"fmt"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// response decodes {"status":"ok","ch":…,"ts":…,"data":…}, with "tick" or "ticks"
// for "data": by its topic if it names one, else by the path of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c, m := &d.c, &d.m
	c.Reset(in.Data)
	var status, code, reason []byte
	var data jsonscan.Mark
	have := false
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "status":
			status = c.Str()
		case "ch":
			m.name(c.Str())
		case "ts":
			m.sent = source.Millis(c)
		case "tick", "ticks", "data":
			data, have = c.Mark(), true
			c.Skip()
		case "err-code", "err_code":
			code = c.NumOrStr()
		case "err-msg", "err_msg":
			reason = c.Str()
		default:
			c.Skip()
		}
	}
	err := c.End()
	switch {
	case in.Status != 200 || err == nil && string(status) != "ok":
		return fmt.Errorf("status %d, %.20q, %.80s: %.200s", in.Status, status, code, reason)
	case err != nil:
		return err
	case !have:
		return fmt.Errorf("no data")
	}
	c.Seek(data)
	if err := d.answerOf(in.URL, out); err != nil {
		return err
	}
	if err := c.End(); err != nil {
		return err
	}
	d.emit(out)
	return nil
}

// answerOf decodes a response's data.
func (d *decoder) answerOf(address []byte, out *source.Out) error {
	m := &d.m
	path, _, _ := bytes.Cut(address, []byte("?"))
	last := path[bytes.LastIndexByte(path, '/')+1:]
	if product, name, ok := bytes.Cut(last, []byte{'_'}); ok && (string(product) == "swap" || string(product) == "contract") {
		last = name
	}
	switch string(last) {
	case "symbols", "market-symbols", "contract_info":
		return source.EachOrOne(&d.c, d, out, (*decoder).listing)
	case "open_interest":
		return source.EachOrOne(&d.c, d, out, (*decoder).openInterest)
	case "elite_account_ratio", "elite_position_ratio":
		m.arg = []byte("top_accounts")
		if string(last) == "elite_position_ratio" {
			m.arg = []byte("top_positions")
		}
		return source.EachOrOne(&d.c, d, out, (*decoder).ratios)
	case "funding_rate", "batch_funding_rate":
		m.sent = market.None // it isn't the rate's
		return source.EachOrOne(&d.c, d, out, (*decoder).funding)
	case "bbo":
		return source.EachOrOne(&d.c, d, out, (*decoder).bbo)
	case "tickers":
		m.market = market.MarketSpot
		return source.EachOrOne(&d.c, d, out, (*decoder).ticker)
	case "batch_merged":
		if m.market = market.MarketInverse; bytes.Contains(path, []byte("/linear-")) {
			m.market = market.MarketLinear
		}
		return source.EachOrOne(&d.c, d, out, (*decoder).ticker)
	case "trade":
		m.origin = market.OriginBackfill
	case "kline":
		m.origin = market.OriginBackfill
	}
	if m.what == topicNone || m.what == isFunding || m.what == isLiquidations {
		return fmt.Errorf("no such request is known")
	}
	return d.data(out)
}

// openInterest decodes one, in contracts.
func (d *decoder) openInterest(out *source.Out) error {
	c, m := &d.c, &d.m
	t := market.OpenInterest{Header: d.header(market.ChannelOpenInterest)}
	t.TsSend, t.Ts = m.sent, m.sent
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "contract_code":
			symbol = c.Str()
		case "volume":
			t.Amount = source.Decimal(c)
		case "value":
			t.Value = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Amount.IsNull() {
		return source.Lacks(c, "an open interest", "contract_code or volume")
	}
	t.Instrument = d.id(symbol, out)
	out.OpenInterest(&t)
	return nil
}

// ratios decodes the share of long and short among the accounts or positions that
// the venue calls its elite: of the list, which repeats with each request, the newest.
func (d *decoder) ratios(out *source.Out) error {
	c, m := &d.c, &d.m
	t := market.LongShortRatio{Header: d.header(market.ChannelLongShortRatio), Population: m.arg}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "contract_code":
			symbol = c.Str()
		case "list":
			c.Array()
			for c.Elem() {
				var long, short market.Decimal
				at := int64(0)
				c.Object()
				for c.Key() {
					switch string(c.KeyBytes()) {
					case "buy_ratio":
						long = source.Decimal(c)
					case "sell_ratio":
						short = source.Decimal(c)
					case "ts":
						at = source.Millis(c)
					default:
						c.Skip()
					}
				}
				if at > t.Ts {
					t.Ts, t.Long, t.Short = at, long, short
				}
			}
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Ts == 0 || t.Long.IsNull() || t.Short.IsNull() {
		return source.Lacks(c, "ratios", "contract_code or a list")
	}
	t.Instrument = d.id(symbol, out)
	out.LongShortRatio(&t)
	return nil
}
