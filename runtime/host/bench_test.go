package host_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/serve"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

const (
	benchFrame  = 200 // bytes in
	benchRecord = 64  // bytes out
	benchRate   = 20_000
)

// echoSource answers each frame with 64 bytes, without looking at it.
type echoSource struct{ lineSource }

type echoDecoder struct{ token string }

func (echoSource) NewDecoder(source.DecoderSettings) (source.Decoder, error) {
	return &echoDecoder{string(make([]byte, benchRecord-source.SignalSize))}, nil
}

func (d *echoDecoder) Decode(_ *source.Input, out *source.Out) error {
	out.Ready(d.token)
	return nil
}

func init() {
	hostile["echo"] = func() int { return serve.Source(echoSource{}) }
	hostile["stream"] = streamMain
}

// cpu is the processor time of a process.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	clock := int32(unix.CLOCK_PROCESS_CPUTIME_ID)
	if pid > 0 {
		clock = ^int32(pid)<<3 | 2
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// run is one benchmark of a way to the plugin and back: send hands over n
// frames, recv takes what came back and returns how many; it sleeps if told so.
type way struct {
	pid  int
	send func(n int)
	recv func(sleep bool) int
}

// saturate sends b.N frames as fast as they come back, batch at a time.
func (w *way) saturate(b *testing.B, batch int) {
	const window = 4096
	sent, got := 0, 0
	self, child := cpu(b, 0), cpu(b, w.pid)
	b.ResetTimer()
	for got < b.N {
		for sent < b.N && sent-got <= window-batch {
			n := min(batch, b.N-sent)
			w.send(n)
			sent += n
		}
		got += w.recv(sent-got > window-batch || sent == b.N)
	}
	b.StopTimer()
	w.report(b, self, child)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func (w *way) report(b *testing.B, self, child time.Duration) {
	n := float64(b.N)
	self, child = cpu(b, 0)-self, cpu(b, w.pid)-child
	b.ReportMetric(float64(self)/n, "host-cpu-ns/msg")
	b.ReportMetric(float64(child)/n, "plugin-cpu-ns/msg")
	b.ReportMetric(float64(self+child)/n, "cpu-ns/msg")
}

// pace sends single frames at benchRate and reports how long each took.
func (w *way) pace(b *testing.B) {
	sent := make([]atomic.Int64, b.N)
	took := make([]int64, 0, b.N)
	done := make(chan struct{})
	self, child := cpu(b, 0), cpu(b, w.pid)
	b.ResetTimer()
	start := time.Now()
	go func() {
		defer close(done)
		for len(took) < b.N {
			n := w.recv(true)
			now := int64(time.Since(start))
			for range n {
				took = append(took, now-sent[len(took)].Load())
			}
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i := range b.N {
		if d := time.Duration(i)*time.Second/benchRate - time.Since(start); d > 0 {
			ts := unix.NsecToTimespec(int64(d))
			_ = unix.Nanosleep(&ts, nil)
		}
		sent[i].Store(int64(time.Since(start)))
		w.send(1)
	}
	<-done
	b.StopTimer()
	w.report(b, self, child)
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-µs")
}

func sharedWay(b *testing.B, latency wire.Latency) *way {
	j := newJournal(b, journal.Options{SegmentBytes: 64 << 20, MaxBytes: 1 << 30})
	ctx, cancel := context.WithCancel(context.Background())
	jctx, jcancel := context.WithCancel(context.Background())
	jdone := make(chan struct{})
	go func() { defer close(jdone); _ = j.Run(jctx) }()
	pos := j.Tail()
	src, err := host.New(testOptions(io.Discard)).NewSource(host.SourceSpec{Spec: host.Spec{Name: "echo"}, Journal: j, Latency: latency,
		Settings:    source.DecoderSettings{Market: market.MarketSpot},
		RestartFrom: func() (shm.Position, []wire.Remembered) { return pos, nil }})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }()
	var batch host.Batch
	b.Cleanup(func() {
		cancel()
		<-done
		for src.Poll(&batch, 1<<20) == nil {
		}
		src.Close()
		jcancel()
		<-jdone
	})
	for src.State().Phase != host.Running {
		if err := src.Poll(&batch, 1<<20); err != nil {
			b.Fatal(err)
		}
		src.Wait(time.Millisecond)
	}
	frame := make([]byte, benchFrame)
	w := &way{pid: src.State().Pid}
	w.send = func(n int) {
		for range n {
			if _, err := j.Append(shm.Header{Kind: uint8(source.InputText), Conn: 1}, frame); err != nil {
				b.Error(err)
			}
		}
		j.Ring()
	}
	w.recv = func(sleep bool) int {
		if err := src.Poll(&batch, 64<<10); err != nil {
			b.Error(err)
			return b.N
		}
		if len(batch.Entries) == 0 && sleep {
			src.Wait(time.Second)
		}
		return len(batch.Entries)
	}
	return w
}

// rawCodec carries bytes as they are: what a gRPC transport of record bytes
// would do at best.
type rawCodec struct{}

func (rawCodec) Name() string { return "raw" }

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append((*v.(*[]byte))[:0], b...)
	return nil
}

func init() { encoding.RegisterCodec(rawCodec{}) }

var streamDesc = grpc.StreamDesc{StreamName: "Echo", ServerStreams: true, ClientStreams: true}

// streamPlugin is a go-plugin plugin that answers batches on a stream.
type streamPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (streamPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	d := streamDesc
	d.Handler = func(_ any, st grpc.ServerStream) error {
		var in, out []byte
		for {
			if err := st.RecvMsg(&in); err != nil {
				return nil
			}
			n := len(in) / benchFrame * benchRecord
			out = slices.Grow(out[:0], n)[:n]
			for i := range n / benchRecord {
				copy(out[i*benchRecord:], in[i*benchFrame:i*benchFrame+8])
			}
			if err := st.SendMsg(&out); err != nil {
				return err
			}
		}
	}
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "bench", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{d}}, struct{}{})
	return nil
}

