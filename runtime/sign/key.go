package sign

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"

	"github.com/marketprism/marketprism/sdk/source"
)

// private is a secret in the form that a scheme signs with.
type private struct {
	mac []byte
	sum func() hash.Hash
	ed  ed25519.PrivateKey
	ec  *ecdsa.PrivateKey
}

// private parses the secret. What the parsers of the standard library say is
// left out of errors: it may quote.
func (c *Credentials) private(s source.Scheme, form source.SecretForm) (k private, err error) {
	switch s {
	case source.SchemeKey:
		return k, nil
	case source.SchemeHMACSHA256:
		k.sum = sha256.New
	case source.SchemeHMACSHA384:
		k.sum = sha512.New384
	case source.SchemeHMACSHA512:
		k.sum = sha512.New
	case source.SchemeEd25519, source.SchemeJWTEd25519:
		k.ed, err = edKey(c.secret)
		return k, err
	case source.SchemeJWTES256:
		k.ec, err = ecKey(c.secret)
		return k, err
	default:
		return k, fmt.Errorf("there is no scheme %q", s)
	}
	k.mac, err = macKey(c.secret, form)
	return k, err
}

func macKey(secret []byte, form source.SecretForm) ([]byte, error) {
	switch form {
	case source.SecretText:
		return bytes.Clone(secret), nil
	case source.SecretBase64:
		b := make([]byte, base64.StdEncoding.DecodedLen(len(secret)))
		n, err := base64.StdEncoding.Decode(b, secret)
		if err != nil || n == 0 {
			return nil, errors.New("the secret is no base64, as this venue's are")
		}
		return b[:n], nil
	case source.SecretHex:
		b := make([]byte, hex.DecodedLen(len(secret)))
		n, err := hex.Decode(b, secret)
		if err != nil || n == 0 {
			return nil, errors.New("the secret is no hexadecimal number, as this venue's are")
		}
		return b[:n], nil
	}
	return nil, fmt.Errorf("a secret of an HMAC can't have the form %q", form)
}

// block finds the PEM block of a secret, whose line ends may be written \n, as
// environment variables have them. The returned bytes are a copy.
func block(secret []byte) (*pem.Block, bool) {
	if !bytes.HasPrefix(bytes.TrimSpace(secret), []byte("-----BEGIN ")) {
		return nil, false
	}
	lines := bytes.ReplaceAll(secret, []byte(`\n`), []byte("\n"))
	b, _ := pem.Decode(lines)
	clear(lines)
	return b, b != nil
}

func ecKey(secret []byte) (*ecdsa.PrivateKey, error) {
	b, ok := block(secret)
	if !ok {
		return nil, errors.New("the secret is no PEM text: it begins with -----BEGIN EC PRIVATE KEY----- (ES256)")
	}
	defer clear(b.Bytes)
	var k *ecdsa.PrivateKey
	if b.Type == "EC PRIVATE KEY" {
		k, _ = x509.ParseECPrivateKey(b.Bytes)
	} else if any, err := x509.ParsePKCS8PrivateKey(b.Bytes); err == nil {
		k, _ = any.(*ecdsa.PrivateKey)
	}
	if k == nil || k.Curve != elliptic.P256() {
		return nil, errors.New("the secret is PEM text, but no private key on the curve P-256 (ES256)")
	}
	return k, nil
}

func edKey(secret []byte) (ed25519.PrivateKey, error) {
	if b, ok := block(secret); ok {
		defer clear(b.Bytes)
		any, err := x509.ParsePKCS8PrivateKey(b.Bytes)
		if k, is := any.(ed25519.PrivateKey); err == nil && is {
			return k, nil
		}
		return nil, errors.New("the secret is PEM text, but no Ed25519 private key")
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(secret)))
	n, err := base64.StdEncoding.Decode(b, secret)
	defer clear(b)
	switch {
	case err == nil && n == ed25519.SeedSize:
		return ed25519.NewKeyFromSeed(b[:n]), nil
	case err == nil && n == ed25519.PrivateKeySize:
		k := ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])
		if !bytes.Equal(k, b[:n]) { // the public half is public
			clear(k)
			return nil, errors.New("the secret's halves don't belong together: it is no Ed25519 private key")
		}
		return k, nil
	}
	return nil, errors.New("the secret is neither PEM text nor the base64 of an Ed25519 private key")
}

// sign gives the signature's bytes and forgets the key.
func (k *private) sign(payload []byte) ([]byte, error) {
	switch {
	case k.sum != nil:
		h := hmac.New(k.sum, k.mac)
		h.Write(payload)
		return h.Sum(nil), nil
	case k.ed != nil:
		return ed25519.Sign(k.ed, payload), nil
	case k.ec != nil:
		sum := sha256.Sum256(payload)
		r, s, err := ecdsa.Sign(rand.Reader, k.ec, sum[:])
		if err != nil {
			return nil, errors.New("ES256 failed")
		}
		b := make([]byte, 64) // RFC 7518, 3.4: both numbers, 32 bytes each
		r.FillBytes(b[:32])
		s.FillBytes(b[32:])
		return b, nil
	}
	return nil, errors.New("the scheme signs nothing")
}

func (k *private) forget() {
	clear(k.mac)
	clear(k.ed)
	*k = private{}
}

func encode(e source.Encoding, b []byte) ([]byte, error) {
	switch e {
	case "", source.EncodingBase64:
		return base64.StdEncoding.AppendEncode(nil, b), nil
	case source.EncodingBase64URL:
		return base64.RawURLEncoding.AppendEncode(nil, b), nil
	case source.EncodingHex:
		return hex.AppendEncode(nil, b), nil
	case source.EncodingRaw:
		return bytes.Clone(b), nil
	}
	return nil, fmt.Errorf("there is no encoding %q", e)
}
