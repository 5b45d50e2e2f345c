package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"github.com/marketprism/marketprism/runtime/engine"
)

// progress shows what a run is doing in a few lines at the bottom of a
// terminal, redrawn each half second; log lines scroll above them.
type progress struct {
	out   *os.File
	color bool

	mu    sync.Mutex
	lines int // drawn now
	last  map[string]sample
	began time.Time
}

type sample struct {
	frames, records uint64
	at              time.Time
}

func newProgress(out *os.File, color bool) *progress {
	return &progress{out: out, color: color, last: map[string]sample{}, began: time.Now()}
}

// logs is where the logger writes: above the progress lines.
func (p *progress) logs(w zerolog.ConsoleWriter) io.Writer {
	w.Out = writerFunc(func(b []byte) (int, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.erase()
		return p.out.Write(b)
	})
	return w
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func (p *progress) erase() {
	if p.lines > 0 {
		fmt.Fprintf(p.out, "\r\x1b[%dA\x1b[J", p.lines)
		p.lines = 0
	}
}

// start draws until the returned function is called.
func (p *progress) start(status func() engine.Status) (stop func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		t := time.NewTicker(500 * time.Millisecond)
		defer t.Stop()
		for {
			p.draw(status())
			select {
			case <-t.C:
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-gone
	}
}

func (p *progress) draw(s engine.Status) {
	var b bytes.Buffer
	now := time.Now()
	state := p.paint("32", "collecting")
	if !s.Ready {
		state = p.paint("33", s.Why)
	}
	fmt.Fprintf(&b, "%s  %s\n", time.Since(p.began).Round(time.Second), state)
	for i := range s.Feeds {
		f := &s.Feeds[i]
		fr, rr := p.rate(f.Name, f.Frames, uint64(f.Records), now)
		lag := "-"
		if !f.LastFrame.IsZero() {
			lag = max(0, now.Sub(f.LastFrame)).Round(time.Millisecond).String()
		}
		gaps := fmt.Sprintf("%d gaps", f.Gaps)
		if f.Gaps > 0 {
			gaps = p.paint("33", gaps)
		}
		fmt.Fprintf(&b, "  %-16s %7s frames/s %7s records/s  lag %-6s books %d/%d  %s  %s frames\n",
			f.Name, count(fr), count(rr), lag, f.BooksSynced, f.Books, gaps, count(float64(f.Frames)))
	}
	for i := range s.Sinks {
		k := &s.Sinks[i]
		_, rr := p.rate("sink "+k.Name, 0, uint64(k.Records), now)
		fmt.Fprintf(&b, "  %-16s %7s records/s %7s written  %s waiting  %d rolls\n", "→ "+k.Name, count(rr), count(float64(k.Records)), bytesText(k.LagBytes), k.Rolls)
	}
	width, _, err := term.GetSize(int(p.out.Fd()))
	if err != nil || width < 20 {
		width = 120
	}
	lines := strings.SplitAfter(b.String(), "\n")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	for _, l := range lines {
		if l == "" {
			continue
		}
		fmt.Fprint(p.out, clip(l, width, p.color))
		p.lines++
	}
}

// clip cuts a line to the terminal's width, not counting colours.
func clip(l string, width int, color bool) string {
	n, escaped := 0, false
	for i, r := range l {
		switch {
		case r == '\x1b':
			escaped = true
		case escaped:
			escaped = r != 'm'
		case r == '\n':
			return l
		default:
			if n++; n >= width {
				if color {
					return l[:i] + "\x1b[0m\n"
				}
				return l[:i] + "\n"
			}
		}
	}
	return l
}

func (p *progress) rate(name string, frames, records uint64, now time.Time) (float64, float64) {
	l, ok := p.last[name]
	p.last[name] = sample{frames, records, now}
	d := now.Sub(l.at).Seconds()
	if !ok || d <= 0 {
		return 0, 0
	}
	return float64(frames-min(l.frames, frames)) / d, float64(records-min(l.records, records)) / d
}

func (p *progress) paint(code, s string) string {
	if !p.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func count(n float64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2fG", n/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2fM", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.1fk", n/1e3)
	}
	return fmt.Sprintf("%.0f", n)
}

func bytesText(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
