package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const monitoring = "../../docs/monitoring"

// promtool is Prometheus' own checker, which docs/monitoring/check.sh finds or
// fetches; empty where there is none, which is an error in CI.
func promtool(t *testing.T) string {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(monitoring+"/check.sh", "--where")
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no promtool: %v\n%s", err, said.Bytes())
		}
		t.Logf("no promtool: %v\n%s", err, said.Bytes())
		return ""
	}
	return strings.TrimSpace(string(out))
}

func runTool(tool string, in io.Reader, args ...string) ([]byte, error) {
	cmd := exec.Command(tool, args...)
	cmd.Stdin = in
	return cmd.CombinedOutput()
}

// TestRules checks the rules with promtool, and runs their unit tests.
func TestRules(t *testing.T) {
	tool := promtool(t)
	if tool == "" {
		t.Skip("there is no promtool, and none could be fetched")
	}
	cmd := exec.Command(monitoring + "/check.sh")
	cmd.Env = append(os.Environ(), "PROMTOOL="+tool)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

var (
	alertName  = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)
	recordName = regexp.MustCompile(`(?m)^ +- record: (\S+)$`)
	runbookURL = regexp.MustCompile(`(?m)^ +runbook_url: \S+/docs/runbook\.md#(\w+)$`)
	heading    = regexp.MustCompile(`(?m)^## (\w+)$`)
	testName   = regexp.MustCompile(`(?m)^  - name: (\w+) (fires|keeps quiet)$`)
	metricName = regexp.MustCompile(`[a-z:_]*marketprism_[a-z0-9_:]+`)
)

func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func found(re *regexp.Regexp, s string) (all []string) {
	for _, m := range re.FindAllStringSubmatch(s, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestAlertsAreWhole says that each alert has its parts, its entry in the
// runbook, and tests of both kinds.
func TestAlertsAreWhole(t *testing.T) {
	alerts, runbook, tests := text(t, monitoring+"/alerts.yml"), text(t, "../../docs/runbook.md"), text(t, monitoring+"/tests/alerts.yml")
	names, entries := found(alertName, alerts), found(heading, runbook)
	if n := len(slices.Compact(slices.Sorted(slices.Values(names)))); n == 0 || n < len(names) {
		t.Fatal("no alerts, or two of one name")
	}
	tested := map[string][]string{}
	for _, m := range testName.FindAllStringSubmatch(tests, -1) {
		tested[m[1]] = append(tested[m[1]], m[2])
	}
	parts := strings.Split(alerts, "- alert: ")[1:]
	for i, name := range names {
		if strings.Count(runbook, "\n## "+name+"\n") != 1 {
			t.Errorf("docs/runbook.md has no entry %s, or two", name)
		}
		for _, want := range []string{"severity: ", "summary: ", "description: ", "$value", "#" + strings.ToLower(name) + "\n"} {
			if !strings.Contains(parts[i], want) {
				t.Errorf("%s has no %q", name, strings.TrimSpace(want))
			}
		}
		if got := tested[name]; !slices.Equal(got, []string{"fires", "keeps quiet"}) {
			t.Errorf("%s is tested for %q, want that it fires and keeps quiet", name, got)
		}
		_, entry, _ := strings.Cut(runbook, "\n## "+name+"\n")
		entry, _, _ = strings.Cut(entry, "\n## ")
		for _, want := range []string{"**Means:**", "**Look first:**", "**Do:**", "**Lost:**"} {
			if !strings.Contains(entry, want) {
				t.Errorf("the runbook's entry %s says nothing of %s", name, want)
			}
		}
	}
	for _, e := range entries {
		if !slices.Contains(names, e) {
			t.Errorf("the runbook's entry %s is of no alert", e)
		}
	}
	if n := len(found(runbookURL, alerts)); n != len(names) {
		t.Errorf("%d alerts of %d have a runbook_url", n, len(names))
	}
}

// checkNames checks that every metric which a text names is in the catalogue, or is
// recorded by a rule.
func checkNames(t *testing.T, where, s string) {
	t.Helper()
	known := map[string]bool{}
	for _, d := range allMetrics() {
		known[d.Name] = true
		if d.Type.String() == "histogram" {
			known[d.Name+"_bucket"], known[d.Name+"_count"], known[d.Name+"_sum"] = true, true, true
		}
	}
	for _, r := range found(recordName, text(t, monitoring+"/recording.yml")) {
		known[r] = true
	}
	for _, n := range metricName.FindAllString(s, -1) {
		if n = strings.TrimSuffix(n, "_"); !known[n] && n != "marketprism" {
			t.Errorf("%s names %s, which is no metric", where, n)
		}
	}
}

func TestDocumentsNameMetricsThatExist(t *testing.T) {
	for _, name := range []string{"alerts.yml", "recording.yml", "tests/recording.yml", "tests/alerts.yml", "dashboard.json"} {
		checkNames(t, name, text(t, filepath.Join(monitoring, name)))
	}
	for _, name := range []string{"runbook.md", "operations.md", "metrics.md"} {
		checkNames(t, name, text(t, "../../docs/"+name))
	}
	for _, ls := range looks {
		for _, l := range ls {
			checkNames(t, "metrics doc", l.expr)
		}
	}
}

// panel is what matters of a panel of a dashboard.
type panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct {
		Expr         string
		LegendFormat string
	}
}

// grafana stands in for what Grafana puts in place of its variables.
var grafana = strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$feed", ".*", "$sink", ".*", "$plugin", ".*")

// TestDashboard checks that the dashboard is one, that all its panels show
// something that is explained, and that promtool parses each expression; those
// of docs/metrics.md as well.
func TestDashboard(t *testing.T) {
	var d struct {
		Title         string
		UID           string
		SchemaVersion int
		Panels        []panel
		Templating    struct{ List []struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(text(t, monitoring+"/dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 36 || len(d.Templating.List) < 3 {
		t.Errorf("%q (%q), version %d, %d variables", d.Title, d.UID, d.SchemaVersion, len(d.Templating.List))
	}
	ids, rows, exprs := map[int]bool{}, 0, []string{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			rows++
			continue
		}
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d (%q) lacks its title, its description or its place", p.ID, p.Title)
		}
		for _, x := range p.Targets {
			exprs = append(exprs, grafana.Replace(x.Expr))
		}
	}
	if rows < 5 {
		t.Errorf("%d rows, want one a question", rows)
	}
	for _, ls := range looks {
		for _, l := range ls {
			exprs = append(exprs, l.expr)
		}
	}
	for _, e := range exprs {
		if strings.Contains(e, "$") {
			t.Errorf("an unknown variable in %s", e)
		}
	}
	tool := promtool(t)
	if tool == "" {
		t.Skip("there is no promtool to parse expressions with")
	}
	var rules bytes.Buffer
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for i, e := range exprs {
		fmt.Fprintf(&rules, "      - record: x%d\n        expr: %q\n", i, e)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, rules.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := runTool(tool, nil, "check", "rules", file); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
