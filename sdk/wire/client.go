package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

// Client is the runtime's end of a plugin process's control plane. Its methods
// may be called by several goroutines.
type Client struct {
	plugin pb.PluginClient
	source pb.SourceClient
	sink   pb.SinkClient
}

type clientPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (clientPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("wire: the runtime serves no plugin")
}

func (clientPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return &Client{pb.NewPluginClient(c), pb.NewSourceClient(c), pb.NewSinkClient(c)}, nil
}

// ClientPlugins is what the runtime gives go-plugin as VersionedPlugins.
func ClientPlugins() map[int]plugin.PluginSet {
	return map[int]plugin.PluginSet{ProtocolVersion: {PluginName: clientPlugin{}}}
}

// DialOptions bound the runtime's side of the connection.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithDefaultCallOptions(
		grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage))}
}

// Describe asks what the process is, and refuses one that was built with other
// layouts.
func (c *Client) Describe(ctx context.Context) (Description, error) {
	r, err := c.plugin.Describe(ctx, &pb.Empty{})
	if err != nil {
		return Description{}, fmt.Errorf("wire: describe: %w", err)
	}
	for _, v := range []struct {
		what      string
		got, want uint32
	}{{"record layout", r.Layout, market.LayoutVersion}, {"journal layout", r.Journal, shm.LayoutVersion}, {"ring layout", r.Ring, ring.Version}} {
		if v.got != v.want {
			return Description{}, fault.Errorf(fault.Stop,
				"wire: describe: the plugin was built with %s %d, this runtime has %d: build it with a matching SDK", v.what, v.got, v.want)
		}
	}
	d := Description{Kind: r.Kind, Transports: r.Transports}
	switch r.Kind {
	case KindSource:
		d.Source = new(source.Manifest)
		err = json.Unmarshal(r.Manifest, d.Source)
	case KindSink:
		d.Sink = new(sink.Manifest)
		err = json.Unmarshal(r.Manifest, d.Sink)
	default:
		return d, fault.Errorf(fault.Stop, "wire: describe: the plugin says it is a %q, neither source nor sink", r.Kind)
	}
	if err != nil {
		return d, fault.Errorf(fault.Stop, "wire: describe: manifest: %w", err)
	}
	if !slices.Contains(r.Transports, TransportShared) {
		return d, fault.Errorf(fault.Stop, "wire: describe: the plugin offers the transports %v, this runtime has %s only", r.Transports, TransportShared)
	}
	return d, nil
}

// Health asks for the process's state.
func (c *Client) Health(ctx context.Context) (Health, error) {
	r, err := c.plugin.Health(ctx, &pb.Empty{})
	if err != nil {
		return Health{}, fmt.Errorf("wire: health: %w", err)
	}
	return Health{HeapBytes: r.HeapBytes, RuntimeBytes: r.RuntimeBytes, LiveBytes: r.LiveBytes, Goroutines: r.Goroutines, GCCycles: r.GcCycles,
		Frames: r.Frames, Records: r.Records, Refused: r.Refused, SkippedBytes: r.SkippedBytes, Wakeups: r.Wakeups}, nil
}

// Heap asks for the sites that hold most of the process's heap, the greatest
// first. A plugin that was built with an SDK that doesn't know it answers with
// an error.
func (c *Client) Heap(ctx context.Context) (sites []heap.Site, err error) {
	r, err := c.plugin.Heap(ctx, &pb.Empty{})
	if err != nil {
		return nil, fmt.Errorf("wire: heap: %w", err)
	}
	if err := json.Unmarshal(r.Json, &sites); err != nil {
		return nil, fmt.Errorf("wire: heap: the plugin's answer: %w", err)
	}
	return sites[:min(len(sites), maxSites)], nil
}

type replyCall func(context.Context, *pb.Value, ...grpc.CallOption) (*pb.Reply, error)

// call makes a JSON call. The plugin's own error comes back with its kind.
func call(ctx context.Context, what string, f replyCall, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("wire: %s: %w", what, err)
	}
	r, err := f(ctx, &pb.Value{Json: b})
	return reply(what, r, err, out)
}

