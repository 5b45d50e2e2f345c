package sign

import (
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
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

// at is the time of all steps here.
var at = time.Date(2026, 11, 23, 10, 20, 30, 456789012, time.UTC)

func mac(sum func() hash.Hash, secret, payload string) []byte {
	h := hmac.New(sum, []byte(secret))
	h.Write([]byte(payload))
	return h.Sum(nil)
}

func session(key, secret, passphrase string) *Session {
	return NewSigner(New([]byte(key), []byte(secret), []byte(passphrase))).Session()
}

func frame(t *testing.T, x *Session, s *source.Sign, data string) string {
	t.Helper()
	if err := x.Check(s, data); err != nil {
		t.Fatal(err)
	}
	b, err := x.Frame(s, data, at)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b) {
		t.Errorf("no JSON: %s", b)
	}
	return string(b)
}

// TestOKX is the login of OKX, with values that JSON must escape.
func TestOKX(t *testing.T) {
	s := &source.Sign{Scheme: source.SchemeHMACSHA256, Payload: "${timestamp}GET/users/self/verify"}
	got := frame(t, session(`k"ey`, "22582BD0CFF14C41EDBF1AB98506286D", `pa\ss`), s,
		`{"op":"login","args":[{"apiKey":"${key}","passphrase":"${passphrase}","timestamp":"${timestamp}","sign":"${signature}"}]}`)
	sum := base64.StdEncoding.EncodeToString(mac(sha256.New, "22582BD0CFF14C41EDBF1AB98506286D", "1795429230GET/users/self/verify"))
	if want := `{"op":"login","args":[{"apiKey":"k\"ey","passphrase":"pa\\ss","timestamp":"1795429230","sign":"` + sum + `"}]}`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestRFC4231 pins the three HMACs to the standard's second test case.
func TestRFC4231(t *testing.T) {
	for scheme, want := range map[source.Scheme]string{
		source.SchemeHMACSHA256: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		source.SchemeHMACSHA384: "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
		source.SchemeHMACSHA512: "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
	} {
		for form, secret := range map[source.SecretForm]string{source.SecretText: "Jefe", source.SecretBase64: "SmVmZQ==", source.SecretHex: "4a656665"} {
			s := &source.Sign{Scheme: scheme, Secret: form, Payload: "what do ya want for nothing?", Encoding: source.EncodingHex}
			if got := frame(t, session("k", secret, ""), s, `["${signature}"]`); got != `["`+want+`"]` {
				t.Errorf("%s %q: %s", scheme, form, got)
			}
		}
	}
}

func TestDeribit(t *testing.T) {
	s := &source.Sign{Scheme: source.SchemeHMACSHA256, Payload: "${timestamp}\n${nonce}\n", Encoding: source.EncodingHex, Timestamp: source.TimeMillis,
		Conceal: []string{"access_token", "refresh_token"}}
	x := session("client-of-tests", "secret-of-tests", "")
	got := frame(t, x, s, `{"jsonrpc":"2.0","id":1,"method":"public/auth","params":{"grant_type":"client_signature","client_id":"${key}","timestamp":${timestamp},"nonce":"${nonce}","data":"","signature":"${signature}"}}`)
	var f struct {
		Params struct {
			Client    string `json:"client_id"`
			Timestamp int64
			Nonce     string
			Signature string
		}
	}
	if err := json.Unmarshal([]byte(got), &f); err != nil {
		t.Fatal(err)
	}
	p := f.Params
	want := hex.EncodeToString(mac(sha256.New, "secret-of-tests", fmt.Sprintf("%d\n%s\n", p.Timestamp, p.Nonce)))
	if p.Timestamp != at.UnixMilli() || len(p.Nonce) != 32 || p.Client != "client-of-tests" || p.Signature != want {
		t.Errorf("%s", got)
	}
	if again := frame(t, x, s, `["${nonce}"]`); strings.Contains(again, p.Nonce) {
		t.Error("the nonce was used twice")
	}

	// What the venue grants is struck out of its answer, and kept.
	b := []byte(`{"id":1,"result":{"access_token":"1.ab\"c","expires_in":900, "refresh_token" : "2.xyz","note":"client-of-tests ` + p.Signature + `"}}`)
	size := len(b)
	x.Mask(b)
	if s := string(b); !json.Valid(b) || len(b) != size || strings.Contains(s, "1.ab") || strings.Contains(s, "2.xyz") || !strings.Contains(s, `"expires_in":900`) || strings.Contains(s, "client-of-tests") {
		t.Errorf("%s", b)
	}
	if got := frame(t, x, &source.Sign{}, `{"access_token":"${kept:access_token}"}`); got != `{"access_token":"1.ab\"c"}` {
		t.Errorf("%s", got)
	}
	x.Settled()
	data := []byte(`{"symbol":"client-of-tests"}`)
	if x.Mask(data); string(data) != `{"symbol":"client-of-tests"}` {
		t.Errorf("after the login data is changed: %s", data)
	}
	x.Close()
	if _, err := x.Frame(&source.Sign{}, `${kept:access_token}`, at); fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), `the venue's answers had no "access_token"`) {
		t.Error(err)
	}
}

