package jsonscan

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// corpus is the directory of recordings: MARKETPRISM_CORPUS, or beside the module.
func corpus(t *testing.T) string {
	dir := os.Getenv("MARKETPRISM_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the corpus is needed in CI: %v", err)
		}
		t.Skipf("no corpus: %v; set MARKETPRISM_CORPUS", err)
	}
	return dir
}

// TestCorpus reads the first frames of every recording in every way, and the rest of it once.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus(t), "captures", "*.jsonl.zst"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	whole, once := 20, 3000
	if testing.Short() {
		whole, once = 5, 200
	}
	frames := 0
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReaderSize(z, 1<<20)
		var c Cursor
		for n := 0; n < once; n++ {
			line, err := r.ReadBytes('\n')
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(file, err)
			}
			// The recording's own lines are frames of one shape, read with the cursor too.
			c.Reset(line)
			var frame []byte
			for c.Object(); c.Key(); {
				if string(c.KeyBytes()) == "d" {
					frame = c.Str()
				}
			}
			if err := c.End(); err != nil {
				t.Fatalf("%s, line %d: %v", file, n+1, err)
			}
			if frame == nil || len(frame) > 64<<10 && n > whole {
				continue
			}
			frames++
			if n < whole && len(frame) < 64<<10 {
				if err := agree(frame); err != nil {
					t.Fatalf("%s, line %d: %v", file, n+1, err)
				}
				continue
			}
			var d Cursor
			d.Reset(frame)
			if err := d.End(); (err == nil) != json.Valid(frame) {
				t.Fatalf("%s, line %d: %v", file, n+1, err)
			}
		}
		z.Close()
		f.Close()
	}
	t.Logf("%d frames of %d recordings", frames, len(files))
}
