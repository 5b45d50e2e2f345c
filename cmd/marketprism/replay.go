package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/replay"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
)

type replayFlags struct {
	pipelineFlags
	speed, from, to, format, pipeline string
	kinds                             []string
	plugin, sha                       string
}

func replayCommand(g *global) *cobra.Command {
	f := &replayFlags{}
	c := &cobra.Command{Use: "replay INPUT…", Short: "Derive records again from captures or from the journals of a feed",
		Long: `Derives records again from what was recorded: capture files (.jsonl, .jsonl.zst) and
the frames journals of a data directory (DATA_DIR/feeds/VENUE-MARKET), on the same
way as a live feed, through the venue's plugin process, the book engine and both
journals. The same build gives the same bytes every time.`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("want at least one capture file or feed directory")}
			}
			log, err := g.quiet()
			if err != nil {
				return err
			}
			w := bufio.NewWriterSize(c.OutOrStdout(), 256<<10)
			for _, a := range args {
				in, err := openInput(a)
				if err == nil {
					err = f.run(c.Context(), log, in, w)
				}
				if err != nil {
					return errors.Join(err, w.Flush())
				}
			}
			return w.Flush()
		}}
	f.add(c, "reserved")
	_ = c.Flags().MarkHidden("json")
	fl := c.Flags()
	fl.StringVar(&f.speed, "speed", "max", "times the recorded pace, or max")
	fl.StringVar(&f.from, "from", "", "first receive time of records: RFC 3339, or ns since 1970")
	fl.StringVar(&f.to, "to", "", "receive time to stop before")
	fl.StringSliceVar(&f.kinds, "kinds", nil, "only these kinds of record")
	fl.StringVar(&f.format, "format", "jsonl", "jsonl or summary")
	fl.StringVar(&f.pipeline, "pipeline", "", "send the records to the sinks of this pipeline")
	fl.StringVar(&f.plugin, "plugin", "", "path of a custom source plugin for the recording's venue")
	fl.StringVar(&f.sha, "plugin-sha256", "", "its pin")
	return c
}

// quiet is the logger of tools: warnings only, unless asked for more.
func (g *global) quiet() (zerolog.Logger, error) {
	log, err := g.logger()
	if g.logLevel == "" {
		log = log.Level(zerolog.WarnLevel)
	}
	return log, err
}

func openInput(path string) (*replay.Input, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return replay.OpenJournal(path)
	}
	return replay.OpenCapture(path)
}

func (f *replayFlags) run(ctx context.Context, log zerolog.Logger, in *replay.Input, w *bufio.Writer) error {
	o := replay.Options{Logger: log, Build: build(), Plugin: host.Spec{Kind: wire.KindSource, Name: in.Venue, Path: f.plugin, SHA256: f.sha, Unpinned: f.sha == ""}}
	cat := newCatalogue(ctx, log)
	defer cat.close()
	if f.plugin != "" {
		d, err := cat.host.Describe(ctx, o.Plugin)
		if err != nil {
			return err
		}
		o.Manifest = *d.Source
	} else if b := bundledSources[in.Venue]; b != nil {
		o.Manifest = b().Describe()
	} else {
		names, _ := bundledNames()
		return fmt.Errorf("%s: no plugin decodes venue %q; there are %v (see --plugin)", in.Path, in.Venue, names)
	}
	if f.speed != "max" {
		var err error
		if o.Speed, err = strconv.ParseFloat(f.speed, 64); err != nil || o.Speed <= 0 {
			return usage("--speed %q: want a positive number or max", f.speed)
		}
	}
	from, err := parseTime(f.from, 0)
	if err != nil {
		return err
	}
	to, err := parseTime(f.to, 1<<63-1)
	if err != nil {
		return err
	}
	var kinds []market.Kind
	for _, k := range f.kinds {
		kind, err := market.ParseKind(k)
		if err != nil {
			return &exitCode{exitUsage, err}
		}
		kinds = append(kinds, kind)
	}
	if f.pipeline != "" {
		pl, _, diags := f.load(f.pipeline, cat)
		if diags.HasErrors() {
			return report(&global{}, diags)
		}
		o.Plan = pl
		if o.WorkDir, err = os.Getwd(); err != nil {
			return err
		}
		if len(kinds) > 0 || f.from != "" || f.to != "" {
			return usage("--kinds, --from and --to are for jsonl and summary; a pipeline's sinks select by their input")
		}
		frames, err := replay.Run(ctx, in, o, nil)
		if err == nil {
			fmt.Fprintf(os.Stderr, "%s: %d frames replayed into %d sinks\n", in.Path, frames.Recv, len(pl.Sinks))
		}
		return err
	}
	wanted := func(v market.View) bool {
		return v.TsRecv() >= from && v.TsRecv() < to && (len(kinds) == 0 || slices.Contains(kinds, v.Kind()))
	}
	switch f.format {
	case "jsonl":
		var buf []byte
		_, err := replay.Run(ctx, in, o, func(v market.View, i *market.Instrument) error {
			if !wanted(v) {
				return nil
			}
			buf = append(sink.AppendJSON(buf[:0], v, i), '\n')
			_, err := w.Write(buf)
			return err
		})
		return err
	case "summary":
		s := replay.NewSummary(o.Manifest, in)
		frames, err := replay.Run(ctx, in, o, func(v market.View, i *market.Instrument) error {
			if wanted(v) {
				s.Add(v, i)
			}
			return nil
		})
		if err != nil {
			return err
		}
		s.Frames = frames
		s.Finish()
		b, err := s.JSON()
		if err != nil {
			return err
		}
		_, err = w.Write(append(b, '\n'))
		return err
	}
	return usage("--format %q: there are jsonl and summary; for Parquet and others use --pipeline", f.format)
}

