package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/host"
)

// maxAnswer bounds what a runtime may answer.
const maxAnswer = 64 << 20

// adminClient asks a running runtime.
type adminClient struct {
	base, token string
	http        *http.Client
}

// newAdminClient takes host:port, a URL, or unix:///path, and the file of a token.
func newAdminClient(addr, tokenFile string) (*adminClient, error) {
	c := &adminClient{http: &http.Client{Timeout: 30 * time.Second}}
	switch path, unix := strings.CutPrefix(addr, "unix://"); {
	case unix:
		c.base = "http://localhost"
		c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
	case strings.Contains(addr, "://"):
		c.base = strings.TrimSuffix(addr, "/")
	default:
		c.base = "http://" + addr
	}
	if tokenFile != "" {
		b, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, fmt.Errorf("token file: %w", err)
		}
		c.token = strings.TrimSpace(string(b))
	}
	return c, nil
}

// get decodes the answer of a path.
func (c *adminClient) get(ctx context.Context, path string, to any) error {
	return c.call(ctx, http.MethodGet, path, to)
}

func (c *adminClient) call(ctx context.Context, method, path string, to any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("no runtime answers: %w; name its `listen` address with --admin", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Error struct{ Message string } }
		if json.Unmarshal(b, &e) != nil || e.Error.Message == "" {
			e.Error.Message = strings.TrimSpace(string(b))
		}
		if resp.StatusCode == http.StatusUnauthorized {
			e.Error.Message = "it asks for a token: name its file with --token-file or MARKETPRISM_TOKEN_FILE"
		}
		return fmt.Errorf("%s: %s: %s", path, resp.Status, e.Error.Message)
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// statusAnswer is everything that the verb shows, and its JSON.
type statusAnswer struct {
	engine.Status
	Streams []engine.StreamStatus `json:"streams"`
	Total   int                   `json:"streams_total"`
	Gaps    []*engine.GapStatus   `json:"gaps"`
}

func statusCommand(g *global) *cobra.Command {
	var addr, tokenFile, feed, channel, symbol, since string
	var asJSON bool
	var limit int
	c := &cobra.Command{Use: "status", Short: "Show what a running runtime does: feeds, connections, sinks, streams and gaps",
		Long: `Asks a runtime's admin endpoints and prints, in the order in which a person on
call asks: is everything collecting, which feed and connection, which sink waits,
which streams are old or broken, and what was missing lately. The exit status is
1 if the runtime is not ready.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("status takes no argument %q; see marketprism status --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := newAdminClient(addr, tokenFile)
			if err != nil {
				return err
			}
			var s statusAnswer
			q := url.Values{"limit": {fmt.Sprint(limit)}}
			for name, v := range map[string]string{"feed": feed, "channel": channel, "symbol": symbol} {
				if v != "" {
					q.Set(name, v)
				}
			}
			gaps := url.Values{"since": {since}}
			if feed != "" {
				gaps.Set("feed", feed)
			}
			if err := a.get(c.Context(), "/api/v1/status", &s.Status); err != nil {
				return err
			}
			streams := struct {
				Total   int                   `json:"total"`
				Streams []engine.StreamStatus `json:"streams"`
			}{}
			if err := a.get(c.Context(), "/api/v1/streams?"+q.Encode(), &streams); err != nil {
				return err
			}
			s.Streams, s.Total = streams.Streams, streams.Total
			if err := a.get(c.Context(), "/api/v1/gaps?"+gaps.Encode(), &struct {
				Gaps *[]*engine.GapStatus `json:"gaps"`
			}{&s.Gaps}); err != nil {
				return err
			}
			out := c.OutOrStdout()
			if asJSON {
				e := json.NewEncoder(out)
				e.SetEscapeHTML(false)
				e.SetIndent("", "  ")
				err = e.Encode(s)
			} else {
				err = s.write(out, &progress{color: colour(g, out)}, time.Now(), since)
			}
			if err == nil && !s.Ready {
				err = &exitCode{exitError, nil}
			}
			return err
		}}
	f := c.Flags()
	f.StringVar(&addr, "admin", "127.0.0.1:9464", "the runtime's listen address: host:port, a URL, or unix:///path")
	f.StringVar(&tokenFile, "token-file", os.Getenv("MARKETPRISM_TOKEN_FILE"), "file with the token (MARKETPRISM_TOKEN_FILE)")
	f.BoolVar(&asJSON, "json", false, "print all of it as JSON")
	f.StringVar(&feed, "feed", "", "streams and gaps of this feed")
	f.StringVar(&channel, "channel", "", "streams of this channel")
	f.StringVar(&symbol, "symbol", "", "streams of these symbols: a pattern with * and ?, of the venue's or the canonical name")
	f.IntVar(&limit, "limit", 20, "how many streams to list, up to 2000")
	f.StringVar(&since, "since", "1h", "gaps since a time or for so long")
	return c
}

// write prints for people.
func (s *statusAnswer) write(w io.Writer, p *progress, now time.Time, since string) error {
	state := p.paint("32", "ready")
	if !s.Ready {
		state = p.paint("31", "not ready: "+s.Why)
	}
	fmt.Fprintf(w, "%s, up %s\n", state, now.Sub(s.Since).Round(time.Second))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, "  "+strings.Join(cells, "\t")) }
	head := func(name string, cells ...string) {
		t.Flush()
		fmt.Fprintf(w, "\n%s\n", name)
		row(cells...)
	}
	head("Feeds", "feed", "state", "last frame", "frames", "records", "undecoded", "books", "gaps", "missing", "plugin")
	for i := range s.Feeds {
		f := &s.Feeds[i]
		row(f.Name, f.State, elapsed(now, f.LastFrame), count(float64(f.Frames)), count(float64(f.Records)), bytesText(f.LagBytes),
			fmt.Sprintf("%d/%d", f.BooksSynced, f.Books), fmt.Sprint(f.Gaps), fmt.Sprint(f.Missing), plugin(&f.Plugin))
	}
	head("Connections", "feed", "conn", "state", "subscriptions", "last data", "up", "frames", "reconnects", "url")
	for i := range s.Feeds {
		for j := range s.Feeds[i].Connections {
			c := &s.Feeds[i].Connections[j]
			st := c.State
			if st == conn.StateLive && c.Unacked > 0 {
				st += fmt.Sprintf(", %d unacknowledged", c.Unacked)
			}
			row(s.Feeds[i].Name, fmt.Sprint(c.Conn), st, fmt.Sprint(c.Subscriptions), elapsed(now, c.LastData), elapsed(now, c.Since), count(float64(c.Frames)),
				fmt.Sprint(c.Reconnects), c.URL)
		}
	}
	head("Sinks", "sink", "state", "records", "waiting", "committed up to", "retries", "dropped", "plugin")
	for i := range s.Sinks {
		k := &s.Sinks[i]
		row(k.Name, k.State, count(float64(k.Records)), bytesText(k.LagBytes), elapsed(now, k.LastCommit), fmt.Sprint(k.Retries), fmt.Sprint(k.Dropped), plugin(&k.Plugin))
	}
	head(fmt.Sprintf("Streams (%d of %d)", len(s.Streams), s.Total), "feed", "channel", "symbol", "age", "records", "gaps", "missing", "book", "exchange p50", "p99", "journal", "sinks")
	for i := range s.Streams {
		st := &s.Streams[i]
		age, p50, p99, lane, book := "never", "-", "-", "-", "-"
		if st.Age != nil {
			age = short(*st.Age)
		}
		if x := st.Exchange; x != nil && x.Count > 0 {
			p50, p99 = short(x.P50), short(x.P99)
		}
		if st.Journal != nil {
			lane = short(st.Journal.Mean)
		}
		if b := st.Book; b != nil {
			if book = "in force"; !b.Synced {
				book = "waits"
				if b.BrokenSince != nil {
					book += " " + short(*b.BrokenSince)
				}
			}
		}
		row(st.Feed, st.Channel.String(), st.Symbol, age, count(float64(st.Records)), fmt.Sprint(st.Gaps), fmt.Sprint(st.Missing), book, p50, p99, lane, sinkTimes(st.Sinks))
	}
	head(fmt.Sprintf("Gaps since %s (%d)", since, len(s.Gaps)), "told", "feed", "channel", "symbol", "cause", "lasted", "missing", "")
	for _, g := range s.Gaps {
		lasted, missing := "goes on", "?"
		if !g.Open {
			lasted = "-"
			if !g.From.IsZero() && !g.To.IsZero() {
				lasted = short(g.To.Sub(g.From).Seconds())
			}
		}
		if g.Missing != nil {
			missing = fmt.Sprint(*g.Missing)
		}
		row(g.Told.Local().Format(time.TimeOnly), g.Feed, g.Channel.String(), g.Symbol, g.Cause, lasted, missing, g.Detail)
	}
	return t.Flush()
}

func plugin(s *host.State) string {
	t := string(s.Phase)
	if s.Restarts > 0 {
		t += fmt.Sprintf(", %d restarts", s.Restarts)
	}
	if s.Why != "" {
		t += ": " + s.Why
	}
	return t
}

func sinkTimes(ks []engine.SinkLatency) string {
	var out []string
	for _, k := range ks {
		switch {
		case k.Took != nil:
			out = append(out, k.Sink+" "+short(*k.Took))
		case k.Waits != nil:
			out = append(out, k.Sink+" waits "+short(*k.Waits))
		default: // by the run before this one
			out = append(out, k.Sink+" done")
		}
	}
	return strings.Join(out, ", ")
}

// elapsed is how long ago something was.
func elapsed(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return short(now.Sub(t).Seconds())
}

// short is a duration in three figures or so.
func short(seconds float64) string {
	d := time.Duration(seconds * 1e9)
	switch a := d.Abs(); {
	case a >= time.Minute:
		d = d.Round(time.Second)
	case a >= time.Second:
		d = d.Round(10 * time.Millisecond)
	case a >= time.Millisecond:
		d = d.Round(10 * time.Microsecond)
	default:
		d = d.Round(time.Microsecond)
	}
	return d.String()
}
