// Package sign holds the user's credentials and signs with them what plugins
// ask for (source.Sign). Plugins, journals, captures, logs, plans and the API
// see placeholders in place of what it fills in.
//
// Order: Credentials are read with the pipeline and checked against what the
// venue's manifest needs; a Signer is made of them for each feed; the feed asks
// it for each step, each time that the step is sent. Zero ends it: after a reload
// the credentials that no running feed uses are overwritten.
//
// Ownership: Credentials belong to the plan that they came with, and a Signer
// reads them; Zero must not be called while a feed that signs with them runs.
// What Frame returns is the caller's, who clears it after the write.
//
// Nothing here waits, does I/O or keeps a goroutine.
//
// What isn't kept: keys are parsed for each signature and not cached. What can't
// be helped: Go's strings are not overwritten, so a value that came through an
// expression (env(), a variable) lies in the heap until the collector takes it;
// a secret_file is read into bytes that Zero clears.
package sign

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/marketprism/marketprism/sdk/source"
)

// Credentials are what a venue knows the user by. They print as nothing.
type Credentials struct {
	key, secret, passphrase []byte
}

// hidden stands for credentials and for what was made with them.
const hidden = "(redacted)"

// New copies its arguments; empty ones are not given.
func New(key, secret, passphrase []byte) *Credentials {
	return &Credentials{slices.Clone(key), slices.Clone(secret), slices.Clone(passphrase)}
}

func (c *Credentials) String() string { return hidden }

// GoString is for %#v.
func (c *Credentials) GoString() string { return hidden }

// Format is for all other verbs.
func (c *Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText is for JSON and for loggers.
func (c *Credentials) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Names lists what is given.
func (c *Credentials) Names() (names []string) {
	if c == nil {
		return nil
	}
	for _, x := range []struct {
		name  string
		value []byte
	}{{"key", c.key}, {"secret", c.secret}, {"passphrase", c.passphrase}} {
		if len(x.value) > 0 {
			names = append(names, x.name)
		}
	}
	return names
}

// Missing lists what a login needs and isn't given.
func (c *Credentials) Missing(l *source.Login) (names []string) {
	have := c.Names()
	for _, n := range Needs(l) {
		if !slices.Contains(have, n) {
			names = append(names, n)
		}
	}
	return names
}

// Needs lists what a login needs.
func Needs(l *source.Login) []string {
	names := []string{"key"}
	if l.Secret {
		names = append(names, "secret")
	}
	if l.Passphrase {
		names = append(names, "passphrase")
	}
	return names
}

// Check says whether the secret has the form that the venue's have. The error
// tells nothing of the value.
func (c *Credentials) Check(l *source.Login) error {
	if !l.Secret || c == nil {
		return nil
	}
	k, err := c.private(l.Scheme, l.Form)
	clear(k.mac)
	clear(k.ed)
	return err
}

// Equal takes the same time whatever the values are, as long as their lengths
// are the same.
func (c *Credentials) Equal(o *Credentials) bool {
	if c == nil || o == nil {
		return c == o
	}
	return subtle.ConstantTimeCompare(c.key, o.key)&subtle.ConstantTimeCompare(c.secret, o.secret)&subtle.ConstantTimeCompare(c.passphrase, o.passphrase) == 1
}

// Zero overwrites them.
func (c *Credentials) Zero() {
	if c == nil {
		return
	}
	clear(c.key)
	clear(c.secret)
	clear(c.passphrase)
	c.key, c.secret, c.passphrase = nil, nil, nil
}

// maxSecret is what a secret file may hold, in bytes.
const maxSecret = 16 << 10

// ReadFile reads a secret. A file that others than its owner can read is
// refused; so is one that holds nothing.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened: the name may be another file by now
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	if m := info.Mode().Perm(); m&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: others can read it, so it is refused; chmod 600 %s", path, m, path)
	}
	buf := make([]byte, maxSecret+1) // not grown, so no part of it is left elsewhere
	n, err := io.ReadFull(f, buf)
	switch {
	case err == nil:
		clear(buf)
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxSecret)
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		clear(buf)
		return nil, err
	}
	for n > 0 && strings.IndexByte(" \t\r\n", buf[n-1]) >= 0 {
		n--
	}
	if n == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return buf[:n], nil
}