func TestCoinbaseExchange(t *testing.T) {
	s := &source.Sign{Scheme: source.SchemeHMACSHA256, Secret: source.SecretBase64, Payload: "${timestamp}GET/users/self/verify"}
	got := frame(t, session("k", base64.StdEncoding.EncodeToString([]byte("raw secret")), "p"), s,
		`{"type":"subscribe","channels":["full"],"signature":"${signature}","key":"${key}","passphrase":"${passphrase}","timestamp":"${timestamp}"}`)
	if want := base64.StdEncoding.EncodeToString(mac(sha256.New, "raw secret", "1795429230GET/users/self/verify")); !strings.Contains(got, `"signature":"`+want+`"`) {
		t.Errorf("%s", got)
	}
}

// TestCoinbaseAdvanced verifies the token with the public key.
func TestCoinbaseAdvanced(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}))
	s := &source.Sign{Scheme: source.SchemeJWTES256, Secret: source.SecretPEM, Expires: 2 * time.Minute, Token: &source.Token{
		Header: `{"alg":"ES256","typ":"JWT","kid":"${key}","nonce":"${nonce}"}`,
		Claims: `{"iss":"cdp","sub":"${key}","nbf":${timestamp},"exp":${expires}}`,
	}}
	for name, secret := range map[string]string{"SEC 1": text, `with \n`: strings.ReplaceAll(text, "\n", `\n`),
		"PKCS 8": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))} {
		x := session("organizations/o/apiKeys/k", secret, "")
		if err := x.signer.creds.Check(&source.Login{Secret: true, Scheme: source.SchemeJWTES256}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var f []string
		if err := json.Unmarshal([]byte(frame(t, x, s, `["${jwt}"]`)), &f); err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(f[0], ".")
		if len(parts) != 3 {
			t.Fatalf("%s", f)
		}
		var dec [3][]byte
		for i, p := range parts {
			if dec[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
				t.Fatal(err)
			}
		}
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if len(dec[2]) != 64 || !ecdsa.Verify(&k.PublicKey, sum[:], new(big.Int).SetBytes(dec[2][:32]), new(big.Int).SetBytes(dec[2][32:])) {
			t.Errorf("%s: the signature is wrong", name)
		}
		var head struct{ Alg, Typ, Kid, Nonce string }
		if err := json.Unmarshal(dec[0], &head); err != nil || head.Kid != "organizations/o/apiKeys/k" || len(head.Nonce) != 32 || head.Alg != "ES256" {
			t.Errorf("%s: %s %v", name, dec[0], err)
		}
		if want := `{"iss":"cdp","sub":"organizations/o/apiKeys/k","nbf":1795429230,"exp":1795429350}`; string(dec[1]) != want {
			t.Errorf("%s: %s", name, dec[1])
		}
	}
}

