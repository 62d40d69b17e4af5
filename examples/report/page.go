package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"image/color"
	"io"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("").Funcs(template.FuncMap{
	"percent": func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) },
	"colour":  colour,
	"letter":  letter,
	"number":  number,
	"name":    incident.name,
	"join":    strings.Join,
}).Parse(pageText))

// figure is a picture with what it is called.
type figure struct {
	Title   string
	Note    string
	Picture template.HTML
}

// entry is one of a key.
type entry struct {
	Colour template.CSS
	Name   string
}

// section is what the page says about a service.
type section struct {
	*serviceResult
	Key     []entry  // of the servers
	Shares  []figure // one for each scheduler
	Compare []figure
	Effects []figure // one for each incident
}

// page writes the page.
func (r *results) page(w io.Writer) error {
	var sections []section
	var names []string
	for _, s := range r.Services {
		if len(names) == 0 {
			for _, x := range s.Runs {
				names = append(names, x.Scheduler)
			}
		}
		out := section{serviceResult: s, Key: s.key()}
		for _, x := range s.Runs {
			f, err := r.shares(s, x)
			if err != nil {
				return err
			}
			out.Shares = append(out.Shares, f)
		}
		for _, draw := range []func(*serviceResult) (figure, error){r.unevenOverTime, r.unevenBars, r.movedOverTime, r.refusedOverTime} {
			f, err := draw(s)
			if err != nil {
				return err
			}
			if f.Picture != "" {
				out.Compare = append(out.Compare, f)
			}
		}
		for i := range s.Incidents {
			f, err := r.moves(s, i)
			if err != nil {
				return err
			}
			out.Effects = append(out.Effects, f)
		}
		sections = append(sections, out)
	}
	return pageTemplate.Execute(w, struct {
		*results
		Sections   []section
		Schedulers []string
	}{r, sections, names})
}

// finish turns a plot into a figure.
func finish(p *plot.Plot, title, note string) (figure, error) {
	picture, err := svg(p, title)
	return figure{title, note, picture}, err
}

// middle is the middle of a window.
func (r *results) middle(w *window) float64 { return w.Begin + r.Seconds/float64(r.Windows)/2 }

// shares draws the share of each server over time.
func (r *results) shares(s *serviceResult, x *run) (figure, error) {
	p := newChart("seconds", "")
	p.Y.Min, p.Y.Tick.Marker = 0, percents{}
	p.X.Min, p.X.Max = 0, r.Seconds
	looks := s.looks()
	for _, n := range background(looks) {
		var share, due plotter.XYs
		for _, w := range x.PerWindow {
			if w.total == 0 {
				continue
			}
			share = append(share, plotter.XY{X: r.middle(w), Y: w.Share[n]})
			due = append(due, plotter.XY{X: w.Begin, Y: w.Due[n]})
		}
		if len(due) > 0 {
			due = append(due, plotter.XY{X: r.Seconds, Y: due[len(due)-1].Y})
		}
		if err := line(p, looks[n], due, true); err != nil {
			return figure{}, err
		}
		if err := line(p, looks[n], share, false); err != nil {
			return figure{}, err
		}
	}
	p.Y.Max *= 1.1 // room for the letters
	incidents(p, s.Incidents)
	return finish(p, x.Scheduler, fmt.Sprintf("%.1f %% of the connections went elsewhere than the weights say, window by window", 100*x.Uneven))
}

// looks returns the number of each server's colour. If there are more servers than colours, only those that something happens
// to have one, or a picture would be a tangle.
func (s *serviceResult) looks() []int {
	looks := make([]int, len(s.Servers))
	used := 0
	for n, addr := range s.Servers {
		looks[n] = nobody
		if len(s.Servers) <= len(palette) || used < len(palette) && slices.ContainsFunc(s.Incidents, func(e incident) bool { return e.Server == addr }) {
			looks[n] = used
			used++
		}
	}
	return looks
}

// background returns the servers, those without a colour first.
func background(looks []int) (order []int) {
	var front []int
	for n, look := range looks {
		if look == nobody {
			order = append(order, n)
		} else {
			front = append(front, n)
		}
	}
	return append(order, front...)
}

