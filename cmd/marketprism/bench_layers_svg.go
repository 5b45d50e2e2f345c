package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"text/template"
	"time"
)

// The picture's measures, in its own units: about a pixel each.
const (
	pictureWidth = 840
	pictureTop   = 104 // of the first bar
	pictureStep  = 44  // from bar to bar
	pictureBar   = 26  // of a bar
	pictureNames = 164 // of the names, at the left
	pictureRates = 262 // of the longest bar of throughput
	pictureP99   = 556 // where the bars of latency begin
	pictureWaits = 180 // of the longest of them
)

// pictureBars is what a line of the picture shows.
type pictureBars struct {
	Name, Rate, Wait   string
	Y, Text            int
	RateWidth, RateEnd float64
	WaitWidth, WaitEnd float64
}

var pictureTemplate = template.Must(template.New("svg").Funcs(template.FuncMap{"xml": escapeXML}).Parse(
	`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.Width}} {{.Height}}" width="{{.Width}}" height="{{.Height}}" role="img" aria-labelledby="title desc">
<title id="title">{{xml .Title}}</title>
<desc id="desc">{{xml .Desc}}</desc>
<style>
:root { color-scheme: light dark; }
.page { fill: #ffffff; stroke: #d0d7de; }
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 13px; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.head { font-size: 12px; font-weight: 600; }
.note, .head { fill: #59636e; }
.note { font-size: 11px; }
.value { font-variant-numeric: tabular-nums; }
.rate { fill: #0969da; }
.wait { fill: #bc4c00; }
.axis { stroke: #afb8c1; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; stroke: #30363d; }
text { fill: #e6edf3; }
.note, .head { fill: #9198a1; }
.rate { fill: #4493f8; }
.wait { fill: #f0883e; }
.axis { stroke: #3d444d; }
}
</style>
<rect class="page" x="0.5" y="0.5" width="{{.InnerWidth}}" height="{{.InnerHeight}}" rx="6"/>
<text class="title" x="20" y="32">{{xml .Title}}</text>
<text class="note" x="20" y="52">{{xml .Task}}</text>
<text class="head" x="{{.Rates}}" y="88">tasks a second: longer is better</text>
<text class="head" x="{{.Waits}}" y="88">p99 of a task in ms: shorter is better</text>
{{range .Bars -}}
<text x="20" y="{{.Text}}">{{xml .Name}}</text>
<rect class="rate" x="{{$.Rates}}" y="{{.Y}}" width="{{printf "%.1f" .RateWidth}}" height="{{$.Bar}}" rx="2"/>
<text class="value" x="{{printf "%.1f" .RateEnd}}" y="{{.Text}}">{{xml .Rate}}</text>
<rect class="wait" x="{{$.Waits}}" y="{{.Y}}" width="{{printf "%.1f" .WaitWidth}}" height="{{$.Bar}}" rx="2"/>
<text class="value" x="{{printf "%.1f" .WaitEnd}}" y="{{.Text}}">{{xml .Wait}}</text>
{{end -}}
<line class="axis" x1="{{.Rates}}" y1="{{.AxisTop}}" x2="{{.Rates}}" y2="{{.AxisEnd}}"/>
<line class="axis" x1="{{.Waits}}" y1="{{.AxisTop}}" x2="{{.Waits}}" y2="{{.AxisEnd}}"/>
{{range .Caption}}<text class="note" x="20" y="{{.Y}}">{{xml .Text}}</text>
{{end}}</svg>
`))

func escapeXML(s string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

// writeSVG draws the cumulative effect of the layers: throughput and p99, a line a
// step.
func (r *layersReport) writeSVG(w io.Writer) error {
	type line struct {
		Y    int
		Text string
	}
	end := pictureTop + len(r.Cumulative)*pictureStep
	p := struct {
		Title, Desc, Task              string
		Width, Height, Bar             int
		InnerWidth, InnerHeight        int
		Rates, Waits, AxisTop, AxisEnd int
		Bars                           []pictureBars
		Caption                        []line
	}{Title: "What each resource layer adds", Width: pictureWidth, Height: end + 60, Bar: pictureBar, InnerWidth: pictureWidth - 1, InnerHeight: end + 59,
		Rates: pictureNames, Waits: pictureP99, AxisTop: pictureTop - 6, AxisEnd: end - pictureStep + pictureBar + 6,
		Task: fmt.Sprintf("One task: a request over loopback, its answer of %d levels a side decoded, a book message filled, a record appended. %d under way at a time.", benchDepth, layerConns)}
	var rate, wait float64
	for _, s := range r.Cumulative {
		rate, wait = max(rate, s.PerSecond), max(wait, float64(s.P99))
	}
	var told []string
	for i, s := range r.Cumulative {
		b := pictureBars{Name: stepName(i), Y: pictureTop + i*pictureStep, Rate: thousands(int64(s.PerSecond)), Wait: fmt.Sprintf("%.2f", float64(s.P99)/1e6)}
		if i > 0 {
			b.Rate += fmt.Sprintf(" (%s)", times(s.Gain))
		}
		b.Text = b.Y + pictureBar/2 + 5
		b.RateWidth, b.WaitWidth = pictureRates*s.PerSecond/max(rate, 1), pictureWaits*float64(s.P99)/max(wait, 1)
		b.RateEnd, b.WaitEnd = pictureNames+b.RateWidth+8, pictureP99+b.WaitWidth+8
		told = append(told, fmt.Sprintf("%s: %s tasks a second, p99 %s ms", b.Name, b.Rate, b.Wait))
		p.Bars = append(p.Bars, b)
	}
	p.Desc = strings.Join(told, "; ") + "."
	p.Caption = []line{
		{end + 18, fmt.Sprintf("Medians of %s, each step with the layers above it; client and server are two processes on the same cores.", number(r.Rounds, "round"))},
		{end + 38, fmt.Sprintf("%s; %s; marketprism bench layers", r.Machine, r.At.Format(time.DateOnly))},
	}
	return pictureTemplate.Execute(w, p)
}
