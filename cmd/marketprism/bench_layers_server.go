package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

// benchDepth is how many levels a side the book messages of the benchmark have.
const benchDepth = 20

// leanServer is the venue of the layers' benchmark, in a process of its own: it
// answers with bytes made before, so that what is measured is the client. It
// ends with its standard input.
func leanServer(c *cobra.Command) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(c.OutOrStdout(), l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		l.Close()
	}()
	ticker := leanAnswer(`{"symbol":"BTCUSDT","openInterest":"10659.509","time":1589437530011}`)
	book := leanAnswer(depthAnswer())
	var all sync.WaitGroup
	var open sync.Map // its connections are closed with it
	for {
		conn, err := l.Accept()
		if err != nil {
			break // closed
		}
		open.Store(conn, nil)
		all.Go(func() {
			defer open.Delete(conn)
			defer conn.Close()
			leanServe(conn, ticker, book)
		})
	}
	open.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
	all.Wait()
	return nil
}

// leanServe answers the requests of one connection, one after the other.
func leanServe(conn net.Conn, ticker, book []byte) {
	buf, n := make([]byte, 4096), 0
	for n < len(buf) {
		m, err := conn.Read(buf[n:])
		if n += m; err != nil {
			return
		}
		if !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			continue
		}
		answer := ticker
		if bytes.HasPrefix(buf[:n], []byte("GET "+depthPath)) {
			answer = book
		}
		n = 0
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

const (
	tickerPath = "/fapi/v1/openInterest?symbol=BTCUSDT"
	depthPath  = "/api/v3/depth?symbol=BTCUSDT&limit=20"
)

func leanAnswer(body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Mbx-Used-Weight-1m: 12\r\nDate: Mon, 23 Nov 2026 09:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// depthAnswer is a book as the venue sends it.
func depthAnswer() string {
	var b strings.Builder
	b.WriteString(`{"lastUpdateId":50093239202`)
	for side, at := range []int{6173700, 6173800} {
		b.WriteString([]string{`,"bids":[`, `],"asks":[`}[side])
		for i := range benchDepth {
			if i > 0 {
				b.WriteByte(',')
			}
			price := at + i*(2*side-1)*7
			fmt.Fprintf(&b, `["%d.%02d000000","%d.%05d000"]`, price/100, price%100, i%4, 100+i*371)
		}
	}
	b.WriteString(`]}`)
	return b.String()
}

// leanProcess is a running leanServer.
type leanProcess struct {
	addr string
	cmd  *exec.Cmd
	in   io.Closer
}

func startLean(ctx context.Context) (*leanProcess, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "bench", "layer", "server")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("the benchmark's server: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		return nil, fmt.Errorf("the benchmark's server ended at once: %w", err)
	}
	return &leanProcess{strings.TrimSpace(line), cmd, in}, nil
}

// stop ends the server and waits for it.
func (p *leanProcess) stop() error {
	if err := p.in.Close(); err != nil {
		return err
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("the benchmark's server: %w", err)
	}
	return nil
}