// TestBinance: the streams take the key in a header and nothing signed; the
// logon of the WebSocket API is signed with Ed25519.
func TestBinance(t *testing.T) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := NewSigner(New([]byte("key"), nil, nil)).Session()
	m, err := x.Request(&source.Sign{}, Message{URL: "wss://stream-sbe.example/ws", Header: map[string]string{"X-MBX-APIKEY": "${key}"}}, at)
	if err != nil || m.Header["X-MBX-APIKEY"] != "key" || m.URL != "wss://stream-sbe.example/ws" {
		t.Errorf("%+v, %v", m, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	s := &source.Sign{Scheme: source.SchemeEd25519, Secret: source.SecretPEM, Payload: "apiKey=${key}&timestamp=${timestamp}", Timestamp: source.TimeMillis}
	for _, secret := range []string{string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
		base64.StdEncoding.EncodeToString(priv), base64.StdEncoding.EncodeToString(priv.Seed())} {
		var f []string
		if err := json.Unmarshal([]byte(frame(t, session("k", secret, ""), s, `["${signature}"]`)), &f); err != nil {
			t.Fatal(err)
		}
		sig, err := base64.StdEncoding.DecodeString(f[0])
		if err != nil || !ed25519.Verify(pub, []byte("apiKey=k&timestamp="+strconv.FormatInt(at.UnixMilli(), 10)), sig) {
			t.Errorf("%s %v", f, err)
		}
	}
}

// TestOthers has what the contract must not rule out.
func TestOthers(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte("kraken"))
	x := session("k", secret, "pass")
	m, err := x.Request(&source.Sign{Scheme: source.SchemeHMACSHA512, Secret: source.SecretBase64, Nonce: source.NonceIncreasing, Payload: "${path}${digest}",
		Digest: &source.Digest{Hash: "sha256", Payload: "${nonce}${body}", Encoding: source.EncodingRaw}},
		Message{Method: "POST", URL: "https://api.kraken.example/0/private/GetWebSocketsToken", Header: map[string]string{"API-Sign": "${signature}", "API-Key": "${key}"}, Body: "nonce=${nonce}"}, at)
	if err != nil {
		t.Fatal(err)
	}
	nonce := strings.TrimPrefix(m.Body, "nonce=")
	sum := sha256.Sum256([]byte(nonce + m.Body))
	if want := base64.StdEncoding.EncodeToString(mac(sha512.New, "kraken", "/0/private/GetWebSocketsToken"+string(sum[:]))); nonce != strconv.FormatInt(at.UnixMicro(), 10) || m.Header["API-Sign"] != want {
		t.Errorf("Kraken: %+v", m)
	}
	if again := frame(t, x, &source.Sign{Nonce: source.NonceIncreasing}, `[${nonce}]`); again <= "["+nonce+"]" {
		t.Errorf("nonce %s after %s", again, nonce)
	}

	x = session("k", "s", "pass")
	if got, want := frame(t, x, &source.Sign{Scheme: source.SchemeHMACSHA384, Nonce: source.NonceIncreasing, Encoding: source.EncodingHex, Payload: "AUTH${nonce}"}, `["${signature}"]`), 96; len(got) != want+4 {
		t.Errorf("Bitfinex: %s", got)
	}
	ms := strconv.FormatInt(at.UnixMilli(), 10)
	m, err = x.Request(&source.Sign{Scheme: source.SchemeHMACSHA256, Timestamp: source.TimeMillis, Payload: "${timestamp}${method}${target}${body}"},
		Message{URL: "https://api.kucoin.example/api/v3/market/orderbook/level2?symbol=BTC-USDT",
			Header: map[string]string{"KC-API-SIGN": "${signature}", "KC-API-PASSPHRASE": "${signed_passphrase}", "KC-API-TIMESTAMP": "${timestamp}"}}, at)
	if err != nil || m.Header["KC-API-TIMESTAMP"] != ms || m.Header["KC-API-PASSPHRASE"] != base64.StdEncoding.EncodeToString(mac(sha256.New, "s", "pass")) ||
		m.Header["KC-API-SIGN"] != base64.StdEncoding.EncodeToString(mac(sha256.New, "s", ms+"GET/api/v3/market/orderbook/level2?symbol=BTC-USDT")) {
		t.Errorf("KuCoin: %+v, %v", m, err)
	}
	empty := sha512.Sum512(nil)
	m, err = x.Request(&source.Sign{Scheme: source.SchemeHMACSHA512, Encoding: source.EncodingHex, Payload: "${method}\n${path}\n${query}\n${digest}\n${timestamp}",
		Digest: &source.Digest{Hash: "sha512", Payload: "${body}", Encoding: source.EncodingHex}},
		Message{URL: "https://api.gateio.example/api/v4/spot?a=1&b=2", Header: map[string]string{"SIGN": "${signature}"}}, at)
	if err != nil || m.Header["SIGN"] != hex.EncodeToString(mac(sha512.New, "s", "GET\n/api/v4/spot\na=1&b=2\n"+hex.EncodeToString(empty[:])+"\n1795429230")) {
		t.Errorf("Gate.io: %+v, %v", m, err)
	}
	expires := strconv.FormatInt(at.Add(10*time.Second).UnixMilli(), 10)
	if got := frame(t, x, &source.Sign{Scheme: source.SchemeHMACSHA256, Timestamp: source.TimeMillis, Expires: 10 * time.Second, Encoding: source.EncodingHex, Payload: "GET/realtime${expires}"},
		`{"op":"auth","args":["${key}",${expires},"${signature}"]}`); got != `{"op":"auth","args":["k",`+expires+`,"`+hex.EncodeToString(mac(sha256.New, "s", "GET/realtime"+expires))+`"]}` {
		t.Errorf("Bybit: %s", got)
	}
	m, err = x.Request(&source.Sign{Scheme: source.SchemeHMACSHA256, Timestamp: source.TimeISO, Payload: "${method}\n${host}\n${path}\n${query}"},
		Message{URL: "https://api.huobi.example/v1/x?AccessKeyId=${key}&Timestamp=${timestamp}&Signature=${signature}"}, at)
	if err != nil {
		t.Fatal(err)
	}
	signed := "AccessKeyId=k&Timestamp=2026-11-23T10%3A20%3A30"
	if want := "https://api.huobi.example/v1/x?" + signed + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(mac(sha256.New, "s", "GET\napi.huobi.example\n/v1/x\n"+signed))); m.URL != want {
		t.Errorf("HTX: %s\nwant %s", m.URL, want)
	}
}

