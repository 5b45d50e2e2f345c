package market

import (
	"fmt"
	"strings"
	"time"
)

// Name is a canonical name in its parts:
// BASE-QUOTE[:SETTLE][-PERP|-YYYYMMDD[-STRIKE-C|P]].
type Name struct {
	Base, Quote string
	Settle      string // empty where it is the quote currency
	End         string // "" (spot), "PERP" or YYYYMMDD
	Strike      string // of an option
	Option      OptionType
}

// ParseName reads a canonical name. The error says what is wrong with it.
func ParseName(s string) (Name, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 2 && len(parts) != 3 && len(parts) != 5 {
		return Name{}, fmt.Errorf("%q has %d parts", s, len(parts))
	}
	n := Name{Base: parts[0]}
	n.Quote, n.Settle, _ = strings.Cut(parts[1], ":")
	if n.Base == "" || n.Quote == "" || strings.ContainsAny(n.Base+n.Settle, ":/") || strings.HasSuffix(parts[1], ":") || n.Settle == n.Quote {
		return Name{}, fmt.Errorf("%q does not begin with BASE-QUOTE or BASE-QUOTE:SETTLE", s)
	}
	if len(parts) == 2 {
		if n.Settle != "" {
			return Name{}, fmt.Errorf("%q is settled in %s and has no PERP or expiry", s, n.Settle)
		}
		return n, nil
	}
	if n.End = parts[2]; n.End != "PERP" {
		if _, err := time.Parse(nameDate, n.End); err != nil {
			return Name{}, fmt.Errorf("%q: %q is neither PERP nor a date like 20261225", s, n.End)
		}
	}
	if len(parts) == 5 {
		n.Strike = parts[3]
		switch parts[4] {
		case "C":
			n.Option = OptionCall
		case "P":
			n.Option = OptionPut
		}
		if d, err := ParseDecimal([]byte(n.Strike)); n.Option == OptionNone || n.End == "PERP" || err != nil || d.Sign() <= 0 {
			return Name{}, fmt.Errorf("%q does not end like 20261225-100000-C", s)
		}
	}
	return n, nil
}

const nameDate = "20060102"

// String is the canonical name; empty where base or quote is missing.
func (n Name) String() string {
	if n.Base == "" || n.Quote == "" {
		return ""
	}
	s := n.Base + "-" + n.Quote
	if n.Settle != "" && n.Settle != n.Quote {
		s += ":" + n.Settle
	}
	if n.End != "" {
		s += "-" + n.End
	}
	switch n.Option {
	case OptionCall:
		s += "-" + n.Strike + "-C"
	case OptionPut:
		s += "-" + n.Strike + "-P"
	}
	return s
}

// Market is the kind of contract: what is settled in its base currency is inverse.
func (n Name) Market() Market {
	switch {
	case n.End == "":
		return MarketSpot
	case n.Option != OptionNone:
		return MarketOption
	case n.Settle == n.Base:
		return MarketInverse
	}
	return MarketLinear
}

// NameDate writes a venue's date ("240628", layout "060102") as names have it;
// empty where it is none.
func NameDate(layout, s string) string { return redate(layout, nameDate, s) }

// VenueDate is the inverse of NameDate.
func VenueDate(layout, s string) string { return redate(nameDate, layout, s) }

// monthCodes are the letters of the months in symbols of futures.
const monthCodes = "FGHJKMNQUVXZ"

// NameCode writes a letter and a year ("Z26"), by which venues name the month on
// whose last Friday a future ends, as names have the day; empty where it is none.
func NameCode(code string) string {
	year, err := time.Parse("06", code[min(1, len(code)):])
	if err != nil {
		return ""
	}
	i := strings.IndexByte(monthCodes, code[0])
	if i < 0 {
		return ""
	}
	day := time.Date(year.Year(), time.Month(i+2), 0, 0, 0, 0, 0, time.UTC) // the month's last
	return day.AddDate(0, 0, -(int(day.Weekday()-time.Friday)+7)%7).Format(nameDate)
}

// VenueCode is the inverse of NameCode.
func VenueCode(s string) string {
	t, err := time.Parse(nameDate, s)
	if err != nil {
		return ""
	}
	code := monthCodes[t.Month()-1:t.Month()] + t.Format("06")
	if NameCode(code) != s {
		return ""
	}
	return code
}

func redate(from, to, s string) string {
	t, err := time.Parse(from, s)
	if err != nil {
		return ""
	}
	return t.Format(to)
}

// CutQuote cuts a symbol without a separator (BTCUSDT) before the longest of the
// quotes that it ends with; both are empty where it ends with none.
func CutQuote(symbol string, quotes []string) (base, quote string) {
	for _, q := range quotes {
		if len(q) > len(quote) && len(symbol) > len(q) && strings.HasSuffix(symbol, q) {
			base, quote = symbol[:len(symbol)-len(q)], q
		}
	}
	return base, quote
}
