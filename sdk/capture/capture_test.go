package capture

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/marketprism/marketprism/sdk/source"

	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
)

const sample = `{"format":"marketprism-capture/1","venue":"acme","market":"spot","note":"x"}
{"t":1,"c":2,"k":"open","u":"wss://acme.example/ws"}
{"t":2,"c":2,"k":"send","d":"{\"op\":\"sub\"}"}
{"t":3,"c":2,"k":"recv","d":"{\"p\":\"1.50\",\"s\":\"\u5e01\"}"}
{"t":4,"c":3,"k":"http","u":"https://acme.example/depth?s=A","d":"[]"}
{"t":5,"c":2,"k":"recv","b":"H4sI"}
{"t":6,"c":2,"k":"close","d":"bye"}
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	var z bytes.Buffer
	zw, _ := zstd.NewWriter(&z)
	io.WriteString(zw, sample)
	zw.Close()
	for _, path := range []string{write(t, "a.jsonl", sample), write(t, "a.jsonl.zst", z.String()), write(t, "b.jsonl", strings.TrimSuffix(sample, "\n"))} {
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if r.Header.Venue != "acme" || r.Header.Market != "spot" || r.Header.Note != "x" {
			t.Errorf("header %+v", r.Header)
		}
		var got []string
		var kinds []source.InputKind
		for e, err := range r.All() {
			if err != nil {
				t.Fatal(err)
			}
			in := e.Input()
			if byNone := in.Conn == 0; byNone != (in.Kind == source.InputHTTP) {
				t.Errorf("%s: input kind %d came by connection %d", path, in.Kind, in.Conn)
			}
			kinds = append(kinds, in.Kind)
			got = append(got, string(e.Kind)+"|"+string(e.URL)+"|"+string(in.Data))
		}
		want := []string{"open|wss://acme.example/ws|", `send||{"op":"sub"}`, `recv||{"p":"1.50","s":"币"}`,
			"http|https://acme.example/depth?s=A|[]", "recv||\x1f\x8b\x08", "close||bye"}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: got\n%s", path, strings.Join(got, "\n"))
		}
		wantKinds := []source.InputKind{source.InputOpen, source.InputSent, source.InputText, source.InputHTTP, source.InputBinary, source.InputClose}
		for i, k := range kinds {
			if k != wantKinds[i] {
				t.Errorf("event %d became input kind %d, want %d", i, k, wantKinds[i])
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestErrorsNameFileAndLine(t *testing.T) {
	head := sample[:strings.IndexByte(sample, '\n')+1]
	for name, c := range map[string]struct{ text, want string }{
		"empty":  {"", "empty"},
		"format": {`{"format":"other"}`, ":1: header: format"},
		"json":   {head + `{"t":1,`, ":2: jsonscan: byte 7"},
		"kind":   {head + "{\"t\":1,\"k\":\"recv\"}\n" + `{"t":1,"k":"x"}`, ":3: k is none"},
		"base64": {head + `{"t":1,"k":"recv","b":"*"}`, ":2: b: "},
		"zstd":   {"\x28\xb5\x2f\xfdxxxx", ":1: header: "},
		"long":   {head + strings.Repeat(" ", MaxLine+1), ":2: the line is longer"},
	} {
		r, err := Open(write(t, name+".jsonl", c.text))
		for err == nil {
			_, err = r.Next()
		}
		if err == io.EOF || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name+".jsonl") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestCorpusIsReadable(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus.Path(t, "captures"), "kraken-spot-2026*.zst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	for _, f := range files {
		r, err := Open(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range r.All() {
			if err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
	}
}