func reply(what string, r *pb.Reply, err error, out any) error {
	if err != nil {
		return fmt.Errorf("wire: %s: %w", what, err)
	}
	if f := r.Fault; f != nil {
		k := fault.Kind(f.Kind)
		if f.Kind > uint32(fault.Stop) {
			k = fault.Retry
		}
		return &fault.Error{Kind: k, After: max(0, time.Duration(f.AfterNs)), Err: errors.New(f.Message)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(r.Json, out); err != nil {
		return fmt.Errorf("wire: %s: the plugin's answer: %w", what, err)
	}
	return nil
}

type native struct {
	Market market.Market `json:"market"`
	Symbol string        `json:"symbol"`
}

// Resolve, Identify, Session, Frames and Requests are source.Source's methods.
func (c *Client) Resolve(ctx context.Context, name string) (market.Market, string, error) {
	var n native
	err := call(ctx, "resolve "+name, c.source.Resolve, name, &n)
	return n.Market, n.Symbol, err
}

// Identify is source.Source's.
func (c *Client) Identify(ctx context.Context, m market.Market, symbol string) (i market.Instrument, err error) {
	err = call(ctx, "identify "+symbol, c.source.Identify, native{m, symbol}, &i)
	return i, err
}

// Session is source.Source's.
func (c *Client) Session(ctx context.Context, r source.SessionRequest) (s source.Script, err error) {
	err = call(ctx, "session", c.source.Session, r, &s)
	return s, err
}

// Frames is source.Source's.
func (c *Client) Frames(ctx context.Context, r source.FrameRequest) (f []source.Frame, err error) {
	err = call(ctx, "frames", c.source.Frames, r, &f)
	return f, err
}

// Requests is source.Source's.
func (c *Client) Requests(ctx context.Context, r source.RequestFor) (q []source.Request, err error) {
	err = call(ctx, "requests", c.source.Requests, r, &q)
	return q, err
}

// Start begins decoding.
func (c *Client) Start(ctx context.Context, s SourceStart) error {
	settings, err := json.Marshal(s.Settings)
	if err != nil {
		return fmt.Errorf("wire: start: settings: %w", err)
	}
	m := &pb.StartSource{Transport: s.Transport, JournalDir: s.JournalDir, From: s.From, Settings: settings,
		Latency: string(s.Latency), GatherNs: int64(s.Gather),
		ControlFd: int32(s.ControlFd), BellFd: int32(s.BellFd), RingFd: int32(s.RingFd), HostBellFd: int32(s.HostBell)}
	for _, r := range s.Remembered {
		m.Remembered = append(m.Remembered, &pb.Remembered{Kind: uint32(r.Kind), Conn: r.Conn, Recv: r.Recv, Pos: r.Pos, Payload: r.Payload})
	}
	r, err := c.source.Start(ctx, m)
	return reply("start", r, err, nil)
}

// Open opens a sink's store.
func (c *Client) Open(ctx context.Context, o SinkOpen) error {
	config, err := json.Marshal(o.Config)
	if err != nil {
		return fmt.Errorf("wire: open: config: %w", err)
	}
	selection, err := json.Marshal(o.Selection)
	if err != nil {
		return fmt.Errorf("wire: open: selection: %w", err)
	}
	m := &pb.OpenSink{Transport: o.Transport, Name: o.Name, Config: config, WorkDir: o.WorkDir, Selection: selection,
		MailboxFd: int32(o.MailboxFd), ControlFd: int32(o.ControlFd), BellFd: int32(o.BellFd), HostBellFd: int32(o.HostBell)}
	for _, j := range o.Journals {
		m.Journals = append(m.Journals, &pb.SinkJournal{Name: j.Name, Dir: j.Dir, Venue: j.Venue, Market: uint32(j.Market),
			ControlFd: int32(j.ControlFd), BellFd: int32(j.BellFd)})
	}
	r, err := c.sink.Open(ctx, m)
	return reply("open", r, err, nil)
}

// CloseSink closes the store.
func (c *Client) CloseSink(ctx context.Context) error {
	r, err := c.sink.Close(ctx, &pb.Empty{})
	return reply("close", r, err, nil)
}
