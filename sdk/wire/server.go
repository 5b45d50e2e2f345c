package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/heap"
	"github.com/marketprism/marketprism/sdk/wire/pb"
	"github.com/marketprism/marketprism/sdk/wire/ring"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// SourceServer is what serves a source in its process: the pure functions of
// the plugin and the decode loop behind Start.
type SourceServer interface {
	Describe() source.Manifest
	Resolve(name string) (market.Market, string, error)
	Identify(m market.Market, symbol string) market.Instrument
	Session(source.SessionRequest) (source.Script, error)
	Frames(source.FrameRequest) ([]source.Frame, error)
	Requests(source.RequestFor) ([]source.Request, error)
	Start(SourceStart) error
	Health() Health // its own counters; the process's are filled in
}

// SinkServer is what serves a sink in its process.
type SinkServer interface {
	Describe() sink.Manifest
	Open(context.Context, SinkOpen) error
	Close(context.Context) error
	Health() Health
}

// ServerOptions bound the process's side of the connection.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage)}
}

// SourcePlugin is what a source process gives go-plugin.
func SourcePlugin(s SourceServer) plugin.Plugin { return &serverPlugin{source: s} }

// SinkPlugin is what a sink process gives go-plugin.
func SinkPlugin(s SinkServer) plugin.Plugin { return &serverPlugin{sink: s} }

type serverPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	source SourceServer
	sink   SinkServer
}

func (p *serverPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("wire: a plugin process is no client")
}

func (p *serverPlugin) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	if p.source != nil {
		s := &sourceService{s: p.source}
		pb.RegisterPluginServer(g, &pluginService{describe: s.describe, health: p.source.Health})
		pb.RegisterSourceServer(g, s)
		return nil
	}
	s := &sinkService{s: p.sink}
	pb.RegisterPluginServer(g, &pluginService{describe: s.describe, health: p.sink.Health})
	pb.RegisterSinkServer(g, s)
	return nil
}

type pluginService struct {
	pb.UnimplementedPluginServer
	describe func() (kind string, manifest any)
	health   func() Health

	mu      sync.Mutex // heap and collect
	heap    *heap.Reader
	collect heap.Collector
}

// maxSites bounds what a process tells of its heap.
const maxSites = 100

// Collections that are made for the heap's figures alone.
const (
	collectEvery    = 20 * time.Second
	collectMaxEvery = 2 * time.Minute // as often as the Go runtime collects by itself
	collectShare    = 0.005           // of one processor
)

func (p *pluginService) Describe(context.Context, *pb.Empty) (*pb.DescribeReply, error) {
	kind, manifest := p.describe()
	b, err := json.Marshal(manifest)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return &pb.DescribeReply{Kind: kind, Manifest: b, Layout: market.LayoutVersion, Journal: shm.LayoutVersion,
		Ring: ring.Version, Transports: []string{TransportShared}}, nil
}

func (p *pluginService) Health(context.Context, *pb.Empty) (*pb.HealthReply, error) {
	h := p.health()
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/sched/goroutines:goroutines"}, {Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return &pb.HealthReply{HeapBytes: s[0].Value.Uint64(), RuntimeBytes: s[1].Value.Uint64(), Goroutines: uint32(s[2].Value.Uint64()),
		GcCycles: s[3].Value.Uint64(), LiveBytes: s[4].Value.Uint64(), Frames: h.Frames, Records: h.Records, Refused: h.Refused, SkippedBytes: h.SkippedBytes,
		Wakeups: h.Wakeups}, nil
}

func (p *pluginService) Heap(context.Context, *pb.Empty) (*pb.Value, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heap == nil {
		p.heap = heap.NewReader()
		p.collect = heap.Collector{Every: collectEvery, MaxEvery: collectMaxEvery, Share: collectShare}
	}
	p.collect.Collect(time.Now())
	sites := p.heap.Read()
	b, err := json.Marshal(sites[:min(len(sites), maxSites)])
	if err != nil {
		return nil, fmt.Errorf("heap: %w", err)
	}
	return &pb.Value{Json: b}, nil
}

func failed(err error) *pb.Reply {
	return &pb.Reply{Fault: &pb.Fault{Message: err.Error(), Kind: uint32(fault.Of(err)), AfterNs: int64(fault.After(err))}}
}

func answer(v any, err error) (*pb.Reply, error) {
	if err != nil {
		return failed(err), nil
	}
	if v == nil {
		return &pb.Reply{}, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return failed(fault.Errorf(fault.Stop, "answer: %w", err)), nil
	}
	return &pb.Reply{Json: b}, nil
}

