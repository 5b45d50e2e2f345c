package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/wire"
)

// process is one plugin process.
type process struct {
	label  string
	client *wire.Client
	run    *processRunner
	plugin *plugin.Client
	work   *sched.Group // what serves it

	once sync.Once
	mu   sync.Mutex
	why  error // why it was killed; nil if it ended by itself
}

func (p *process) pid() int { return p.run.proc.Load().Pid }

// exited is closed when the process has ended and was waited for.
func (p *process) exited() <-chan struct{} { return p.run.exited }

// stop ends the process. The first reason stands.
func (p *process) stop(why error) {
	p.once.Do(func() {
		p.mu.Lock()
		p.why = why
		p.mu.Unlock()
		_ = p.run.Kill(context.Background())
	})
}

// kill ends the process and waits for it and for what served it.
func (p *process) kill(why error) {
	p.stop(why)
	<-p.run.exited
	p.plugin.Kill() // nothing but cleaning up: the process is gone
	if p.run.stdout != nil {
		p.run.stdout.Close() // nobody reads it any more
	}
	_ = p.work.Wait()
}

// end is why the process ended, once it has.
func (p *process) end() error {
	p.mu.Lock()
	why := p.why
	p.mu.Unlock()
	if why != nil {
		return why
	}
	return p.run.explain(fmt.Errorf("the process ended by itself: %s", p.run.status))
}

// explain adds, to an error of a call, that the process has ended.
func (p *process) explain(err error) error {
	var said *fault.Error
	if errors.As(err, &said) {
		return err // the plugin's own answer
	}
	// The connection breaks a moment before the process was waited for.
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-p.run.exited:
		return fmt.Errorf("%w: %w", err, p.end())
	case <-t.C:
		return err
	}
}

// launch starts a process with files as its descriptors from wire.LifeFd+1 on
// and shakes hands.
func (h *Host) launch(ctx context.Context, s Spec, label string, files []*os.File) (*process, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	r := &processRunner{label: label, host: h, spec: s, files: files, exited: make(chan struct{})}
	defer r.started()
	log := h.opt.Logger.With().Str("plugin", label).Logger()
	r.vitals = h.vitalsOf(label)
	r.logs = newBridge(log, func(err error) { r.flooded(err) })
	r.logs.lost = &r.vitals.logDropped
	r.path, r.args = h.opt.Exe, append([]string{h.opt.Exe}, h.opt.Args(s.Kind, s.Name)...)
	if s.Path != "" {
		exe, err := sealedCopy(s.Path, s.SHA256)
		if err != nil {
			return nil, err
		}
		r.own = append(r.own, exe)
		r.exe = exe
		r.args = []string{s.Path}
	}
	r.work, _ = sched.NewSet(context.WithoutCancel(ctx), "")
	p := &process{label: label, run: r, work: r.work}
	r.flooded = p.stop
	p.plugin = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  wire.Handshake,
		VersionedPlugins: wire.ClientPlugins(),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     h.opt.StartTimeout,
		GRPCDialOptions:  wire.DialOptions(),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: h.opt.TempDir},
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: newBridge(log, nil).quiet(), JSONFormat: true}),
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
			r.env, r.dir = cmd.Env, dir
			return r, nil
		},
	})
	stop := context.AfterFunc(ctx, func() { _ = r.Kill(context.Background()) })
	defer stop()
	rpc, err := p.plugin.Client()
	if err == nil {
		var c any
		if c, err = rpc.Dispense(wire.PluginName); err == nil {
			p.client = c.(*wire.Client)
			return p, nil
		}
	}
	if r.proc.Load() != nil {
		p.kill(err)
	}
	_ = r.work.Wait()
	if e := ctx.Err(); e != nil {
		return nil, fmt.Errorf("host: start plugin %s: %w", label, e)
	}
	if strings.Contains(err.Error(), "incompatible") {
		err = fault.New(fault.Stop, err) // a version doesn't change by trying again
	}
	return nil, r.explain(fmt.Errorf("host: start plugin %s: %w", label, err))
}