// TestRefused: what can't be signed stops the feed before anything is sent, and
// no error has a value in it.
func TestRefused(t *testing.T) {
	all := session("the-key-value", "the-secret-value", "")
	for name, c := range map[string]struct {
		x    *Session
		s    source.Sign
		data string
		want string
	}{
		"no credentials":  {NewSigner(nil).Session(), source.Sign{}, "${key}", "give it in the source's credentials block"},
		"no secret":       {session("k", "", ""), source.Sign{Scheme: source.SchemeHMACSHA256}, "${signature}", "give the secret"},
		"no passphrase":   {all, source.Sign{}, "${passphrase}", "the user's passphrase"},
		"unknown":         {all, source.Sign{}, "${secret}", "there is no ${secret}; there are: key"},
		"no end":          {all, source.Sign{}, "${key", "has no end"},
		"form":            {all, source.Sign{}, "${key|base64}", "|query and in no other"},
		"scheme":          {all, source.Sign{Scheme: "rot13"}, "${signature}", `no scheme "rot13"`},
		"nothing signed":  {all, source.Sign{}, "${signature}", "signs nothing"},
		"encoding":        {all, source.Sign{Scheme: source.SchemeHMACSHA256, Encoding: "morse"}, "${signature}", `no encoding "morse"`},
		"time":            {all, source.Sign{Timestamp: "weeks"}, "${timestamp}", `no form "weeks"`},
		"itself":          {all, source.Sign{Scheme: source.SchemeHMACSHA256, Payload: "${signature}"}, "${signature}", "to make itself"},
		"body of itself":  {all, source.Sign{Scheme: source.SchemeHMACSHA256, Payload: "${body}"}, "${signature}", "to make itself"},
		"path of a frame": {all, source.Sign{}, "${path}", "no value in a frame"},
		"no base64":       {all, source.Sign{Scheme: source.SchemeHMACSHA256, Secret: source.SecretBase64}, "${signature}", "no base64"},
		"no hex":          {all, source.Sign{Scheme: source.SchemeHMACSHA256, Secret: source.SecretHex}, "${signature}", "no hexadecimal"},
		"no PEM":          {all, source.Sign{Scheme: source.SchemeJWTES256, Token: &source.Token{Header: "{}", Claims: "{}"}}, "${jwt}", "no PEM text"},
		"no token":        {all, source.Sign{Scheme: source.SchemeJWTES256}, "${jwt}", "needs a token"},
		"no Ed25519":      {all, source.Sign{Scheme: source.SchemeEd25519}, "${signature}", "Ed25519"},
	} {
		err := c.x.Check(&c.s, c.data)
		if fault.Of(err) != fault.Stop || !strings.Contains(fmt.Sprint(err), c.want) || strings.Contains(fmt.Sprint(err), "-value") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err2 := c.x.Frame(&c.s, c.data, at); fmt.Sprint(err2) != fmt.Sprint(err) {
			t.Errorf("%s: Check says %v, Frame %v", name, err, err2)
		}
	}
	m := Message{URL: "https://x.example/", Header: map[string]string{"Key": "${key}"}}
	if err := session("a\r\nb: c", "", "").CheckRequest(&source.Sign{}, m); fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), "can't have") {
		t.Errorf("a header of two lines: %v", err)
	}
}

