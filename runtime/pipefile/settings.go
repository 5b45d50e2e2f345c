package pipefile

import (
	"encoding/hex"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/marketprism/marketprism/sdk/schema"
)

var settingsSchema = schema.Attributes{
	{Name: "data_dir", Type: schema.String, Default: "data", Doc: "where journals and state lie"},
	{Name: "latency", Type: schema.String, Default: "balanced", Allowed: []string{"balanced", "low"}, Doc: "how wake-ups are spent"},
	{Name: "proxy", Type: schema.String, Sensitive: true, Doc: "proxy of all connections to venues"},
	{Name: "listen", Type: schema.String, Default: "127.0.0.1:9464", Doc: "address of health, metrics and the admin API: host:port or unix:///path; none if empty"},
	{Name: "token_file", Type: schema.String, Doc: "file with the admin API's bearer token, mode 0600"},
	{Name: "hosts", Type: schema.Strings, Doc: "host names that admin requests may use, beside those of this machine"},
	{Name: "exemplars", Type: schema.Bool, Default: false, Doc: "name the slowest symbol beside latencies in the metrics"},
}

var journalSchema = schema.Attributes{
	{Name: "max_size", Type: schema.Size, Default: "8GiB", Min: schema.Limit(4 << 20), Doc: "limit of each journal"},
	{Name: "max_age", Type: schema.Duration, Default: "6h", Min: schema.Limit(int64(time.Minute)), Doc: "older segments go"},
	{Name: "sync", Type: schema.String, Default: "50ms", Doc: "when pages are forced to the disk"},
	{Name: "segment_size", Type: schema.Size, Min: schema.Limit(1 << 20), Max: schema.Limit(4 << 30), Doc: "size of one file"},
}

var requiredSchema = schema.Attributes{
	{Name: "path", Type: schema.String, Required: true, Doc: "the plugin's executable"},
	{Name: "sha256", Type: schema.String, Required: true, Doc: "what sha256sum prints for it"},
}

// settings decodes the marketprism block, or takes defaults.
func (p *parser) settings(blocks []*hclsyntax.Block) {
	for i, b := range blocks {
		if i > 0 {
			p.errorf(b.DefRange(), "Second marketprism block", "The first is at %s; a pipeline has one.", fromHCL(blocks[0].DefRange()))
		}
	}
	body := &hclsyntax.Body{}
	s := &p.out.Settings
	if len(blocks) > 0 {
		body = blocks[0].Body
		s.Range = fromHCL(blocks[0].DefRange())
	}
	p.noBlocks(body, "marketprism", "journal", "required_plugins")
	d, diags := p.decode(block{what: "marketprism", body: body, schema: settingsSchema})
	p.add(diags...)
	p.unprintable(d, "marketprism", "proxy")
	s.DataDir, s.Latency = d.values.String("data_dir"), Latency(d.values.String("latency"))
	s.Proxy, s.Listen = d.values.String("proxy"), d.values.String("listen")
	if s.DataDir == "" {
		p.add(p.fs.diag(Error, d.ranges["data_dir"], "Wrong value for \"data_dir\"", "The data directory's name is empty."))
	}
	if u, err := url.Parse(s.Proxy); s.Proxy != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5") {
		p.add(p.fs.diag(Error, d.ranges["proxy"], "Wrong value for \"proxy\"", "A proxy is written http://host:port, https://host:port or socks5://host:port."))
	}
	if p.o.DataDir != "" {
		s.DataDir = p.o.DataDir
	}
	if s.TokenFile = d.values.String("token_file"); s.TokenFile != "" && !filepath.IsAbs(s.TokenFile) {
		s.TokenFile = filepath.Join(p.dir, s.TokenFile)
	}
	s.Exemplars = d.values.Bool("exemplars")
	s.Hosts = d.values.Strings("hosts")
	for _, h := range s.Hosts {
		if h == "" || strings.ContainsAny(h, ":/* ") && net.ParseIP(h) == nil {
			p.add(p.fs.diag(Error, d.ranges["hosts"], "Wrong value for \"hosts\"", "%q is no host name: write it without scheme, port and wildcards, like collector.example.com.", h))
		}
	}
	p.listen(s, d.ranges["listen"])

	p.journal(p.one(body, "journal"))
	if b := p.one(body, "required_plugins"); b != nil {
		p.requiredPlugins(b)
	}
}

// listen checks the admin address.
func (p *parser) listen(s *Settings, r Range) {
	if path, ok := strings.CutPrefix(s.Listen, "unix://"); ok {
		if path == "" || len(path) > 107 {
			p.add(p.fs.diag(Error, r, "Wrong value for \"listen\"", "A unix socket is written unix:///run/marketprism/admin.sock; its path has at most 107 bytes."))
		}
		return
	}
	host, port, err := net.SplitHostPort(s.Listen)
	if n, perr := strconv.Atoi(port); s.Listen != "" && (err != nil || perr != nil || n < 0 || n > 65535) {
		p.add(p.fs.diag(Error, r, "Wrong value for \"listen\"", "%q is no host:port, like 127.0.0.1:9464, and no unix:///path.", s.Listen))
		return
	}
	if ip := net.ParseIP(host); s.Listen == "" || host == "localhost" || ip != nil && ip.IsLoopback() {
		return
	}
	if s.TokenFile == "" {
		p.add(p.fs.diag(Error, r, "Admin API beyond this machine", "%s isn't a loopback address, so whoever reaches it must know a token: name a file with one (mode 0600) as token_file, or listen on 127.0.0.1 or unix:///path.", s.Listen))
		return
	}
	p.add(p.fs.diag(Warning, r, "Token without TLS", "%s isn't a loopback address, and the admin API speaks plain HTTP: who is on the way can read the token. Put a proxy with TLS in front of it, or keep it in a private network.", s.Listen))
}

