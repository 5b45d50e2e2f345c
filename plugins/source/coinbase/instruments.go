package coinbase

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Symbols end with the house that lists the contract: BTC-PERP-INTX is settled in
// USDC, BIT-27MAR26-CDE (whose first part is the contract's code) in dollars.
const (
	international = "INTX"
	derivatives   = "CDE"
	nativeDate    = "02Jan06"
)

// marketOf tells a symbol's market by its form.
func marketOf(symbol []byte) market.Market {
	if i := bytes.IndexByte(symbol, '-'); i >= 0 && bytes.IndexByte(symbol[i+1:], '-') >= 0 {
		return market.MarketLinear
	}
	return market.MarketSpot
}

// parse names a symbol; the zero Name if it isn't one of the venue's.
func parse(symbol string) market.Name {
	parts := strings.Split(symbol, "-")
	switch {
	case len(parts) == 2:
		return market.Name{Base: parts[0], Quote: parts[1]}
	case len(parts) == 3 && parts[2] == international && parts[1] == "PERP":
		return market.Name{Base: parts[0], Quote: "USDC", End: "PERP"}
	case len(parts) == 3 && parts[2] == derivatives:
		if end := market.NameDate(nativeDate, parts[1]); end != "" && upperDate(end) == parts[1] {
			return market.Name{Base: parts[0], Quote: "USD", End: end}
		}
	}
	return market.Name{}
}

func upperDate(end string) string { return strings.ToUpper(market.VenueDate(nativeDate, end)) }

// Identify names a symbol. Perpetuals are traded in coins; what a contract of the
// others is worth the catalogue says.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	i := market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, AmountUnit: unit(symbol)}
	i.Name = parse(symbol).String()
	return i
}

func unit(symbol string) market.Unit {
	if strings.HasSuffix(symbol, "-"+derivatives) {
		return market.UnitContract
	}
	return market.UnitBase
}

// Resolve gives the symbol of a canonical name.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	if err == nil {
		switch m := n.Market(); {
		case n.Settle != "" || m != market.MarketSpot && m != market.MarketLinear:
			err = fmt.Errorf("all contracts are settled in their quote currency")
		case m == market.MarketSpot:
			return m, n.Base + "-" + n.Quote, nil
		case n.End == "PERP" && n.Quote == "USDC":
			return m, n.Base + "-PERP-" + international, nil
		case n.End != "PERP" && n.Quote == "USD":
			return m, n.Base + "-" + upperDate(n.End) + "-" + derivatives, nil
		default:
			err = fmt.Errorf("perpetuals are quoted in USDC, futures in USD")
		}
	}
	return 0, "", fmt.Errorf("coinbase: %q names no instrument: %w; valid are BTC-USD (spot), BTC-USDC-PERP, BIT-USD-20260327 (linear, by the contract's code)", name, err)
}

// catalogue decodes a list of products: {"products":[…]}, or [{…},…] of the Exchange.
func (d *decoder) catalogue(out *source.Out, one func(*decoder, *source.Out) error) error {
	if d.c.Kind() == jsonscan.KindArray {
		return source.Each(&d.c, d, out, one)
	}
	d.c.Object()
	return d.member("products", out, one)
}

// products decodes an event of the channel status.
func (d *decoder) products(out *source.Out) error {
	return d.member("products", out, (*decoder).instrument)
}

// details are a contract's: a perpetual's own, if it states them, else those of all.
type details struct {
	size, rate, interest market.Decimal
	expiry, fundingAt    int64
	interval             []byte
	perpetual            bool
}

// product is what the parts of a listing say.
type product struct {
	symbol []byte
	r      market.InstrumentRecord
	details
}