// TestCredentials: they print as nothing, compare, and are overwritten.
func TestCredentials(t *testing.T) {
	c := New([]byte("kkkk"), []byte("ssss"), []byte("pppp"))
	b, err := json.Marshal(map[string]any{"c": c})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %x %q %d", c, c, c, c, c, c, c), string(b), fmt.Sprintf("%+v", struct{ C *Credentials }{c})} {
		if strings.Contains(text, "kkkk") || strings.Contains(text, "ssss") || strings.Contains(text, "pppp") || strings.Contains(text, "6b6b") || strings.Contains(text, "107") {
			t.Errorf("%s", text)
		}
	}
	if !c.Equal(New([]byte("kkkk"), []byte("ssss"), []byte("pppp"))) || c.Equal(New([]byte("kkkk"), []byte("sssS"), []byte("pppp"))) || c.Equal(nil) || !(*Credentials)(nil).Equal(nil) {
		t.Error("Equal")
	}
	secret := c.secret
	c.Zero()
	(*Credentials)(nil).Zero()
	if string(secret) != "\x00\x00\x00\x00" || len(c.Names()) != 0 {
		t.Errorf("%q %v", secret, c.Names())
	}
	if got := New([]byte("k"), nil, nil).Missing(&source.Login{Secret: true, Passphrase: true}); fmt.Sprint(got) != "[secret passphrase]" {
		t.Error(got)
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"s3cret\r\n\n", 0o600, ""}, {"s3cret", 0o400, ""}, {"s3cret", 0o640, "mode 0640"}, {"s3cret", 0o604, "chmod 600"}, {" \n", 0o600, "is empty"}, {strings.Repeat("x", maxSecret+1), 0o600, "more than"},
	} {
		os.Remove(path)
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		b, err := ReadFile(path)
		if c.want == "" && (err != nil || string(b) != "s3cret") || c.want != "" && !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%q %o: %q, %v", c.text[:min(len(c.text), 8)], c.mode, b, err)
		}
	}
	if _, err := ReadFile(filepath.Dir(path)); err == nil {
		t.Error("a directory was read")
	}
}

