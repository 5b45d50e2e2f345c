package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

func venuesCommand() *cobra.Command {
	c := &cobra.Command{Use: "venues", Short: "Say which venues there are, and what each has", Args: exactArgs(0, "no arguments, or a subcommand"),
		RunE: func(c *cobra.Command, _ []string) error { return venuesText(c.OutOrStdout(), bundledManifests()) }}
	var asJSON bool
	list := &cobra.Command{Use: "list [VENUE]", Short: "List venues, or one venue's channels and how each is verified",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("want at most one venue; see marketprism venues list --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			all := bundledManifests()
			if len(args) == 1 {
				if all = slices.DeleteFunc(all, func(m source.Manifest) bool { return m.Venue != args[0] }); len(all) == 0 {
					names, _ := bundledNames()
					return usage("no venue %q; there are %s", args[0], strings.Join(names, ", "))
				}
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetEscapeHTML(false)
				e.SetIndent("", "  ")
				return e.Encode(all)
			}
			if len(args) == 1 {
				return channelsText(c.OutOrStdout(), &all[0])
			}
			return venuesText(c.OutOrStdout(), all)
		}}
	list.Flags().BoolVar(&asJSON, "json", false, "print the manifests as JSON")
	doc := &cobra.Command{Use: "doc", Short: "Print the document of all venues (docs/venues.md)", Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return venuesDoc(c.OutOrStdout(), bundledManifests()) }}
	c.AddCommand(list, doc)
	return c
}

// bundledManifests are those of this binary's venues, by name.
func bundledManifests() []source.Manifest {
	var all []source.Manifest
	names, _ := bundledNames()
	for _, n := range names {
		all = append(all, bundledSources[n]().Describe())
	}
	return all
}

// venueChannels are a market's, in the order of their numbers.
func venueChannels(m *source.Manifest, k market.Market) []source.ChannelSpec {
	var cs []source.ChannelSpec
	for _, c := range m.Channels {
		if slices.Contains(c.Markets, k) {
			cs = append(cs, c)
		}
	}
	slices.SortStableFunc(cs, func(a, b source.ChannelSpec) int { return cmp.Compare(a.Channel, b.Channel) })
	return cs
}

func venuesText(w io.Writer, all []source.Manifest) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VENUE\tMARKET\tTITLE\tBOOK\tCHANNELS")
	for i := range all {
		for _, s := range all[i].Markets {
			var names []string
			book := "-"
			for _, c := range venueChannels(&all[i], s.Market) {
				names = append(names, c.Channel.String())
				if c.Channel == market.ChannelBook {
					book = provenBy(&c)
				}
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", all[i].Venue, s.Market, all[i].Title, book, strings.Join(names, " "))
		}
	}
	return t.Flush()
}

func channelsText(w io.Writer, m *source.Manifest) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MARKET\tCHANNEL\tBY\tVERIFIED\tLOGIN")
	for _, s := range m.Markets {
		for _, c := range venueChannels(m, s.Market) {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Market, c.Channel, transport(&c), proof(&c), dash(login(&s, &c)))
		}
	}
	return t.Flush()
}

// provenBy is in one word how the completeness of a channel is known: checksum,
// sequence, or unverifiable.
func provenBy(c *source.ChannelSpec) string {
	switch b := c.Book; {
	case b != nil && b.Checksum.Kind != source.ChecksumNone && b.Checksum.Until == "":
		return "checksum"
	case b != nil && b.Sequence.Kind != source.SequenceNone, c.Sequence != source.SequenceNone,
		b != nil && b.Sequence.Scope == source.ScopeConnection:
		return "sequence"
	}
	return "unverifiable"
}

// proof says the same in words.
func proof(c *source.ChannelSpec) string {
	var how []string
	number := func(k source.SequenceKind) string {
		switch k {
		case source.SequenceRange:
			return "sequence: each message says which numbers it covers"
		case source.SequenceChain:
			return "sequence: each message names the one before"
		case source.SequenceIncrement:
			return "sequence: each number is one more"
		}
		return ""
	}
	if b := c.Book; b != nil {
		if s := number(b.Sequence.Kind); s != "" {
			if b.Sequence.Scope == source.ScopeConnection {
				s = "sequence of the connection's frames"
			}
			how = append(how, s)
		}
		if k := b.Checksum; k.Kind != source.ChecksumNone {
			s := fmt.Sprintf("checksum of %d levels", k.Levels)
			if k.Until != "" {
				s = fmt.Sprintf("recordings from before %s by checksum", k.Until)
			}
			how = append(how, s)
		}
	} else if s := number(c.Sequence); s != "" {
		how = append(how, s)
	}
	if len(how) == 0 {
		switch {
		case c.Transport == source.Poll:
			return "polled: each answer is whole"
		case c.Book != nil && c.Book.Snapshot == source.SnapshotEach:
			return "can't be verified; each message is a whole book"
		}
		return "can't be verified"
	}
	return strings.Join(how, "; ")
}

func transport(c *source.ChannelSpec) string {
	by := "stream"
	if c.Transport == source.Poll {
		by = "poll"
		if c.PollEvery > 0 {
			by += " each " + span(c.PollEvery)
		}
	}
	if c.PerMarket {
		by += ", of the market"
	}
	return by
}