// key says which colours servers have.
func (s *serviceResult) key() (list []entry) {
	others := 0
	for n, look := range s.looks() {
		if look == nobody {
			others++
		} else {
			list = append(list, entry{colour(look), s.Servers[n].String()})
		}
	}
	switch {
	case others > 0 && len(list) == 0:
		list = append(list, entry{colour(nobody), fmt.Sprintf("each of %d servers", others)})
	case others > 0:
		list = append(list, entry{colour(nobody), fmt.Sprintf("each of %d others", others)})
	}
	return list
}

// overTime draws one line for each scheduler.
func (r *results) overTime(s *serviceResult, value func(x *run) plotter.XYs) (*plot.Plot, error) {
	p := newChart("seconds", "")
	p.Y.Min = 0
	p.X.Min, p.X.Max = 0, r.Seconds
	for n, x := range s.Runs {
		if err := line(p, n, value(x), false); err != nil {
			return nil, err
		}
	}
	p.Y.Max = max(p.Y.Max*1.1, 0.01)
	incidents(p, s.Incidents)
	return p, nil
}

func (r *results) unevenOverTime(s *serviceResult) (figure, error) {
	p, err := r.overTime(s, func(x *run) (list plotter.XYs) {
		for _, w := range x.PerWindow {
			if w.total > 0 {
				list = append(list, plotter.XY{X: r.middle(w), Y: w.Uneven})
			}
		}
		return list
	})
	if err != nil {
		return figure{}, err
	}
	p.Y.Tick.Marker = percents{}
	return finish(p, "How uneven the load was over time", "The part of a window's connections that went elsewhere than the weights say.")
}

func (r *results) unevenBars(s *serviceResult) (figure, error) {
	var names []string
	var values []float64
	for _, x := range s.Runs {
		names = append(names, x.Scheduler)
		values = append(values, x.Uneven)
	}
	p, err := bars(names, [][]float64{values}, func(group, _ int) color.Color { return palette[group%len(palette)] })
	if err != nil {
		return figure{}, err
	}
	return finish(p, "How uneven the load was", "The same, as the mean of all windows. Short windows have few connections, and chance then makes a difference, too.")
}

// movedOverTime draws how many connections moved up to a time.
func (r *results) movedOverTime(s *serviceResult) (figure, error) {
	p, err := r.overTime(s, func(x *run) plotter.XYs {
		return r.sum(x, func(w *window) int { return w.Moved })
	})
	if err != nil {
		return figure{}, err
	}
	return finish(p, "Clients that moved without need", "Connections up to a time whose client was at another server before, which is in service still. What that server knew of the client, such as a session, is lost to it.")
}

func (r *results) refusedOverTime(s *serviceResult) (figure, error) {
	refused := 0
	for _, x := range s.Runs {
		refused += x.Refused
	}
	if refused == 0 {
		return figure{}, nil
	}
	p, err := r.overTime(s, func(x *run) plotter.XYs {
		return r.sum(x, func(w *window) int { return w.Refused })
	})
	if err != nil {
		return figure{}, err
	}
	return finish(p, "Connections without a server", "Up to a time: refused, as the scheduler found no server for them. A hash scheduler without its fallback refuses the clients of a server of weight 0.")
}

// sum adds up what the windows have.
func (r *results) sum(x *run, of func(*window) int) plotter.XYs {
	list := plotter.XYs{{X: 0, Y: 0}}
	total := 0
	for _, w := range x.PerWindow {
		total += of(w)
		list = append(list, plotter.XY{X: w.Begin + r.Seconds/float64(r.Windows), Y: float64(total)})
	}
	return list
}

// moves draws what an incident does to clients of the other servers.
func (r *results) moves(s *serviceResult, i int) (figure, error) {
	var names []string
	before, after := []float64{}, []float64{}
	for _, x := range s.Runs {
		names = append(names, x.Scheduler)
		before = append(before, x.Effects[i].Before)
		after = append(after, x.Effects[i].After)
	}
	p, err := bars(names, [][]float64{before, after}, func(group, series int) color.Color {
		c := palette[group%len(palette)]
		if series == 0 {
			c = color.RGBA{c.R/2 + 127, c.G/2 + 127, c.B/2 + 127, 255}
		}
		return c
	})
	if err != nil {
		return figure{}, err
	}
	return finish(p, letter(i)+": "+s.Incidents[i].name(),
		fmt.Sprintf("Clients of the other servers that got another server though they did not have to: in the %s s before (pale) and after.", number(float64(int(10*s.Runs[0].Effects[i].Seconds))/10)))
}
