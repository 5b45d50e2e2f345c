package plan

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Choices are what selectors have chosen, by the address of their source.
type Choices map[string][]selection.Listing

// Selected says what a source's selector has chosen.
type Selected struct {
	Source  string          `json:"source"`
	Select  string          `json:"select"`
	Markets []market.Market `json:"markets"` // that it looks in
	Every   Duration        `json:"every"`   // between catalogues
	Asked   bool            `json:"asked"`
	Chosen  int             `json:"chosen"`

	Origin *pipefile.Source `json:"-"`
}

// memo remembers what names are, so that a plan can be made again when nobody is
// there to ask.
type memo struct {
	names Resolver
	known map[[2]string]resolved
}

type resolved struct {
	market market.Market
	symbol string
	err    error
}

func (m *memo) Resolve(venue, name string) (market.Market, string, error) {
	r, ok := m.known[[2]string{venue, name}]
	if !ok {
		r.market, r.symbol, r.err = m.names.Resolve(venue, name)
		m.known[[2]string{venue, name}] = r
	}
	return r.market, r.symbol, r.err
}

// Chosen are the choices that the plan was made with.
func (p *Plan) Chosen() Choices { return maps.Clone(p.chosen) }

// Find gives what a source's selector has chosen; nil if it has none.
func (p *Plan) Find(source string) *Selected {
	i := slices.IndexFunc(p.Selected, func(s Selected) bool { return s.Source == source })
	if i < 0 {
		return nil
	}
	return &p.Selected[i]
}

// Choose is the plan of the same pipeline with other choices. It asks nobody. It
// is called by one goroutine at a time.
func (p *Plan) Choose(chosen Choices) (*Plan, pipefile.Diagnostics) {
	return build(p.in, p.names, chosen)
}

// selected gives the chosen symbols of a source, and the shares of its feeds; nil
// symbols say that what is chosen isn't known.
func (b *builder) selected(s *pipefile.Source) (symbols []pipefile.Symbol, shares []*share) {
	sel := s.Selector
	chosen := b.chosen[s.Address()]
	b.out.Selected = append(b.out.Selected, Selected{Source: s.Address(), Select: sel.String(), Markets: sel.On(), Every: Duration(sel.Every), Asked: b.chosen != nil,
		Chosen: len(chosen), Origin: s})
	switch {
	case b.chosen == nil:
		for _, m := range sel.On() {
			if spec := marketSpec(&s.Manifest, m); spec != nil {
				f := b.feed(s, *spec)
				if f == nil {
					return nil, nil
				}
				shares = append(shares, &share{feed: f})
			}
		}
		return nil, shares
	case len(chosen) == 0:
		b.errorf(s.SelectorRange, "Nothing is selected", "%s lists nothing that %s takes (%s). marketprism instruments %s prints what it lists.",
			s.Manifest.Venue, s.Address(), sel, s.Type)
	}
	symbols = make([]pipefile.Symbol, len(chosen))
	for i := range chosen {
		symbols[i] = pipefile.Symbol{Name: chosen[i].Name, Range: s.SelectorRange}
		if symbols[i].Name == "" {
			symbols[i].Name = chosen[i].Symbol
		}
	}
	return symbols, nil
}

// followWeight is what asking for catalogues again and again takes, in each per.
func (b *builder) followWeight(f *Feed, per float64) (sum float64) {
	for _, s := range b.out.Selected {
		if !slices.Contains(f.Sources, s.Source) || !slices.Contains(s.Markets, f.Market) || s.Every <= 0 {
			continue
		}
		weight := 0
		if c := Catalogue(f.Manifest, f.Market); c != nil {
			weight = max(c.Weight, 1)
		}
		if s.Origin.Selector.Ranks(f.Market) {
			weight += f.Spec.TickersWeight
		}
		sum += float64(weight) * per / float64(s.Every)
	}
	return sum
}

// Catalogue is the channel specification of a market's instruments; nil if there
// is none.
func Catalogue(m *source.Manifest, k market.Market) *source.ChannelSpec {
	for i, c := range m.Channels {
		if c.Channel == market.ChannelInstruments && slices.Contains(c.Markets, k) {
			return &m.Channels[i]
		}
	}
	return nil
}

// Fingerprint tells selectors apart: what was chosen by another one is of no use.
func Fingerprint(s *pipefile.Source) string {
	b, err := json.Marshal(s.Selector)
	if err != nil { // unreachable: lists, numbers and names
		return s.Selector.String()
	}
	return s.Manifest.Venue + " " + string(b)
}
