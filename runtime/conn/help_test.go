package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"log"
	"net"
	"runtime"
	"strconv"
	"sync"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// pipe copies both ways until one side ends.
func pipe(a, b net.Conn) {
	var both sync.WaitGroup
	for _, p := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			io.Copy(p[0], p[1])
			p[0].Close()
			p[1].Close()
		})
	}
	both.Wait()
}

// serveSOCKS is a SOCKS5 proxy for CONNECT to IPv4 addresses and names (RFC 1928).
func serveSOCKS(l net.Listener, saw func(addr string)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b := make([]byte, 262)
			if _, err := io.ReadFull(c, b[:2]); err != nil {
				return
			}
			io.ReadFull(c, b[:b[1]])
			c.Write([]byte{5, 0})
			if _, err := io.ReadFull(c, b[:4]); err != nil {
				return
			}
			var host string
			switch b[3] {
			case 1:
				io.ReadFull(c, b[:4])
				host = net.IP(b[:4]).String()
			case 3:
				io.ReadFull(c, b[:1])
				n := b[0]
				io.ReadFull(c, b[:n])
				host = string(b[:n])
			}
			io.ReadFull(c, b[:2])
			addr := net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(b))))
			saw(addr)
			up, err := net.Dial("tcp", addr)
			if err != nil {
				return
			}
			c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
			pipe(c, up)
		}()
	}
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

type ctx = context.Context

// clientTLS trusts a venue's own certificate.
func clientTLS(v *venue) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(v.Certificate())
	return &tls.Config{RootCAs: roots}
}