// processRunner starts the process for go-plugin, in our way: from a thread of
// its own, confined, with its standard streams under our eyes.
type processRunner struct {
	label string
	host  *Host
	spec  Spec
	path  string
	args  []string
	exe   *os.File // third-party: sealed memfd
	files []*os.File
	env   []string
	dir   string
	own   []*os.File // closed once the process has them

	cmd     *exec.Cmd
	proc    atomic.Pointer[os.Process]
	life    *os.File
	work    *sched.Group
	printed []*os.File // the ends that are read here
	stdout  *io.PipeReader
	logs    *bridge
	vitals  *vitals
	flooded func(error)
	exited  chan struct{}
	status  string
}

// Start implements runner.Runner.
func (r *processRunner) Start(context.Context) error {
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("life pipe: %w", err)
	}
	r.own = append(r.own, lifeR)
	out, outW, err := os.Pipe()
	if err != nil {
		lifeW.Close()
		return fmt.Errorf("standard output: %w", err)
	}
	r.own = append(r.own, outW)
	errR, errW, err := os.Pipe()
	if err != nil {
		lifeW.Close()
		out.Close()
		return fmt.Errorf("standard error: %w", err)
	}
	r.own = append(r.own, errW)
	files := append([]*os.File{lifeR}, r.files...)
	if r.spec.Access.Stdout {
		r.env = append(r.env, wire.EnvStdout+"="+strconv.Itoa(wire.LifeFd+len(files)))
		files = append(files, r.host.opt.Stdout)
	}
	path := r.path
	if r.exe != nil {
		path = "/proc/self/fd/" + strconv.Itoa(wire.LifeFd+len(files))
		files = append(files, r.exe)
	}
	r.cmd = &exec.Cmd{
		Path: path, Args: r.args, Env: r.environment(), Dir: "/",
		Stdout: outW, Stderr: errW, ExtraFiles: files, // no Stdin: empty
		// A group of its own: the terminal's interrupt is for the runtime.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true},
	}
	r.life = lifeW
	begun := make(chan error, 1)
	r.printed = []*os.File{out, errR}
	r.work.Go("process", func(context.Context) error { r.live(begun); return nil })
	if err := <-begun; err != nil {
		lifeW.Close()
		out.Close()
		errR.Close()
		return err
	}
	r.started() // or the pipes would outlive the process
	pr, pw := io.Pipe()
	r.stdout = pr
	r.work.Go("stdout", func(context.Context) error { handshakeLine(out, pw); return nil })
	r.work.Go("stderr", func(context.Context) error { r.logs.read(errR); return nil })
	return nil
}

// live is the life of the process. The thread that started it must live as
// long: the parent-death signal is sent when that thread ends. It is never
// unlocked, so that it ends with its restrictions.
func (r *processRunner) live(begun chan<- error) {
	runtime.LockOSThread()
	if err := r.confine(); err != nil {
		begun <- err
		return
	}
	if err := r.cmd.Start(); err != nil {
		begun <- err
		return
	}
	r.proc.Store(r.cmd.Process)
	begun <- nil
	if err := r.cmd.Wait(); err != nil {
		r.status = err.Error()
	} else {
		r.status = "exit status 0"
	}
	if st := r.cmd.ProcessState; st != nil {
		r.vitals.end(st.UserTime() + st.SystemTime())
	}
	r.life.Close()
	r.logs.wait()
	for _, f := range r.printed { // a child that lives on may hold the other ends
		f.Close()
	}
	close(r.exited)
}

