package listings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/fault"
)

// tries and the wait before each, for a question that a run can't begin without.
const (
	tries   = 3
	perTry  = 30 * time.Second
	between = time.Second
)

// Insist asks until there is an answer, or no other try can help.
func (a *Asker) Insist(ctx context.Context, q Question) (all []selection.Listing, err error) {
	for n := range tries {
		if n > 0 {
			select {
			case <-time.After(between << (n - 1)):
			case <-ctx.Done():
				return nil, err
			}
		}
		asking, cancel := context.WithTimeout(ctx, perTry)
		all, err = a.Ask(asking, q)
		cancel()
		if err == nil || ctx.Err() != nil {
			return all, err
		}
		if k := fault.Of(err); k == fault.Stop || k == fault.Skip {
			break
		}
	}
	return nil, err
}

// Had is what was chosen before: by the plan in force, or by an earlier run.
type Had struct {
	Plan *plan.Plan // nil: none is in force
	Kept Kept
}

// Choose gives what the selectors of a pipeline choose; nil if it has none. A
// selector that the plan in force has as well keeps what it has chosen, and
// nobody is asked. A venue that can't be asked is an error, unless it is known what was
// chosen before: then that is taken, with a warning.
func (a *Asker) Choose(ctx context.Context, p *pipefile.Pipeline, now time.Time, had Had) (chosen plan.Choices, diags pipefile.Diagnostics, err error) {
	for _, s := range p.Sources {
		if s.Selector == nil {
			continue
		}
		if chosen == nil {
			chosen = plan.Choices{}
		}
		if had.Plan != nil {
			if x := had.Plan.Find(s.Address()); x != nil && plan.Fingerprint(x.Origin) == plan.Fingerprint(s) {
				chosen[s.Address()] = had.Plan.Chosen()[s.Address()]
				continue
			}
		}
		kept := had.Kept[s.Address()]
		if kept.Selector != plan.Fingerprint(s) {
			kept = KeptSource{}
		}
		for _, m := range s.Selector.On() {
			state := selection.New(s.Selector, m, kept.Members[m.String()])
			q, err := Of(s, m, p.Settings.Proxy)
			if err != nil {
				return nil, diags, err
			}
			q.Turnover = s.Selector.Ranks(m)
			all, err := a.Insist(ctx, q)
			why := ""
			if err == nil {
				_, why = state.Step(now, all)
			} else if why = err.Error(); len(kept.Members) == 0 {
				return nil, diags, fmt.Errorf("what %s selects can't be known: %w", s.Address(), err)
			}
			if why != "" {
				diags = append(diags, p.Warnf(s.SelectorRange, "Selection of an earlier run", "%s: what was chosen until %s stays: %s.", s.Address(), kept.At.UTC().Format(time.RFC3339), why))
			}
			for _, x := range state.Members() {
				chosen[s.Address()] = append(chosen[s.Address()], x.Listing)
			}
		}
	}
	return chosen, diags, nil
}

// Kept is what selectors had chosen when it was written down, by the address of
// their source.
type Kept map[string]KeptSource

// KeptSource is one selector's.
type KeptSource struct {
	Selector string                        `json:"selector"` // its fingerprint
	At       time.Time                     `json:"at"`
	Members  map[string][]selection.Member `json:"members"` // by market
}

func keptFile(dir string) string { return filepath.Join(dir, "selections.json") }

// ReadKept reads what the last run in a data directory has chosen. A file that
// isn't there is no error.
func ReadKept(dir string) (Kept, error) {
	k := Kept{}
	b, err := os.ReadFile(keptFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	if err != nil {
		return nil, fmt.Errorf("listings: what selectors had chosen: %s: %w; remove the file to choose anew", keptFile(dir), err)
	}
	return k, nil
}

// Write replaces the file of a data directory.
func (k Kept) Write(dir string) error {
	b, err := json.MarshalIndent(k, "", " ")
	if err == nil {
		err = replace(keptFile(dir), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("listings: what selectors have chosen: %w", err)
	}
	return nil
}

// replace writes a file whole or not at all.
func replace(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