// serve decodes a request, runs f under mu and encodes its answer.
func serve[In, Out any](mu *sync.Mutex, v *pb.Value, f func(In) (Out, error)) (*pb.Reply, error) {
	var in In
	if err := json.Unmarshal(v.Json, &in); err != nil {
		return failed(fault.Errorf(fault.Stop, "request: %w", err)), nil
	}
	mu.Lock()
	defer mu.Unlock()
	out, err := f(in)
	return answer(out, err)
}

type sourceService struct {
	pb.UnimplementedSourceServer
	mu sync.Mutex // the contract: one call at a time
	s  SourceServer
}

func (s *sourceService) describe() (string, any) { return KindSource, s.s.Describe() }

func (s *sourceService) Resolve(_ context.Context, v *pb.Value) (*pb.Reply, error) {
	return serve(&s.mu, v, func(name string) (native, error) {
		m, symbol, err := s.s.Resolve(name)
		return native{m, symbol}, err
	})
}

func (s *sourceService) Identify(_ context.Context, v *pb.Value) (*pb.Reply, error) {
	return serve(&s.mu, v, func(n native) (market.Instrument, error) { return s.s.Identify(n.Market, n.Symbol), nil })
}

func (s *sourceService) Session(_ context.Context, v *pb.Value) (*pb.Reply, error) {
	return serve(&s.mu, v, s.s.Session)
}

func (s *sourceService) Frames(_ context.Context, v *pb.Value) (*pb.Reply, error) {
	return serve(&s.mu, v, s.s.Frames)
}

func (s *sourceService) Requests(_ context.Context, v *pb.Value) (*pb.Reply, error) {
	return serve(&s.mu, v, s.s.Requests)
}

func (s *sourceService) Start(_ context.Context, m *pb.StartSource) (*pb.Reply, error) {
	if err := transport(m.Transport); err != nil {
		return failed(err), nil
	}
	start := SourceStart{Transport: m.Transport, JournalDir: m.JournalDir, From: m.From, Latency: Latency(m.Latency),
		Gather: time.Duration(m.GatherNs), ControlFd: int(m.ControlFd), BellFd: int(m.BellFd), RingFd: int(m.RingFd), HostBell: int(m.HostBellFd)}
	if err := json.Unmarshal(m.Settings, &start.Settings); err != nil {
		return failed(fault.Errorf(fault.Stop, "start: settings: %w", err)), nil
	}
	for _, r := range m.Remembered {
		start.Remembered = append(start.Remembered, Remembered{source.InputKind(r.Kind), r.Conn, r.Recv, r.Pos, r.Payload})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return answer(nil, s.s.Start(start))
}

type sinkService struct {
	pb.UnimplementedSinkServer
	s SinkServer
}

func (s *sinkService) describe() (string, any) { return KindSink, s.s.Describe() }

func (s *sinkService) Open(ctx context.Context, m *pb.OpenSink) (*pb.Reply, error) {
	if err := transport(m.Transport); err != nil {
		return failed(err), nil
	}
	o := SinkOpen{Transport: m.Transport, Name: m.Name, WorkDir: m.WorkDir,
		MailboxFd: int(m.MailboxFd), ControlFd: int(m.ControlFd), BellFd: int(m.BellFd), HostBell: int(m.HostBellFd)}
	if err := json.Unmarshal(m.Config, &o.Config); err != nil {
		return failed(fault.Errorf(fault.Stop, "open: config: %w", err)), nil
	}
	if err := json.Unmarshal(m.Selection, &o.Selection); err != nil {
		return failed(fault.Errorf(fault.Stop, "open: selection: %w", err)), nil
	}
	for _, j := range m.Journals {
		o.Journals = append(o.Journals, SinkJournal{Name: j.Name, Dir: j.Dir, Venue: j.Venue, Market: market.Market(j.Market),
			ControlFd: int(j.ControlFd), BellFd: int(j.BellFd)})
	}
	return answer(nil, s.s.Open(ctx, o))
}

func (s *sinkService) Close(ctx context.Context, _ *pb.Empty) (*pb.Reply, error) {
	return answer(nil, s.s.Close(ctx))
}

func transport(name string) error {
	if name != TransportShared {
		return fault.Errorf(fault.Stop, "wire: transport %q is not offered: this SDK has %s only", name, TransportShared)
	}
	return nil
}