// FuzzFill: a template without placeholders comes out as it is; filled into a
// JSON text or a query, a value comes back as it went in; nothing panics, and a
// value is never taken for a template.
func FuzzFill(f *testing.F) {
	f.Add(`{"k":"${key}"}`, "a\"b")
	f.Add("${key|query}${", "${key}")
	f.Add("$${key}}", "\x00\xff\u2028")
	f.Add("${", "")
	f.Fuzz(func(t *testing.T, template, v string) {
		value := func(name string) ([]byte, error) {
			if name != "key" {
				return nil, fmt.Errorf("no %q", name)
			}
			return []byte(v), nil
		}
		for p := inPayload; p <= inQuery; p++ {
			b, err := fill(template, p, value)
			if err == nil && !strings.Contains(template, "${") && string(b) != template {
				t.Errorf("%q became %q", template, b)
			}
		}
		valid := strings.ToValidUTF8(v, "\uFFFD")
		b, err := fill(`{"k":"${key}"}`, inJSON, value)
		var got struct{ K string }
		if err != nil || json.Unmarshal(b, &got) != nil || got.K != valid && valid == v {
			t.Errorf("%q in JSON: %s, %v", v, b, err)
		}
		b, err = fill("a=${key}&b=1", inQuery, value)
		q, perr := url.ParseQuery(string(b))
		if err != nil || perr != nil || q.Get("a") != v || q.Get("b") != "1" {
			t.Errorf("%q in a query: %s, %v, %v", v, b, err, perr)
		}
	})
}

// FuzzMask: what is struck out has its length and stays JSON if it was.
func FuzzMask(f *testing.F) {
	f.Add([]byte(`{"a":{"token":"x\"y"},"token":1,"token" : "z"}`))
	f.Add([]byte(`{"token":"`))
	f.Add([]byte(`"token":"a\`))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := session("a-long-key", "", "")
		if _, err := x.Frame(&source.Sign{Conceal: []string{"token"}}, "", at); err != nil {
			t.Fatal(err)
		}
		was, n := json.Valid(b), len(b)
		var had any
		_ = json.Unmarshal(b, &had)
		b = append([]byte(nil), b...)
		x.Mask(b)
		if len(b) != n || was && !json.Valid(b) {
			t.Errorf("%q", b)
		}
		if o, ok := had.(map[string]any); ok && was {
			if v, ok := o["token"].(string); ok && v != "" && strings.Trim(v, "*") != "" && strings.Contains(string(b), `"token":"`+v+`"`) {
				t.Errorf("%q is left in %s", v, b)
			}
		}
	})
}

// BenchmarkMask is what a connection without and with something to hide pays for
// a frame of 200 bytes.
func BenchmarkMask(b *testing.B) {
	text := []byte(strings.Repeat("x", 200))
	for name, s := range map[string]*source.Sign{"nothing": nil, "login": {}, "members": {Conceal: []string{"access_token", "refresh_token"}}} {
		b.Run(name, func(b *testing.B) {
			x := session("a-long-key", "a-long-secret", "a-long-passphrase")
			if s != nil {
				if _, err := x.Frame(s, "", at); err != nil {
					b.Fatal(err)
				}
			}
			if name == "members" {
				x.Settled()
			}
			b.ReportAllocs()
			for b.Loop() {
				x.Mask(text)
			}
		})
	}
}
