package source

import (
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
)

// Sign says how a frame, a dial or a request is filled in with the user's
// credentials. The runtime holds these; a plugin names what it needs in a Login
// of its manifest and writes placeholders where values go:
//
//	${key} ${passphrase}     as the user gave them
//	${timestamp} ${expires}  the time that stands in the journal; Expires later
//	${nonce}                 see Nonce
//	${signature}             of Payload
//	${signed_passphrase}     the passphrase, signed as Payload is (KuCoin)
//	${jwt}                   the token of the JWT schemes
//	${kept:NAME}             of an answer on this session: see Conceal
//
// and in Payload and Digest, of what is sent, with its values filled in:
//
//	${method} ${host} ${path} ${query} ${target} ${body} ${digest}
//
// target is the path with its query. Parameters of the query that hold the
// signature are left out of what is signed. A value is written as its place
// needs it: escaped in JSON and in a query, as it is in a header and in what is
// signed; ${NAME|query} is escaped as in a query anywhere. A name that doesn't
// exist, or has no value in this place, stops the feed before anything is sent.
//
// The journal has the placeholders, never the values; so have captures, logs,
// plans and the API. Each time that a step is sent, on each connection and each
// renewal, it is signed anew.
type Sign struct {
	Scheme    Scheme        `json:"scheme,omitempty"`
	Payload   string        `json:"payload,omitempty"`   // what is signed
	Secret    SecretForm    `json:"secret,omitempty"`    // how the venue hands out its secrets
	Encoding  Encoding      `json:"encoding,omitempty"`  // of the signature; base64 if empty
	Timestamp TimeForm      `json:"timestamp,omitempty"` // seconds if empty
	Expires   time.Duration `json:"expires,omitempty"`   // from timestamp to ${expires}
	Nonce     Nonce         `json:"nonce,omitempty"`
	Digest    *Digest       `json:"digest,omitempty"` // a hash that Payload holds
	Token     *Token        `json:"token,omitempty"`  // of the JWT schemes

	// Conceal names members of JSON objects in the answer whose text is a secret
	// that the venue grants: access_token, say. They are struck out of answers to
	// a request, and of all text frames of a connection, before anything sees
	// them, and the last one of each is ${kept:NAME} for later steps.
	Conceal []string `json:"conceal,omitempty"`
}

// Scheme is how a step is signed.
type Scheme string

// The schemes. Pages read 2026-11-23: OKX
// web3.okx.com/onchainos/dev-docs/market/websocket-login; Deribit
// docs.deribit.com/articles/authentication; Coinbase
// docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-authentication
// and docs.cloud.coinbase.com/exchange/docs/websocket-auth; Binance
// developers.binance.com/docs/binance-spot-api-docs/testnet/sbe-market-data-streams
// and .../websocket-api/authentication-requests. What Kraken, Bitfinex, KuCoin,
// Gate.io, Bybit and HTX want was taken from public clients: their plugins have
// to cite the venue's page.
const (
	SchemeKey        Scheme = ""            // nothing is signed: the key is shown (Binance's SBE streams)
	SchemeHMACSHA256 Scheme = "hmac-sha256" // OKX, Deribit, Coinbase Exchange, Bybit, KuCoin, HTX
	SchemeHMACSHA384 Scheme = "hmac-sha384" // Bitfinex
	SchemeHMACSHA512 Scheme = "hmac-sha512" // Gate.io, Kraken
	SchemeEd25519    Scheme = "ed25519"     // Binance's session.logon
	SchemeJWTES256   Scheme = "jwt-es256"   // Coinbase Advanced Trade
	SchemeJWTEd25519 Scheme = "jwt-ed25519" // the same with keys of the newer kind
)

// SecretForm is how a secret is written.
type SecretForm string

// The forms. A key of a pair is PEM, or for Ed25519 the base64 of its 32 or 64 bytes.
const (
	SecretText   SecretForm = ""       // its bytes are the HMAC's key
	SecretBase64 SecretForm = "base64" // Coinbase Exchange, Kraken
	SecretHex    SecretForm = "hex"
	SecretPEM    SecretForm = "pem" // of the ed25519 and JWT schemes
)

// Encoding is how bytes become text.
type Encoding string

// The encodings.
const (
	EncodingBase64    Encoding = "base64"
	EncodingBase64URL Encoding = "base64url" // without padding
	EncodingHex       Encoding = "hex"       // lower case
	EncodingRaw       Encoding = "raw"       // of a Digest: the bytes themselves
)

// TimeForm is how ${timestamp} is written. All are UTC.
type TimeForm string

// The forms.
const (
	TimeSeconds  TimeForm = "s" // OKX, Coinbase, Gate.io
	TimeMillis   TimeForm = "ms"
	TimeMicros   TimeForm = "us"
	TimeNanos    TimeForm = "ns"
	TimeISO      TimeForm = "iso"    // 2006-01-02T15:04:05
	TimeISOMilli TimeForm = "iso-ms" // 2006-01-02T15:04:05.000Z
)

// Nonce is what ${nonce} is.
type Nonce string

// The nonces.
const (
	NonceRandom     Nonce = ""           // 32 hexadecimal digits
	NonceIncreasing Nonce = "increasing" // microseconds of the timestamp, each greater than the one before (Kraken, Bitfinex)
)

// Digest is a hash of a template. Kraken signs the path and SHA-256 of nonce and
// body, raw; Gate.io SHA-512 of the body, in hex.
type Digest struct {
	Hash     string   `json:"hash"` // sha256 or sha512
	Payload  string   `json:"payload"`
	Encoding Encoding `json:"encoding,omitempty"` // base64 if empty
}

// Token is a JSON web token: templates of JSON objects.
type Token struct {
	Header string `json:"header"`
	Claims string `json:"claims"`
}

// Login is what of the user's credentials a class of endpoint, or a channel's
// requests, need. A pipeline that takes such a channel and doesn't give them is
// refused by validate.
type Login struct {
	Secret     bool       `json:"secret,omitempty"`
	Passphrase bool       `json:"passphrase,omitempty"` // the key is always needed
	Scheme     Scheme     `json:"scheme,omitempty"`
	Form       SecretForm `json:"form,omitempty"`
	For        string     `json:"for,omitempty"` // who is let in, where a key alone isn't enough: "fee tier VIP 4 or above"
}

// Refusal says what a venue's refusal of an awaited step means, by how its
// reason begins: the venue's code.
type Refusal struct {
	Reason string        `json:"reason"`
	Kind   fault.Kind    `json:"kind"` // Retry or Wait; what no Refusal names stops the feed
	After  time.Duration `json:"after,omitempty"`
}
