package conn

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/marketprism/marketprism/runtime/pool"
)

func newInflaters(t testing.TB) *Inflaters {
	p, err := NewInflaters(pool.MessageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil { // whatever came of a body, nothing is leased
			t.Error(err)
		}
	})
	return p
}

// An inflater that a broken body has seen reads the next one, and holds nothing
// of it meanwhile.
func TestInflatersAreReturned(t *testing.T) {
	p := newInflaters(t)
	whole := gz(strings.Repeat(`{"lastUpdateId":1027024}`, 3000))
	for name, c := range map[string]struct {
		body  string
		limit int
		fails bool
	}{
		"whole":                  {whole, 1 << 20, false},
		"empty":                  {"", 1 << 20, false},
		"no gzip":                {"hello, hello, hello", 1 << 20, true},
		"half a header":          {whole[:5], 1 << 20, true},
		"cut":                    {whole[:len(whole)/2], 1 << 20, true},
		"a wrong sum":            {whole[:len(whole)-8] + "\x00\x00\x00\x00\x00\x00\x00\x00", 1 << 20, true},
		"too large":              {whole, 1000, true},
		"a connection that ends": {whole[:100] + "fails", 1 << 20, true},
		"a bomb":                 {gz(strings.Repeat("\x00", 32<<20)), 64 << 20, true},
	} {
		for range 3 {
			var body io.Reader = strings.NewReader(c.body)
			if sent, ok := strings.CutSuffix(c.body, "fails"); ok {
				body = io.MultiReader(strings.NewReader(sent), failing{})
			}
			if _, err := readAll(nil, body, true, -1, c.limit, lenders{inflaters: p}); c.fails && err == nil {
				t.Errorf("%s: taken", name)
			}
			got, err := readAll(nil, strings.NewReader(whole), true, -1, 1<<20, lenders{inflaters: p})
			if err != nil || len(got) != 72_000 {
				t.Fatalf("after %s: %d bytes, %v", name, len(got), err)
			}
		}
	}
	s := p.Stats()
	if s.Outstanding != 0 || s.Leases != 54 || s.Misused != 0 {
		t.Errorf("%+v", s)
	}
	l, err := p.Lease()
	if err != nil {
		t.Fatal(err)
	}
	if l.Value().raw.r != nil {
		t.Error("an idle inflater holds a body")
	}
	l.Return()
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("reset by peer") }

// BenchmarkInflate reads answers of the size of a ticker and of a book's snapshot:
// with a reader made for each, one kept by sync.Pool, and a leased one.
func BenchmarkInflate(b *testing.B) {
	inflaters := newInflaters(b)
	var kept sync.Pool
	for _, n := range []int{20, 2000} {
		body := []byte(gz(strings.Repeat(`["61238.40","0.01873"],`, n)))
		dst := make([]byte, 0, 64<<10)
		for _, way := range []string{"made", "sync.Pool", "leased"} {
			b.Run(fmt.Sprintf("%d/%s", n*23, way), func(b *testing.B) {
				b.ReportAllocs()
				r := bytes.NewReader(body)
				for b.Loop() {
					r.Reset(body)
					switch way {
					case "sync.Pool":
						z, _ := kept.Get().(*gzip.Reader)
						if z == nil {
							z = new(gzip.Reader)
						}
						if err := z.Reset(&counting{r: r}); err != nil {
							b.Fatal(err)
						}
						n, err := io.ReadFull(z, dst[:n*23])
						if err != nil {
							b.Fatal(n, err)
						}
						kept.Put(z)
					default:
						from := lenders{}
						if way == "leased" {
							from.inflaters = inflaters
						}
						if _, err := readAll(dst, r, true, -1, 1<<20, from); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
