package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// unixScheme begins the address of a unix socket.
const unixScheme = "unix://"

// maxSocketPath is the longest name that a client can connect to.
const maxSocketPath = 107

func listen(addr string) (ln net.Listener, unix bool, err error) {
	if path, ok := strings.CutPrefix(addr, unixScheme); ok {
		ln, err = listenUnix(path)
		return ln, true, err
	}
	ln, err = net.Listen("tcp", addr)
	if err != nil {
		return nil, false, fmt.Errorf("admin: %w; choose another address with `listen` in the marketprism block", err)
	}
	return ln, false, nil
}

// listenUnix makes the socket in a directory that nobody else can enter, sets
// its mode there, and moves it to its place: at no moment can others connect.
func listenUnix(path string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) {
		return nil, fmt.Errorf("admin: unix socket %s: %w", path, err)
	}
	if path == "" {
		return fail(errors.New("want unix:///path"))
	}
	if len(path) > maxSocketPath {
		return fail(fmt.Errorf("its name has %d bytes, the system takes %d", len(path), maxSocketPath))
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fail(err)
	case info.Mode().Type() != fs.ModeSocket:
		return fail(errors.New("a file that is no socket is in its place: move it away"))
	default:
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			_ = c.Close()
			return fail(errors.New("another process listens there"))
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fail(err)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".admin-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", made)
	if err != nil {
		return fail(fmt.Errorf("%w; its directory's name may be too long", err))
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		return fail(errors.Join(err, ln.Close()))
	}
	return &unixListener{Listener: ln, path: path}, nil
}

// unixListener removes the socket where it was moved to.
type unixListener struct {
	net.Listener
	path string
	once sync.Once
}

func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

func (l *unixListener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { err = errors.Join(err, os.Remove(l.path)) })
	return err
}

// limitConns accepts n connections at a time.
func limitConns(ln net.Listener, n int) net.Listener {
	return &limited{Listener: ln, room: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	room   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &limitedConn{Conn: c, l: l}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	l    *limited
	once sync.Once
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.l.room })
	return err
}