func parseTime(s string, def int64) (int64, error) {
	if s == "" {
		return def, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, usage("time %q: want RFC 3339 (2026-11-23T07:00:00Z) or ns since 1970", s)
	}
	return t.UnixNano(), nil
}

func decodeCommand(g *global) *cobra.Command {
	f := &replayFlags{speed: "max", format: "jsonl"}
	var venue, mk, url string
	c := &cobra.Command{Use: "decode [FILE|-]", Short: "Decode one capture, or frames (one a line), through one plugin",
		Long: `Decodes a capture file, or frames given one a line on standard input or in a file,
through the venue's plugin process, and prints the records as JSON lines. An HTTP
body needs --url, which tells the plugin what it answers.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{errors.New("want one file, or - for standard input")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			log, err := g.quiet()
			if err != nil {
				return err
			}
			path := "-"
			if len(args) == 1 {
				path = args[0]
			}
			w := bufio.NewWriter(c.OutOrStdout())
			if path != "-" && (strings.HasSuffix(path, ".zst") || isCapture(path)) {
				in, err := replay.OpenCapture(path)
				if err == nil {
					err = f.run(c.Context(), log, in, w)
				}
				return errors.Join(err, w.Flush())
			}
			if venue == "" {
				return usage("frames need --source VENUE; a capture file names its own")
			}
			m, err := market.ParseMarket(mk)
			if err != nil {
				return &exitCode{exitUsage, err}
			}
			var r io.Reader = c.InOrStdin()
			if path != "-" {
				file, err := os.Open(path)
				if err != nil {
					return err
				}
				defer file.Close()
				r = file
			}
			return errors.Join(f.run(c.Context(), log, frameInput(path, venue, m, url, r), w), w.Flush())
		}}
	fl := c.Flags()
	fl.StringVar(&venue, "source", "", "the venue whose plugin decodes")
	fl.StringVar(&mk, "market", "spot", "spot, linear, inverse or option")
	fl.StringVar(&url, "url", "", "the frames are bodies of HTTP responses from this URL")
	fl.StringVar(&f.plugin, "plugin", "", "path of a custom source plugin")
	fl.StringVar(&f.sha, "plugin-sha256", "", "its pin")
	fl.StringSliceVar(&f.kinds, "kinds", nil, "only these kinds of record")
	return c
}

func isCapture(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := f.Read(b)
	return bytes.Contains(b[:n], []byte(`"marketprism-capture/`))
}

// maxLine bounds one frame on standard input.
const maxLine = 16 << 20

func frameInput(path, venue string, m market.Market, url string, r io.Reader) *replay.Input {
	return replay.Custom(path, venue, m, func(yield func(*replay.Event) error) error {
		sc := bufio.NewScanner(r)
		sc.Buffer(make([]byte, 64<<10), maxLine)
		ev := replay.Event{Kind: source.InputText, Conn: 1}
		for sc.Scan() {
			if len(bytes.TrimSpace(sc.Bytes())) == 0 {
				continue
			}
			ev.Wall, ev.Payload = time.Now().UnixNano(), sc.Bytes()
			if url != "" {
				ev.Kind, ev.Payload = source.InputHTTP, source.AppendHTTP(nil, 200, url, sc.Bytes())
			}
			if err := yield(&ev); err != nil {
				return err
			}
		}
		return sc.Err()
	})
}