func (r *processRunner) confine() error {
	v, log := landlockVersion(), &r.host.opt.Logger
	r.host.confined.Do(func() {
		switch {
		case v == 0:
			log.Warn().Msg("this kernel has no Landlock: plugins can write where this user can")
		case v < 4:
			log.Warn().Int("landlock", v).Msg("this kernel's Landlock can't restrict TCP: plugins are kept from writing files only")
		}
	})
	if v == 1 && len(r.spec.Access.Writes) > 0 {
		log.Warn().Int("landlock", v).Str("plugin", r.label).Msg("this kernel's Landlock can't let a sink rename files: it can write where this user can")
	}
	rules := rulesFor(v, &r.spec.Access, r.dir)
	if v == 0 || rules.empty() {
		return nil
	}
	if err := rules.confine(); err != nil {
		return err
	}
	if rules.attr.Handled_access_net == 0 {
		return nil
	}
	return filterSockets(r.spec.Access.Connect)
}

// environment is clean: what go-plugin needs, what the runtime says, what the
// spec adds. The one place that every process can write is that of its temporary
// files.
func (r *processRunner) environment() []string {
	procs, limit := max(1, r.spec.Procs), r.spec.MemoryLimit
	if limit == 0 {
		limit = SourceMemory
		if r.spec.Kind == wire.KindSink {
			limit = SinkMemory
		}
	}
	level := r.host.opt.Logger.GetLevel()
	if level < zerolog.DebugLevel {
		level = zerolog.DebugLevel
	}
	env := append([]string{
		"GOMAXPROCS=" + strconv.Itoa(procs), "GOMEMLIMIT=" + strconv.FormatInt(limit, 10),
		wire.EnvName + "=" + r.label, wire.EnvLogLevel + "=" + level.String(), "TMPDIR=" + r.dir,
	}, r.env...)
	return append(env, r.spec.Env...)
}

// started closes what the process has got.
func (r *processRunner) started() {
	for _, f := range r.own {
		f.Close()
	}
	r.own = nil
}

// explain adds what the process said last to an error.
func (r *processRunner) explain(err error) error {
	if tail := r.logs.tail(); tail != "" {
		return fmt.Errorf("%w; it said: %s", err, tail)
	}
	return err
}

// maxHandshake bounds the line by which a plugin says where it listens.
const maxHandshake = 16 << 10

// handshakeLine passes on the first line of standard output and drops the rest,
// at a bounded rate.
func handshakeLine(out *os.File, to *io.PipeWriter) {
	defer out.Close()
	b := bufio.NewReaderSize(out, maxHandshake)
	line, err := b.ReadSlice('\n')
	_, _ = to.Write(line)
	to.Close()
	for err == nil || errors.Is(err, bufio.ErrBufferFull) {
		if _, err = b.Discard(max(1, b.Buffered())); b.Buffered() > maxHandshake/2 {
			time.Sleep(dropPause)
		}
	}
}

// Stdout implements runner.Runner: the handshake.
func (r *processRunner) Stdout() io.ReadCloser { return r.stdout }

// Stderr implements runner.Runner. go-plugin gets nothing to parse: a line that
// is JSON but not of its kind would end the runtime.
func (r *processRunner) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Wait implements runner.AttachedRunner.
func (r *processRunner) Wait(context.Context) error {
	<-r.exited
	return nil
}

// Kill implements runner.AttachedRunner. It takes children along.
func (r *processRunner) Kill(context.Context) error {
	proc := r.proc.Load()
	if proc == nil {
		return nil
	}
	select {
	case <-r.exited:
		return nil
	default:
	}
	_ = syscall.Kill(-proc.Pid, syscall.SIGKILL)
	if err := proc.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Name, ID and Diagnose implement runner.Runner.
func (r *processRunner) Name() string { return r.label }

// ID implements runner.AttachedRunner.
func (r *processRunner) ID() string { return strconv.Itoa(r.proc.Load().Pid) }

// Diagnose implements runner.Runner.
func (r *processRunner) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.AddrTranslator.
func (r *processRunner) PluginToHost(network, addr string) (string, string, error) {
	if network != "unix" || !strings.HasPrefix(addr, r.dir+"/") {
		return "", "", fmt.Errorf("the plugin listens on %s %q, not in %s", network, addr, r.dir)
	}
	return network, addr, nil
}

// HostToPlugin implements runner.AddrTranslator.
func (r *processRunner) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