// product reads a listing of any of the interfaces.
func (d *decoder) product() (p product, err error) {
	c := &d.c
	p.r = market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), Expiry: market.None}
	p.expiry, p.fundingAt = market.None, market.None
	status, disabled := market.StatusUnknown, false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "product_id", "id":
			p.symbol = c.Str()
		case "base_currency_id", "base_currency":
			p.r.Base = c.Str()
		case "quote_currency_id", "quote_currency":
			p.r.Quote = c.Str()
		case "base_increment":
			p.r.LotSize = source.DecimalOrNull(c)
		case "quote_increment":
			if p.r.TickSize.IsNull() {
				p.r.TickSize = source.DecimalOrNull(c)
			} else {
				c.Skip()
			}
		case "price_increment":
			if tick := source.DecimalOrNull(c); !tick.IsNull() {
				p.r.TickSize = tick
			}
		case "status":
			status = statuses[string(c.Str())]
		case "trading_disabled", "is_disabled", "cancel_only":
			if !c.Null() {
				disabled = c.Bool() || disabled
			}
		case "future_product_details":
			if !c.Null() {
				c.Object()
				d.details(&p.details)
			}
		default:
			c.Skip()
		}
	}
	if p.symbol == nil || c.Err() != nil {
		return p, source.Lacks(&d.c, "a product", "product_id or id")
	}
	if p.r.Status = status; disabled && (status == market.StatusTrading || status == market.StatusUnknown) {
		p.r.Status = market.StatusHalted
	} else if status == market.StatusUnknown && marketOf(p.symbol) == market.MarketLinear {
		p.r.Status = market.StatusTrading // contracts state none unless there is something to say
	}
	return p, nil
}

func (d *decoder) details(x *details) {
	c := &d.c
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "contract_size":
			x.size = source.DecimalOrNull(c)
		case "contract_expiry":
			x.expiry = timeOrNone(d)
		case "contract_expiry_type":
			x.perpetual = string(c.Str()) == "PERPETUAL"
		case "perpetual_details":
			if !c.Null() {
				c.Object()
				d.details(x)
			}
		case "funding_rate":
			if v := source.DecimalOrNull(c); !v.IsNull() {
				x.rate = v
			}
		case "funding_time":
			if at := timeOrNone(d); at != market.None {
				x.fundingAt = at
			}
		case "funding_interval":
			x.interval = c.Str()
		case "open_interest":
			if v := source.DecimalOrNull(c); !v.IsNull() {
				x.interest = v
			}
		default:
			c.Skip()
		}
	}
}

// timeOrNone reads a time that may be null, "" or that of the year 1.
func timeOrNone(d *decoder) int64 {
	c := &d.c
	if c.Null() {
		return market.None
	}
	t, err := time.Parse(time.RFC3339, string(c.Str()))
	if err != nil || t.Year() < 1971 || t.Year() > 2261 {
		return market.None
	}
	return t.UnixNano()
}

var statuses = map[string]market.Status{
	"online": market.StatusTrading, "offline": market.StatusHalted, "internal": market.StatusHalted, "delisted": market.StatusDelisted,
}

// instrument decodes a listing; those of the other market are left to its feed.
func (d *decoder) instrument(out *source.Out) error {
	p, err := d.product()
	if err != nil {
		return err
	}
	m := marketOf(p.symbol)
	if !d.Wants(m) {
		return nil
	}
	n := parse(string(p.symbol))
	if m == market.MarketLinear {
		p.r.Quote = []byte(n.Quote)
		if p.r.ContractSize = p.size; !p.perpetual {
			p.r.Expiry = p.expiry
		}
	}
	p.r.AmountUnit = unit(string(p.symbol))
	out.Listing(&p.r, m, p.symbol, n)
	return nil
}

// funding decodes the rate of a contract that has one, due at its funding_time.
func (d *decoder) funding(out *source.Out) error {
	p, err := d.product()
	if err != nil {
		return err
	}
	if p.rate.IsNull() || p.fundingAt == market.None || !d.Wants(marketOf(p.symbol)) {
		return nil // a future that expires
	}
	t := market.Funding{Header: source.Header(market.ChannelFunding), Rate: p.rate, NextTs: p.fundingAt}
	t.Ts = market.None
	if string(p.interval) == "3600s" {
		t.Interval = []byte("1h")
	}
	t.Instrument = out.SymbolIn(marketOf(p.symbol), p.symbol)
	out.Funding(&t)
	return nil
}

// openInterest decodes that of a contract.
func (d *decoder) openInterest(out *source.Out) error {
	p, err := d.product()
	if err != nil {
		return err
	}
	if p.interest.IsNull() || !d.Wants(marketOf(p.symbol)) {
		return nil
	}
	t := market.OpenInterest{Header: source.Header(market.ChannelOpenInterest), Amount: p.interest}
	t.Ts = market.None
	t.Instrument = out.SymbolIn(marketOf(p.symbol), p.symbol)
	out.OpenInterest(&t)
	return nil
}
