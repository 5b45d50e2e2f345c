package bitfinex

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// future ends the currencies of contracts, both of them: tBTCF0:USTF0.
const future = "F0"

// currencies are those that the venue calls otherwise than the rest of the world
// (pub:map:currency:sym), as far as no other one of its currencies has the name.
var currencies = map[string]string{
	"AIO": "AION", "ALG": "ALGO", "AMP": "AMPL", "ATO": "ATOM", "CTX": "CTXC", "DAT": "DATA", "DRN": "DRGN", "DSH": "DASH",
	"EUS": "EURS", "EUT": "EURT", "GSD": "GUSD", "IOS": "IOST", "IOT": "IOTA", "LBT": "LBTC", "MIT": "MITH", "MNA": "MANA",
	"NCA": "NCASH", "OMN": "OMNI", "PAS": "PASS", "POY": "POLY", "QSH": "QASH", "QTM": "QTUM", "RBT": "RBTC", "SNG": "SNGLS",
	"SPK": "SPANK", "STJ": "STORJ", "TSD": "TUSD", "UDC": "USDC", "USK": "USDK", "UST": "USDT", "VSY": "VSYS", "WBT": "WBTC", "YYW": "YOYOW",
}

var codes = func() map[string]string {
	m := make(map[string]string, len(currencies))
	for code, name := range currencies {
		m[name] = code
	}
	return m
}()

func mapped(m map[string]string, s string) string {
	if other, ok := m[s]; ok {
		return other
	}
	return s
}

// marketOf tells a symbol's market by its form.
func marketOf(symbol []byte) market.Market {
	if bytes.HasSuffix(symbol, []byte(future)) {
		return market.MarketLinear
	}
	return market.MarketSpot
}

// parse names a symbol; the zero Name if it isn't one of the venue's: "t" before
// two currencies, which stand together where both have three letters, and else
// have a colon between them.
func parse(symbol string) (n market.Name) {
	pair, ok := strings.CutPrefix(symbol, "t")
	base, quote, colon := strings.Cut(pair, ":")
	if !colon && len(pair) == 6 {
		base, quote = pair[:3], pair[3:]
	}
	if !ok || base == "" || quote == "" {
		return n
	}
	if code, ok := strings.CutSuffix(quote, future); ok {
		quote, n.End = code, "PERP"
		if base, ok = strings.CutSuffix(base, future); !ok {
			return market.Name{}
		}
	}
	n.Base, n.Quote = mapped(currencies, base), mapped(currencies, quote)
	return n
}

// Identify names a symbol. Amounts of contracts count the base currency.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	return market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, AmountUnit: market.UnitBase, Name: parse(symbol).String()}
}

// Resolve gives the symbol of a canonical name.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m := n.Market()
	switch {
	case err != nil:
	case m != market.MarketSpot && (m != market.MarketLinear || n.End != "PERP" || n.Settle != ""):
		err = fmt.Errorf("contracts are perpetual and settled in the quote currency")
	}
	if err != nil {
		return 0, "", fmt.Errorf("bitfinex: %q names no instrument: %w; valid are BTC-USD, BTC-USDT (spot), BTC-USDT-PERP (linear)", name, err)
	}
	base, quote := mapped(codes, n.Base), mapped(codes, n.Quote)
	switch {
	case m == market.MarketLinear:
		return m, "t" + base + future + ":" + quote + future, nil
	case len(base) == 3 && len(quote) == 3:
		return m, "t" + base + quote, nil
	}
	return m, "t" + base + ":" + quote, nil
}

// instruments decodes a catalogue, [["BTCUSD", …]] or [[["BTCUSD",[…]], …]] with
// order sizes and margins. Prices have five significant digits and amounts eight
// places, so that no instrument has a tick.
func (d *decoder) instruments(out *source.Out) error {
	c := &d.c
	c.Array()
	for c.Elem() {
		c.Array()
		for c.Elem() {
			if c.Kind() != jsonscan.KindArray {
				d.instrument(c.Str(), out)
				continue
			}
			c.Array()
			for i := 0; c.Elem(); i++ {
				if i == 0 {
					d.instrument(c.Str(), out)
				} else {
					c.Skip()
				}
			}
		}
	}
	return c.End()
}

func (d *decoder) instrument(pair []byte, out *source.Out) {
	if d.c.Err() != nil || len(pair) == 0 {
		return
	}
	d.text = append(append(d.text[:0], 't'), pair...)
	m := marketOf(d.text)
	if !d.Wants(m) {
		return
	}
	n := parse(string(d.text))
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitBase, Expiry: market.None, Status: market.StatusTrading,
		Base: []byte(n.Base), Quote: []byte(n.Quote), Instrument: []byte(n.String())}
	if m == market.MarketLinear {
		r.Settle = r.Quote
	}
	r.Header.Instrument = out.SymbolIn(m, d.text)
	out.Instrument(&r)
}
