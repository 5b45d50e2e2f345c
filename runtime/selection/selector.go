package selection

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Selector is what a source wants: all that Include or one of Selects takes, but
// nothing that Exclude takes.
type Selector struct {
	Include []string        `json:"include,omitempty"` // names, symbols, globs of either
	Exclude []string        `json:"exclude,omitempty"`
	Markets []market.Market `json:"markets"` // where Include looks
	Selects []Select        `json:"select,omitempty"`
	Every   time.Duration   `json:"every"` // between catalogues
}

// Select takes what all of its conditions hold for; an empty one holds for all.
type Select struct {
	Markets       []market.Market   `json:"markets"`
	Base          []string          `json:"base,omitempty"`
	Quote         []string          `json:"quote,omitempty"`
	Settle        []string          `json:"settle,omitempty"`
	Perpetual     *bool             `json:"perpetual,omitempty"` // or dated
	Option        market.OptionType `json:"option,omitempty"`
	ExpiresWithin time.Duration     `json:"expires_within,omitempty"`
	Status        []market.Status   `json:"status,omitempty"` // of what is taken anew; empty: trading, or not told
	Top           int               `json:"top,omitempty"`    // by the turnover of 24 hours; 0: all
	Margin        int               `json:"margin,omitempty"` // ranks below Top in which what was taken stays
}

// On lists the markets that a selector looks in, in their order.
func (s *Selector) On() []market.Market {
	var ms []market.Market
	if len(s.Include) > 0 {
		ms = slices.Clone(s.Markets)
	}
	for i := range s.Selects {
		ms = append(ms, s.Selects[i].Markets...)
	}
	slices.Sort(ms)
	return slices.Compact(ms)
}

// Ranks says whether a market's volumes must be known.
func (s *Selector) Ranks(m market.Market) bool {
	return slices.ContainsFunc(s.Selects, func(x Select) bool { return x.Top > 0 && slices.Contains(x.Markets, m) })
}

// String is the selector for people, in the words of a pipeline.
func (s *Selector) String() string {
	var parts []string
	add := func(name string, v []string) {
		if len(v) > 0 {
			parts = append(parts, name+" "+strings.Join(v, ", "))
		}
	}
	add("include", s.Include)
	for i := range s.Selects {
		parts = append(parts, "select "+s.Selects[i].String())
	}
	add("exclude", s.Exclude)
	return strings.Join(parts, "; ")
}

// String is one select block in a few words.
func (s *Select) String() string {
	var w []string
	list := func(name string, v []string) {
		if len(v) > 0 {
			w = append(w, name+" "+strings.Join(v, "|"))
		}
	}
	list("market", texts(s.Markets))
	list("base", s.Base)
	list("quote", s.Quote)
	list("settle", s.Settle)
	if s.Perpetual != nil {
		w = append(w, map[bool]string{true: "perpetual", false: "dated"}[*s.Perpetual])
	}
	if s.Option != market.OptionNone {
		w = append(w, s.Option.String())
	}
	if s.ExpiresWithin > 0 {
		w = append(w, "expires within "+span(s.ExpiresWithin))
	}
	list("status", texts(s.Status))
	if s.Top > 0 {
		w = append(w, fmt.Sprintf("top %d by volume, margin %d", s.Top, s.Margin))
	}
	return strings.Join(w, ", ")
}

// span is a duration without its zeros.
func span(d time.Duration) string {
	if day := 24 * time.Hour; d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func texts[T fmt.Stringer](v []T) (out []string) {
	for _, x := range v {
		out = append(out, x.String())
	}
	return out
}

func anyOf(patterns []string, l *Listing) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return l.Is(p) || IsGlob(p) && l.Matches(p) })
}

// takes says whether all conditions hold but status and rank.
func (s *Select) takes(l *Listing, now time.Time) bool {
	one := func(want []string, have string) bool {
		return len(want) == 0 || slices.ContainsFunc(want, func(w string) bool { return strings.EqualFold(w, have) })
	}
	if !slices.Contains(s.Markets, l.Market) || !one(s.Base, l.Base) || !one(s.Quote, l.Quote) || !one(s.Settle, l.Settle) {
		return false
	}
	if s.Perpetual != nil && *s.Perpetual != l.Perpetual() || s.Perpetual != nil && l.Market == market.MarketSpot {
		return false
	}
	if s.Option != market.OptionNone && s.Option != l.Option {
		return false
	}
	return s.ExpiresWithin <= 0 || !l.Expiry.IsZero() && l.Expiry.Sub(now) <= s.ExpiresWithin
}

// opens says whether the instrument's status lets it be taken anew.
func (s *Select) opens(l *Listing) bool {
	if len(s.Status) > 0 {
		return slices.Contains(s.Status, l.Status)
	}
	return l.Status == market.StatusTrading || l.Status == market.StatusUnknown
}

// Perpetual says whether a contract has no expiry.
func (l *Listing) Perpetual() bool {
	return (l.Market == market.MarketLinear || l.Market == market.MarketInverse) && l.Expiry.IsZero()
}