// one finds a nested block that may stand once.
func (p *parser) one(body *hclsyntax.Body, name string) *hclsyntax.Block {
	var first *hclsyntax.Block
	for _, b := range body.Blocks {
		if b.Type != name {
			continue
		}
		if first != nil {
			p.errorf(b.DefRange(), "Block stands twice", "A %s block stands at %s already.", name, fromHCL(first.DefRange()))
			continue
		}
		if len(b.Labels) > 0 {
			p.errorf(b.LabelRanges[0], "Wrong number of labels", "A %s block has no label: %s { … }.", name, name)
		}
		first = b
	}
	return first
}

func (p *parser) journal(b *hclsyntax.Block) {
	body := &hclsyntax.Body{}
	j := &p.out.Settings.Journal
	if b != nil {
		body = b.Body
		j.Range = fromHCL(b.DefRange())
	}
	p.noBlocks(body, "journal")
	d, diags := p.decode(block{what: "journal", body: body, schema: journalSchema})
	p.add(diags...)
	if diags.HasErrors() {
		return
	}
	p.unprintable(d, "journal")
	j.MaxSize, j.MaxAge = d.values.Int("max_size"), d.values.Duration("max_age")
	j.SegmentSize = d.values.Int("segment_size")
	if j.SegmentSize == 0 {
		j.SegmentSize = min(max(j.MaxSize/16, 1<<20), 64<<20)
	}
	if j.MaxSize < 4*j.SegmentSize {
		p.add(p.fs.diag(Error, d.ranges["max_size"], "Journal too small", "max_size is %s, but four segments of %s are needed: raise it to %s, or lower segment_size.",
			FormatSize(j.MaxSize), FormatSize(j.SegmentSize), FormatSize(4*j.SegmentSize)))
	}
	j.Sync = d.values.String("sync")
	if j.Sync == "process" || j.Sync == "always" {
		return
	}
	every, err := ParseDuration(j.Sync)
	if err != nil || every < time.Millisecond || every > 10*time.Second {
		p.add(p.fs.diag(Error, d.ranges["sync"], "Wrong value for \"sync\"",
			`%q must be "process" (survives the death of processes), a duration from "1ms" to "10s" (survives power loss, but for that long), or "always".%s`,
			j.Sync, hint(j.Sync, []string{"process", "always"})))
	}
	j.Sync = every.String()
}

// requiredPlugins reads name = { path = "…", sha256 = "…" }.
func (p *parser) requiredPlugins(b *hclsyntax.Block) {
	p.noBlocks(b.Body, "required_plugins")
	for _, a := range sorted(b.Body) {
		obj, ok := a.Expr.(*hclsyntax.ObjectConsExpr)
		if !ok {
			p.errorf(a.Expr.Range(), "Wrong plugin entry", "A plugin is written %s = { path = \"./bin/marketprism-source-%s\", sha256 = \"…\" }.", a.Name, a.Name)
			continue
		}
		// The object is decoded like a block, for the same diagnostics.
		body := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: a.SrcRange}
		for _, it := range obj.Items {
			key, ds := it.KeyExpr.Value(nil)
			p.add(p.fs.hcl(ds)...)
			name, err := fromCty(unmarked(key), schema.Attribute{Type: schema.String})
			if ds.HasErrors() || err != nil {
				continue
			}
			body.Attributes[name.(string)] = &hclsyntax.Attribute{Name: name.(string), Expr: it.ValueExpr, NameRange: it.KeyExpr.Range(), SrcRange: it.ValueExpr.Range()}
		}
		d, diags := p.decode(block{what: "plugin " + a.Name, body: body, schema: requiredSchema})
		for i := range diags {
			if diags[i].Summary == "Missing attribute" {
				diags[i] = p.fs.diag(Error, fromHCL(a.NameRange), diags[i].Summary, "%s", diags[i].Detail)
			}
		}
		p.add(diags...)
		if diags.HasErrors() {
			continue
		}
		p.unprintable(d, "plugin "+a.Name)
		pl := Plugin{Name: a.Name, Path: d.values.String("path"), SHA256: strings.ToLower(d.values.String("sha256")), Range: fromHCL(a.NameRange)}
		if sum, err := hex.DecodeString(pl.SHA256); err != nil || len(sum) != 32 {
			p.add(p.fs.diag(Error, d.ranges["sha256"], "Wrong value for \"sha256\"", "It must be 64 hexadecimal digits, as sha256sum prints them."))
			continue
		}
		if pl.Path == "" {
			p.add(p.fs.diag(Error, d.ranges["path"], "Wrong value for \"path\"", "The plugin's path is empty."))
			continue
		}
		if !filepath.IsAbs(pl.Path) {
			pl.Path = filepath.Join(p.dir, pl.Path)
		}
		p.plugins[pl.Name] = pl
		p.out.Settings.Plugins = append(p.out.Settings.Plugins, pl)
	}
}

// unprintable refuses sensitive values where plans and logs print them.
func (p *parser) unprintable(d decoded, what string, except ...string) {
	for _, name := range d.sensitive {
		if len(except) == 0 || except[0] != name {
			p.add(p.fs.diag(Error, d.ranges[name], "Sensitive value", "%s prints %q in plans and logs; a sensitive value can't stand here.", what, name))
		}
	}
}