func (streamPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

func streamMain() int {
	plugin.Serve(&plugin.ServeConfig{HandshakeConfig: wire.Handshake, GRPCServer: plugin.DefaultGRPCServer,
		VersionedPlugins: map[int]plugin.PluginSet{wire.ProtocolVersion: {wire.PluginName: streamPlugin{}}}})
	return 0
}

func streamWay(b *testing.B) *way {
	exe, _ := os.Executable()
	cmd := exec.Command(exe, "plugin", "source", "stream")
	c := plugin.NewClient(&plugin.ClientConfig{HandshakeConfig: wire.Handshake, Cmd: cmd, SkipHostEnv: true,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
		VersionedPlugins: map[int]plugin.PluginSet{wire.ProtocolVersion: {wire.PluginName: streamPlugin{}}}})
	b.Cleanup(c.Kill)
	rpc, err := c.Client()
	if err != nil {
		b.Fatal(err)
	}
	conn, err := rpc.Dispense(wire.PluginName)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	st, err := conn.(*grpc.ClientConn).NewStream(ctx, &streamDesc, "/bench/Echo", grpc.CallContentSubtype("raw"))
	if err != nil {
		b.Fatal(err)
	}
	var in []byte
	frames := make([]byte, 64*benchFrame)
	binary.LittleEndian.PutUint64(frames, 1)
	return &way{pid: cmd.Process.Pid,
		send: func(n int) {
			msg := frames[:n*benchFrame]
			if err := st.SendMsg(&msg); err != nil {
				b.Error(err)
			}
		},
		recv: func(sleep bool) int {
			if !sleep {
				return 0
			}
			if err := st.RecvMsg(&in); err != nil {
				b.Error(err)
				return b.N
			}
			return len(in) / benchRecord
		}}
}

// BenchmarkRoundTrip is a frame of 200 bytes to a plugin process and 64 bytes
// back, with all checks: through shared memory, and beside it through a
// go-plugin gRPC stream without TLS. CPU is of both processes. Run it with
// -benchtime=1000000x, or 100000x for the paced ones (20,000 a second).
func BenchmarkRoundTrip(b *testing.B) {
	b.Run("shm/saturated", func(b *testing.B) { sharedWay(b, wire.Balanced).saturate(b, 64) })
	for _, batch := range []int{64, 1} {
		b.Run(fmt.Sprintf("grpc-%d/saturated", batch), func(b *testing.B) { streamWay(b).saturate(b, batch) })
	}
	b.Run("shm-low/paced", func(b *testing.B) { sharedWay(b, wire.Low).pace(b) })
	b.Run("shm-balanced/paced", func(b *testing.B) { sharedWay(b, wire.Balanced).pace(b) })
	b.Run("grpc-1/paced", func(b *testing.B) { streamWay(b).pace(b) })
}
