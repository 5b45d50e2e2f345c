package host

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Bounds of what a plugin may print. Beyond the rate lines are dropped and
// counted; a plugin that goes on beyond floodBytes is ended.
const (
	maxLine    = 64 << 10
	lineRate   = 200 // a second
	lineBurst  = 1000
	byteRate   = 256 << 10
	byteBurst  = 1 << 20
	floodBytes = 16 << 20
	dropPause  = 2 * time.Millisecond // after each buffer dropped
	tailLines  = 6
	tailText   = 300 // of a line
)

// bridge turns what a plugin prints into the runtime's log: JSON lines as
// hclog and sdk/serve write them keep level and fields, all else is text. It
// takes any bytes.
type bridge struct {
	log   zerolog.Logger
	flood func(error)
	lost  *atomic.Uint64 // lines dropped, if somebody counts them
	done  chan struct{}

	lines, bytes bucket
	dropped      int
	droppedBytes int
	since        time.Time

	mu       sync.Mutex
	last     []string
	panicked bool
}

func newBridge(log zerolog.Logger, flood func(error)) *bridge {
	return &bridge{log: log, flood: flood, done: make(chan struct{}),
		lines: bucket{rate: lineRate, size: lineBurst, left: lineBurst},
		bytes: bucket{rate: byteRate, size: byteBurst, left: byteBurst}}
}

// bucket is a token bucket.
type bucket struct {
	rate, size, left float64
	at               time.Time
}

func (b *bucket) take(now time.Time, n float64) bool {
	if !b.at.IsZero() {
		b.left = min(b.size, b.left+b.rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}

// read reads f to its end.
func (b *bridge) read(f *os.File) {
	defer close(b.done)
	defer f.Close()
	r := bufio.NewReaderSize(f, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			b.take(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			break // the end; a line longer than the buffer comes in parts
		}
	}
	b.report()
}

// wait waits for the end of what the process printed; not for long, since a
// child of it may hold the pipe.
func (b *bridge) wait() {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-b.done:
	case <-t.C:
	}
}

func (b *bridge) take(line []byte) {
	now := time.Now()
	if b.lines.take(now, 1) && b.bytes.take(now, float64(len(line))) {
		if b.dropped > 0 && now.Sub(b.since) > time.Second {
			b.report()
		}
		b.line(line)
		return
	}
	if b.dropped == 0 {
		b.since = now
	}
	b.dropped++
	if b.lost != nil {
		b.lost.Add(1)
	}
	b.droppedBytes += len(line)
	if b.droppedBytes%maxLine < len(line) {
		time.Sleep(dropPause)
	}
	if b.droppedBytes > floodBytes && b.flood != nil {
		b.flood(fmt.Errorf("it flooded standard error: %d lines (%d bytes) beyond the limit in %v", b.dropped, b.droppedBytes,
			now.Sub(b.since).Round(time.Millisecond)))
		b.flood = nil
	}
}

func (b *bridge) report() {
	if b.dropped > 0 {
		b.log.Warn().Int("lines", b.dropped).Int("bytes", b.droppedBytes).Msg("the plugin printed more than is logged; lines were dropped")
		b.dropped, b.droppedBytes = 0, 0
	}
}

// line logs one line.
func (b *bridge) line(line []byte) {
	line = trim(line)
	if len(line) == 0 {
		return
	}
	var fields map[string]json.RawMessage
	if line[0] == '{' && json.Unmarshal(line, &fields) == nil {
		b.structured(fields)
		return
	}
	text := string(line)
	b.remember(text)
	level := zerolog.InfoLevel
	if b.panicked || strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") || strings.HasPrefix(text, "SIG") {
		b.panicked = true // the stack follows
		level = zerolog.ErrorLevel
	}
	b.log.WithLevel(level).Str("stderr", strings.ToValidUTF8(text, "�")).Msg("plugin printed")
}

// structured logs a line of hclog's form.
func (b *bridge) structured(fields map[string]json.RawMessage) {
	message := text(fields["@message"])
	level, err := zerolog.ParseLevel(strings.ToLower(text(fields["@level"])))
	if err != nil || level == zerolog.NoLevel || level > zerolog.ErrorLevel {
		if level = zerolog.InfoLevel; err == nil && text(fields["@level"]) != "" {
			level = zerolog.ErrorLevel // fatal and panic end the plugin, not the runtime
		}
	}
	delete(fields, "@message")
	delete(fields, "@level")
	if at, ok := fields["@timestamp"]; ok {
		fields["at"] = at
		delete(fields, "@timestamp")
	}
	if level >= zerolog.WarnLevel {
		b.remember(message)
	}
	e := b.log.WithLevel(level)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch name {
		case zerolog.LevelFieldName, zerolog.MessageFieldName, zerolog.TimestampFieldName, "plugin":
			e = e.RawJSON("plugin_"+name, fields[name])
		default:
			e = e.RawJSON(name, fields[name])
		}
	}
	e.Msg(message)
}

// text is a JSON string's text, or the JSON itself of anything else.
func text(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func (b *bridge) remember(s string) {
	if len(s) > tailText {
		s = s[:tailText] + "…"
	}
	b.mu.Lock()
	// Of a panic the first lines matter, of all else the last.
	if len(b.last) == tailLines && !b.panicked {
		b.last = slices.Delete(b.last, 0, 1)
	}
	if len(b.last) < tailLines {
		b.last = append(b.last, strings.ToValidUTF8(s, "�"))
	}
	b.mu.Unlock()
}

// tail is what the process said last.
func (b *bridge) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.last, " | ")
}

// quiet is a writer for go-plugin's own log: at debug level.
func (b *bridge) quiet() io.Writer { return quiet{b.log} }

type quiet struct{ log zerolog.Logger }

func (q quiet) Write(line []byte) (int, error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(line, &fields) == nil {
		q.log.Debug().RawJSON("go_plugin", trim(line)).Msg(text(fields["@message"]))
	}
	return len(line), nil
}

func trim(line []byte) []byte {
	for n := len(line); n > 0 && (line[n-1] == '\n' || line[n-1] == '\r'); n-- {
		line = line[:n-1]
	}
	return line
}
