package selection

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// Rounds of the hysteresis.
const (
	missesToLeave = 2 // catalogues in a row without an instrument
	roundsToLeave = 3 // catalogues in a row in which it ranks below the margin
)

// Member is an instrument that is chosen, with what speaks against it.
type Member struct {
	Listing
	Missed int `json:"missed,omitzero"` // catalogues in a row that lack it, or say that it isn't what is wanted any more
	Below  int `json:"below,omitzero"`  // catalogues in a row in which it ranks below the margin
}

// Change is an instrument that was taken or has left, and why.
type Change struct {
	Listing
	Added  bool
	Gone   bool // from the catalogues
	Reason string
}

const reasonExpired = "expired"

// Clone is a state of its own with the same choice.
func (s *State) Clone() *State {
	c := *s
	c.members, c.before = slices.Clone(s.members), slices.Clone(s.before)
	return &c
}

// State is what a selector has chosen on one market.
type State struct {
	sel     *Selector
	market  market.Market
	members []Member
	// Of the last catalogue that was believed: when each of its instruments
	// expires, and how many had a turnover.
	before []time.Time
	ranked int
}

// Stated is the instrument as an instrument record states it: one that has gone
// from the catalogues is delisted, one past its expiry has expired.
func (c *Change) Stated() Listing {
	l := c.Listing
	switch {
	case c.Added:
	case c.Reason == reasonExpired:
		l.Status = market.StatusExpired
	case c.Gone:
		l.Status = market.StatusDelisted
	}
	return l
}

// New is a state with nothing chosen, or with what an earlier one had.
func New(s *Selector, m market.Market, had []Member) *State {
	return &State{sel: s, market: m, members: slices.Clone(had)}
}

// Members are those chosen, in the order in which they came, so that one that is
// new moves no other one.
func (s *State) Members() []Member { return slices.Clone(s.members) }

// Step takes a catalogue in. Doubt, if it isn't empty, says why the catalogue, or
// a part of it, was not believed; what is chosen stays then.
func (s *State) Step(now time.Time, all []Listing) (changes []Change, doubt string) {
	found := make(map[string]*Listing, len(all))
	for i := range all {
		found[all[i].Symbol] = &all[i]
	}
	if why := s.implausible(now, found); why != "" {
		return nil, why
	}
	ranks, doubt := s.rank(now, all)
	var stay []Member
	chosen := map[string]bool{}
	for _, m := range s.members {
		l := found[m.Symbol]
		if l != nil {
			turnover := m.Turnover
			if m.Listing = *l; m.Turnover == 0 { // not told this time
				m.Turnover = turnover
			}
		}
		why := s.leaves(&m, l != nil, ranks, now)
		if why != "" {
			changes = append(changes, Change{Listing: m.Listing, Gone: l == nil, Reason: why})
			continue
		}
		chosen[m.Symbol] = true
		stay = append(stay, m)
	}
	for i := range all {
		l := &all[i]
		if l.Market != s.market || chosen[l.Symbol] || l.Ended(now) {
			continue
		}
		if why := s.enters(l, ranks, now); why != "" {
			chosen[l.Symbol] = true
			stay = append(stay, Member{Listing: *l})
			changes = append(changes, Change{Listing: *l, Added: true, Reason: why})
		}
	}
	if len(stay) == 0 && len(s.members) > 0 {
		return nil, "nothing of the catalogue is wanted any more"
	}
	s.members, s.before = stay, s.before[:0]
	if doubt == "" {
		s.ranked = volumes(all)
	}
	for i := range all {
		s.before = append(s.before, all[i].Expiry)
	}
	return changes, doubt
}

// implausible says why a catalogue isn't believed. Behind a restart what is chosen
// stands for the catalogue before.
func (s *State) implausible(now time.Time, found map[string]*Listing) string {
	if len(found) == 0 {
		return "the catalogue is empty"
	}
	if had := s.unexpired(now); 2*len(found) < had {
		return fmt.Sprintf("the catalogue has %d instruments where the one before had %d", len(found), had)
	}
	if len(s.before) > 0 {
		return ""
	}
	had, have := 0, 0
	for i := range s.members {
		if m := &s.members[i]; !m.Expired(now) {
			had++
			if found[m.Symbol] != nil {
				have++
			}
		}
	}
	if 2*have < had {
		return fmt.Sprintf("the catalogue has %d of %d instruments that were chosen before", have, had)
	}
	return ""
}

