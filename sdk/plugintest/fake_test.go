package plugintest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// runFake is a small collector in the runtime's place: it reads the pipeline,
// collects trades and books of Binance's protocol, and writes JSON lines. The
// kit's own tests play cards against it, sound (FAKE=ok) and broken.
func runFake(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	find := func(re string) string { return regexp.MustCompile(re).FindStringSubmatch(string(text))[1] }
	f := &fake{url: find(`\n  url\s*= "([^"]+)"`), http: find(`http_url = "([^"]+)"`), how: os.Getenv("FAKE"),
		books: strings.Contains(string(text), `channel "book"`), last: map[string]int64{}, id: map[string]int64{}, out: os.Stdout}
	for _, s := range strings.Split(find(`symbols\s*= \[([^\]]+)\]`), ", ") {
		f.symbols = append(f.symbols, strings.ReplaceAll(strings.Trim(s, `"`), "-", ""))
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		f.stopped.Store(true)
		f.plugin.Load().Kill()
		os.Exit(0)
	}()
	go f.keepPlugin()
	for {
		f.session()
	}
}

type fake struct {
	url, http, how string
	symbols        []string
	books          bool
	last           map[string]int64 // trade id
	id             map[string]int64 // book sequence; absent: no book
	lastRecv       int64
	out            io.Writer
	plugin         atomic.Pointer[os.Process]
	stopped        atomic.Bool
}

// keepPlugin has a child that looks like a plugin and starts it again.
func (f *fake) keepPlugin() {
	for !f.stopped.Load() {
		cmd := exec.Command(os.Args[0], "plugin", "source", "fake")
		cmd.Env = append(os.Environ(), "FAKE_PLUGIN=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: 0}
		in, err := cmd.StdinPipe()
		if err != nil || cmd.Start() != nil {
			return
		}
		f.plugin.Store(cmd.Process)
		_ = cmd.Wait()
		in.Close()
	}
}

func (f *fake) emit(kind, symbol string, m map[string]any) {
	m["kind"], m["venue"], m["market"], m["symbol"], m["ts_recv"] = kind, "binance", "spot", symbol, f.lastRecv
	m["instrument"] = strings.TrimSuffix(symbol, "USDT") + "-USDT"
	b, _ := json.Marshal(m)
	fmt.Fprintf(f.out, "%s\n", b)
}

func (f *fake) session() {
	ws, _, err := websocket.DefaultDialer.Dial(f.url+"/stream", nil)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return
	}
	defer ws.Close()
	var names []string
	for _, s := range f.symbols {
		names = append(names, strings.ToLower(s)+"@trade")
		if f.books {
			names = append(names, strings.ToLower(s)+"@depth@100ms")
		}
	}
	req, _ := json.Marshal(map[string]any{"method": "SUBSCRIBE", "params": names, "id": 1})
	_ = ws.WriteMessage(websocket.TextMessage, req)
	clear(f.id)
	from := f.lastRecv
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			break
		}
		f.lastRecv = time.Now().UnixNano()
		if from != 0 { // the first frame after a break ends the gap
			if f.how != "silent" {
				for _, s := range f.symbols {
					f.emit("quality", s, map[string]any{"cause": "disconnect", "from_ts": from, "to_ts": f.lastRecv})
				}
			}
			from = 0
		}
		f.frame(b)
	}
}

func (f *fake) frame(b []byte) {
	var m struct {
		Result json.RawMessage
		Error  json.RawMessage
		Data   struct {
			Kind string      `json:"e"`
			E    int64       `json:"E"`
			S    string      `json:"s"`
			T    int64       `json:"T"`
			ID   int64       `json:"t"`
			U0   int64       `json:"U"`
			U    int64       `json:"u"`
			B    [][2]string `json:"b"`
			A    [][2]string `json:"a"`
		}
	}
	if err := json.Unmarshal(b, &m); err != nil {
		f.emit("quality", "", map[string]any{"cause": "decode_error", "detail": err.Error()})
		return
	}
	d := &m.Data
	switch {
	case m.Error != nil:
		f.emit("quality", "", map[string]any{"cause": "rejected"})
	case d.Kind == "trade":
		if d.ID <= f.last[d.S] && f.how != "repeats" || f.how == "loses" && d.ID%200 == 0 {
			return
		}
		if l := f.last[d.S]; l != 0 && d.ID > l+1 {
			f.emit("quality", d.S, map[string]any{"cause": "gap", "channel": "trades", "from_seq": l + 1, "to_seq": d.ID - 1})
		}
		f.last[d.S] = d.ID
		f.emit("trade", d.S, map[string]any{"id": fmt.Sprint(d.ID)})
	case d.Kind == "depthUpdate":
		f.update(d.S, d.U0, d.U, d.B, d.A)
	}
}

func (f *fake) update(s string, first, last int64, bids, asks [][2]string) {
	id, ok := f.id[s]
	if ok && first > id+1 {
		f.emit("quality", s, map[string]any{"cause": "gap", "channel": "book", "from_seq": id + 1, "to_seq": first - 1})
		ok = false
	}
	if !ok {
		r, err := http.Get(f.http + "/api/v3/depth?limit=5000&symbol=" + s)
		if err != nil {
			return
		}
		defer r.Body.Close()
		var snap struct {
			LastUpdateID int64
			Bids, Asks   [][2]string
		}
		if json.NewDecoder(r.Body).Decode(&snap) != nil || snap.LastUpdateID < first {
			return
		}
		f.id[s] = snap.LastUpdateID
		f.emit("book_snapshot", s, map[string]any{"seq": snap.LastUpdateID, "bids": snap.Bids, "asks": snap.Asks})
		id = snap.LastUpdateID
	}
	if last <= id {
		return
	}
	f.id[s] = last
	if f.how == "forgets" && len(bids) > 1 {
		bids = slices.Clone(bids[:1])
	}
	f.emit("book_delta", s, map[string]any{"seq": last, "bids": bids, "asks": asks})
}
