package main

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"regexp"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Size of a picture. It is that of a phone held upright, so that letters are not made smaller there.
const (
	chartWidth  = vg.Length(360)
	chartHeight = vg.Length(230)
)

// palette are colours that people who see some colours alike can tell apart (Okabe and Ito).
var palette = []color.RGBA{
	{0, 114, 178, 255}, {230, 159, 0, 255}, {0, 158, 115, 255}, {213, 94, 0, 255}, {204, 121, 167, 255}, {86, 180, 233, 255},
	{120, 94, 40, 255}, {60, 60, 60, 255},
}

var (
	ink  = color.RGBA{51, 51, 51, 255}
	rule = color.RGBA{225, 225, 225, 255}
	pale = color.RGBA{190, 190, 190, 255}
)

// nobody is the number of things that have no colour of their own.
const nobody = -1

// colour returns the background of the nth thing in a key as HTML has it. Where the colours begin anew the lines are broken.
func colour(n int) template.CSS {
	c := pale
	if n != nobody {
		c = palette[n%len(palette)]
	}
	text := fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B)
	if n >= len(palette) {
		text = fmt.Sprintf("repeating-linear-gradient(90deg,%s 0 .35em,transparent .35em .5em)", text)
	}
	return template.CSS(text)
}

// newChart returns an empty picture.
func newChart(x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.Transparent
	p.X.Label.Text, p.Y.Label.Text = x, y
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Label.TextStyle.Color, a.Tick.Color, a.Tick.Label.Color = ink, ink, ink, ink
		a.Label.TextStyle.Font.Variant, a.Tick.Label.Font.Variant = "Sans", "Sans"
		a.Tick.Marker = plain{}
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size = 11, 10.5
		a.Padding = 0
	}
	g := plotter.NewGrid()
	g.Vertical.Width = 0
	g.Horizontal.Color = rule
	p.Add(g)
	return p
}

// line adds a line in the colour of the nth thing.
func line(p *plot.Plot, n int, points plotter.XYs, dashed bool) error {
	if len(points) == 0 {
		return nil
	}
	l, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	l.Color, l.Width = pale, 0.8
	if n != nobody {
		l.Color, l.Width = palette[n%len(palette)], 1.6
	}
	if n >= len(palette) {
		l.Dashes = []vg.Length{7, 2}
	}
	if dashed {
		l.Dashes, l.Width, l.StepStyle = []vg.Length{4, 3}, 1, plotter.PostStep
	}
	p.Add(l)
	return nil
}

// incidents marks times by vertical lines with letters on them.
func incidents(p *plot.Plot, list []incident) {
	p.Add(&marks{list})
}

// marks draws the incidents over the whole height.
type marks struct{ list []incident }

// Plot implements plot.Plotter.
func (m *marks) Plot(c draw.Canvas, p *plot.Plot) {
	tx, _ := p.Transforms(&c)
	style := draw.TextStyle{Color: ink, Font: p.X.Tick.Label.Font, XAlign: draw.XCenter, YAlign: draw.YTop, Handler: p.TextHandler}
	for i, e := range m.list {
		x := tx(e.At)
		if x < c.Min.X || x > c.Max.X {
			continue
		}
		c.StrokeLine2(draw.LineStyle{Color: ink, Width: 0.7, Dashes: []vg.Length{1.5, 2}}, x, c.Min.Y, x, c.Max.Y-13)
		c.FillText(style, vg.Point{X: x, Y: c.Max.Y}, letter(i))
	}
}

// letter names the nth incident: A to Z, then A1 and so on.
func letter(n int) string {
	s := string(rune('A' + n%26))
	if n >= 26 {
		s += fmt.Sprint(n / 26)
	}
	return s
}

// percents are the ticks of an axis of parts of one.
type percents struct{}

// Ticks implements plot.Ticker.
func (percents) Ticks(lo, hi float64) []plot.Tick {
	ticks := plain{}.Ticks(lo*100, hi*100)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label += " %"
		}
		ticks[i].Value /= 100
	}
	return ticks
}

// plain are ticks whose labels have no more digits than they need.
type plain struct{}

// Ticks implements plot.Ticker.
func (plain) Ticks(lo, hi float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(lo, hi)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = strconv.FormatFloat(ticks[i].Value, 'g', 6, 64)
		}
	}
	return ticks
}

// bars draws groups of bars: one group for each name, one bar for each of its values.
func bars(names []string, series [][]float64, colours func(group, series int) color.Color) (*plot.Plot, error) {
	p := newChart("", "")
	p.Y.Min, p.Y.Max = 0, 0.01
	width := 200 / vg.Length(max(1, len(names)*len(series)))
	width = min(width, 36)
	for s, values := range series {
		for g, v := range values {
			b, err := plotter.NewBarChart(plotter.Values{v}, width)
			if err != nil {
				return nil, err
			}
			b.XMin = float64(g)
			b.Offset = (vg.Length(s) - vg.Length(len(series)-1)/2) * (width + 1)
			b.Color, b.LineStyle.Width = colours(g, s), 0
			p.Add(b)
			p.Y.Max = max(p.Y.Max, v*1.1)
		}
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.6, float64(len(names))-0.4
	p.X.Tick.Length, p.X.Width, p.X.Padding = 0, 0.5, 3
	if len(names) > 8 { // or they would touch
		p.X.Tick.Label.Rotation, p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = math.Pi/4, draw.XRight, draw.YTop
	}
	p.Y.Tick.Marker = percents{}
	return p, nil
}

var (
	svgHead = regexp.MustCompile(`(?s)^.*?<svg [^>]*?viewBox="([^"]*)"[^>]*>`)
	svgFont = regexp.MustCompile(`font-family:[^;"]*`)
)

// svg returns a picture as an element of a page that is as wide as there is room.
func svg(p *plot.Plot, label string) (template.HTML, error) {
	c := vgsvg.New(chartWidth, chartHeight)
	p.Draw(draw.Crop(draw.New(c), 2, -8, 2, -4))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", err
	}
	head := svgHead.FindSubmatch(b.Bytes())
	if head == nil {
		return "", fmt.Errorf("a picture begins with %.80q", b.Bytes())
	}
	body := svgFont.ReplaceAll(b.Bytes()[len(head[0]):], []byte("font-family:system-ui,sans-serif"))
	open := fmt.Sprintf(`<svg viewBox="%s" role="img" aria-label="%s">`, head[1], template.HTMLEscapeString(label))
	return template.HTML(open + string(body)), nil
}