// unexpired counts the instruments of the last catalogue that is believed, without
// those that have expired since.
func (s *State) unexpired(now time.Time) (n int) {
	for _, t := range s.before {
		if t.IsZero() || t.After(now) {
			n++
		}
	}
	return n
}

// rankings are a listing's rank from 1 on, by select block and symbol; nil where
// ranks are not known.
type rankings []map[string]int

func volumes(all []Listing) (n int) {
	for i := range all {
		if all[i].Turnover > 0 {
			n++
		}
	}
	return n
}

func (s *State) rank(now time.Time, all []Listing) (out rankings, doubt string) {
	out = make(rankings, len(s.sel.Selects))
	if !s.sel.Ranks(s.market) {
		return out, ""
	}
	known := volumes(all)
	if known == 0 || 2*known < s.ranked {
		return out, fmt.Sprintf("the venue gave the volume of %d instruments, before of %d", known, s.ranked)
	}
	member := map[string]bool{}
	for _, m := range s.members {
		member[m.Symbol] = true
	}
	for k := range s.sel.Selects {
		x := &s.sel.Selects[k]
		if x.Top == 0 {
			continue
		}
		var of []*Listing
		for i := range all {
			if l := &all[i]; x.takes(l, now) && (member[l.Symbol] || x.opens(l)) && !l.Ended(now) && !anyOf(s.sel.Exclude, l) {
				of = append(of, l)
			}
		}
		slices.SortFunc(of, func(a, b *Listing) int {
			return cmp.Or(cmp.Compare(b.Turnover, a.Turnover), cmp.Compare(a.Symbol, b.Symbol))
		})
		out[k] = make(map[string]int, len(of))
		for i, l := range of {
			out[k][l.Symbol] = i + 1
		}
	}
	return out, ""
}

// enters says why an instrument is taken; empty: it isn't.
func (s *State) enters(l *Listing, ranks rankings, now time.Time) string {
	if anyOf(s.sel.Exclude, l) {
		return ""
	}
	if slices.Contains(s.sel.Markets, l.Market) && anyOf(s.sel.Include, l) {
		return "listed"
	}
	for k := range s.sel.Selects {
		x := &s.sel.Selects[k]
		if !x.takes(l, now) || !x.opens(l) {
			continue
		}
		if x.Top == 0 {
			return "listed"
		}
		if r := ranks[k][l.Symbol]; r > 0 && r <= x.Top {
			return fmt.Sprintf("rank %d by volume", r)
		}
	}
	return ""
}

// leaves counts what speaks against a member, and says why it leaves; empty: it
// stays.
func (s *State) leaves(m *Member, listed bool, ranks rankings, now time.Time) string {
	switch {
	case m.Expired(now) || m.Status == market.StatusExpired:
		return reasonExpired
	case m.Status == market.StatusDelisted:
		return "delisted"
	case anyOf(s.sel.Exclude, &m.Listing):
		return "excluded"
	case !listed:
		if m.Missed++; m.Missed < missesToLeave {
			return ""
		}
		return fmt.Sprintf("not in %d catalogues", m.Missed)
	}
	wanted := slices.Contains(s.sel.Markets, m.Market) && anyOf(s.sel.Include, &m.Listing)
	below := 0
	for k := range s.sel.Selects {
		x := &s.sel.Selects[k]
		if wanted || !x.takes(&m.Listing, now) {
			continue
		}
		r := ranks[k][m.Symbol]
		if x.Top == 0 || ranks[k] == nil || r > 0 && r <= x.Top+x.Margin {
			wanted = true
		} else {
			below = r
		}
	}
	switch {
	case wanted:
		m.Missed, m.Below = 0, 0
		return ""
	case below > 0:
		m.Missed = 0
		if m.Below++; m.Below >= roundsToLeave {
			return fmt.Sprintf("rank %d by volume", below)
		}
		return ""
	}
	if m.Missed++; m.Missed < missesToLeave {
		return ""
	}
	return "not what is wanted any more"
}
