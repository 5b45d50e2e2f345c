package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/listings"
	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

type instrumentsFlags struct {
	markets, matches   []string
	asJSON, asCSV      bool
	endpoint, pipeline string
	turnover           bool
	timeout            time.Duration
	vars               pipelineFlags
}

func instrumentsCommand(g *global) *cobra.Command {
	f := &instrumentsFlags{}
	c := &cobra.Command{Use: "instruments VENUE", Short: "List what a venue lists: canonical names beside its own symbols",
		Long: `Asks a venue for its catalogue, by the requests and within the limits of its plugin,
and prints each instrument's canonical name beside the venue's own symbol. Names go
into symbols of a pipeline as they stand here.`,
		Args: exactArgs(1, "one venue; marketprism venues lists them"),
		RunE: func(c *cobra.Command, args []string) error {
			log, err := g.quiet()
			if err != nil {
				return err
			}
			if f.asJSON && f.asCSV {
				return usage("--json and --csv exclude each other")
			}
			ctx, stop := interruptible(c.Context())
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, f.timeout)
			defer cancel()
			all, err := f.ask(ctx, log, args[0])
			if err != nil {
				return err
			}
			all = slices.DeleteFunc(all, func(l selection.Listing) bool {
				return len(f.matches) > 0 && !slices.ContainsFunc(f.matches, func(m string) bool { return selection.IsGlob(m) && l.Matches(m) || l.Is(m) })
			})
			switch w := c.OutOrStdout(); {
			case f.asJSON:
				e := json.NewEncoder(w)
				e.SetEscapeHTML(false)
				e.SetIndent("", "  ")
				return e.Encode(all)
			case f.asCSV:
				return instrumentsCSV(w, all)
			default:
				return instrumentsText(w, all, f.turnover)
			}
		}}
	fl := c.Flags()
	fl.StringSliceVar(&f.markets, "market", nil, "spot, linear, inverse or option (default all that the venue has)")
	fl.StringArrayVar(&f.matches, "match", nil, "only those whose name or symbol is like this: BTC-*, *-USDT-PERP, BTCUSDT")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	fl.BoolVar(&f.asCSV, "csv", false, "print CSV")
	fl.BoolVar(&f.turnover, "turnover", false, "ask for the turnover of 24 hours, too")
	fl.StringVar(&f.endpoint, "endpoint", "", "scheme and host in place of the venue's: http://127.0.0.1:9070")
	fl.StringVar(&f.pipeline, "config", "", "take endpoints, egress, proxy, attributes and plugins of this pipeline's source of the venue")
	fl.DurationVar(&f.timeout, "timeout", time.Minute, "give up after this time")
	fl.StringArrayVar(&f.vars.vars, "var", nil, "set a variable of the pipeline: name=value")
	fl.StringArrayVar(&f.vars.varFiles, "var-file", nil, "read the pipeline's variables from a file")
	return c
}

// ask asks each of the markets.
func (f *instrumentsFlags) ask(ctx context.Context, log zerolog.Logger, venue string) ([]selection.Listing, error) {
	cat := newCatalogue(ctx, log)
	defer cat.close()
	src := &pipefile.Source{Type: venue, Plugin: pipefile.Plugin{Name: venue}}
	proxy := ""
	if f.pipeline != "" {
		p, diags := pipefile.Parse(f.pipeline, pipefile.Options{Vars: f.vars.vars, VarFiles: f.vars.varFiles}, cat)
		if p == nil {
			return nil, report(&global{}, diags)
		}
		i := slices.IndexFunc(p.Sources, func(s *pipefile.Source) bool { return s.Type == venue || s.Manifest.Venue == venue })
		if i < 0 {
			return nil, usage("%s has no source of %s", f.pipeline, venue)
		}
		src, proxy = p.Sources[i], p.Settings.Proxy
	} else if b := bundledSources[venue]; b != nil {
		src.Manifest = b().Describe()
	} else {
		names, _ := bundledNames()
		return nil, usage("no venue %q; there are %s; one of a plugin of your own needs --config", venue, strings.Join(names, ", "))
	}
	if f.endpoint != "" {
		u, err := url.Parse(f.endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, usage("--endpoint %q: want scheme and host, http://127.0.0.1:9070", f.endpoint)
		}
		over := *src
		over.HTTPURL = u.Scheme + "://" + u.Host
		src = &over
	}
	markets, err := f.marketsOf(&src.Manifest)
	if err != nil {
		return nil, err
	}
	budgets := conn.NewBudgets()
	defer budgets.Close()
	asker := listings.Asker{Host: cat.host, Budgets: budgets, Logger: log}
	all := []selection.Listing{}
	for _, m := range markets {
		q, err := listings.Of(src, m, proxy)
		if err == nil {
			q.Turnover = f.turnover
			var some []selection.Listing
			some, err = asker.Ask(ctx, q)
			all = append(all, some...)
		}
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("no answer within %v: %w", f.timeout, err)
			}
			return nil, err
		}
	}
	return all, nil
}

func (f *instrumentsFlags) marketsOf(m *source.Manifest) (ms []market.Market, err error) {
	var names []string
	for _, s := range m.Markets {
		names = append(names, s.Market.String())
		ms = append(ms, s.Market)
	}
	if len(f.markets) == 0 {
		return ms, nil
	}
	ms = nil
	for _, n := range f.markets {
		k, err := market.ParseMarket(n)
		if err != nil || !slices.Contains(names, n) {
			return nil, usage("%s has no market %q; it has %s", m.Venue, n, strings.Join(names, ", "))
		}
		ms = append(ms, k)
	}
	return ms, nil
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func instrumentsText(w io.Writer, all []selection.Listing, turnover bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(last string, cells ...string) {
		if turnover {
			cells = append(cells, last)
		}
		for i, c := range cells {
			cells[i] = dash(c)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	row("TURNOVER", "INSTRUMENT", "SYMBOL", "MARKET", "STATUS", "TICK", "LOT", "CONTRACT", "UNIT", "EXPIRY")
	for i := range all {
		l := &all[i]
		row(amount(l.Turnover), l.Name, l.Symbol, l.Market.String(), l.Status.String(), l.TickSize.Text(), l.LotSize.Text(), l.ContractSize.Text(), l.AmountUnit.String(), date(l.Expiry))
	}
	return t.Flush()
}

func amount(f float64) string {
	if f == 0 {
		return ""
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

func instrumentsCSV(w io.Writer, all []selection.Listing) error {
	c := csv.NewWriter(w)
	if err := c.Write([]string{"instrument", "symbol", "market", "status", "base", "quote", "settle", "tick_size", "lot_size", "contract_size", "amount_unit",
		"expiry", "strike", "option_type", "turnover"}); err != nil {
		return err
	}
	for i := range all {
		l := &all[i]
		if err := c.Write([]string{l.Name, l.Symbol, l.Market.String(), l.Status.String(), l.Base, l.Quote, l.Settle, l.TickSize.Text(), l.LotSize.Text(),
			l.ContractSize.Text(), l.AmountUnit.String(), date(l.Expiry), l.Strike.Text(), l.Option.String(), amount(l.Turnover)}); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}
