package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/golvs/lvs/ipvs"
)

// dashboard is the part of Grafana's classic dashboard model that is looked at.
type dashboard struct {
	Title         string
	UID           string
	SchemaVersion int
	Time          struct{ From, To string }
	Templating    struct{ List []variable }
	Panels        []panel
}

type variable struct {
	Name, Type, Query string
	Datasource        datasource
}

type datasource struct{ Type, UID string }

type panel struct {
	ID          int
	Title, Type string
	Datasource  datasource
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		RefID, Expr, LegendFormat, Format string
		Instant                           bool
		Datasource                        datasource
	}
}

// The dashboard is one that Grafana imports, asks whatever data source is chosen, and asks it for metrics and labels that there
// are, in PromQL.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board dashboard
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	uid := regexp.MustCompile(`^[a-zA-Z0-9_-]{1,40}$`)
	if board.Title == "" || !uid.MatchString(board.UID) || board.SchemaVersion < 36 || board.Time.From == "" || board.Time.To == "" || len(board.Panels) < 10 {
		t.Errorf("this is no dashboard: %+v", board)
	}
	source := datasource{"prometheus", "${datasource}"}
	check := newDashboardCheck(t, &board)
	for i, v := range board.Templating.List {
		switch {
		case i == 0:
			if v.Name != "datasource" || v.Type != "datasource" || v.Query != "prometheus" {
				t.Errorf("the first variable is %+v, and not the data source", v)
			}
		case v.Type != "query" || v.Datasource != source:
			t.Errorf("variable %+v", v)
		default:
			check.values(v)
		}
	}
	ids := make(map[int]bool)
	cells := make(map[[2]int]string)
	for _, p := range board.Panels {
		if p.ID <= 0 || ids[p.ID] || p.Title == "" || p.Datasource != source || !slices.Contains([]string{"stat", "timeseries", "table"}, p.Type) || len(p.Targets) == 0 {
			t.Errorf("panel %+v", p)
		}
		ids[p.ID] = true
		if g := p.GridPos; g.X < 0 || g.Y < 0 || g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
			t.Errorf("panel %q is at %+v", p.Title, g)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, taken := cells[cell]; taken {
					t.Fatalf("panel %q is over %q at %v", p.Title, other, cell)
				}
				cells[cell] = p.Title
			}
		}
		refs := make(map[string]bool)
		for _, q := range p.Targets {
			if q.RefID == "" || refs[q.RefID] || q.Datasource != source {
				t.Errorf("panel %q has the query %+v", p.Title, q)
			}
			refs[q.RefID] = true
			check.query(p.Title, q.Expr, q.LegendFormat)
		}
	}
}

// dashboardCheck judges what a dashboard asks for.
type dashboardCheck struct {
	t         *testing.T
	promql    promql
	variables []string
}

func newDashboardCheck(t *testing.T, board *dashboard) *dashboardCheck {
	t.Helper()
	_, c := director(t)
	if err := c.StartDaemon(t.Context(), ipvs.Daemon{State: ipvs.Master, Interface: "lo"}); err != nil {
		t.Fatal(err)
	}
	families, err := checked(newTestGatherer(t, c, plenty)).Gather()
	if err != nil {
		t.Fatal(err)
	}
	check := &dashboardCheck{t: t, promql: promql{metrics: make(map[string][]string)}, variables: []string{"__rate_interval"}}
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		check.promql.metrics[f.GetName()] = labels
	}
	for _, v := range board.Templating.List {
		check.variables = append(check.variables, v.Name)
	}
	return check
}

var (
	usedVariable = regexp.MustCompile(`\$\{?(\w+)\}?`)
	usedLabel    = regexp.MustCompile(`\{\{\s*(\w*)\s*\}\}`)
	labelValues  = regexp.MustCompile(`^label_values\((.*), *(\w+)\)$`)
)

// query judges an expression, and whether its series have what the legend says.
func (c *dashboardCheck) query(where, expr, legend string) {
	c.t.Helper()
	for _, m := range usedVariable.FindAllStringSubmatch(expr, -1) {
		if !slices.Contains(c.variables, m[1]) {
			c.t.Errorf("%s asks for the variable %s, which there is not", where, m[1])
		}
	}
	r, err := c.promql.judge(strings.ReplaceAll(expr, "$__rate_interval", "1m"))
	if err != nil {
		c.t.Errorf("%s: %s: %v", where, expr, err)
	}
	for _, m := range usedLabel.FindAllStringSubmatch(legend, -1) {
		if !slices.Contains(r.labels, m[1]) {
			c.t.Errorf("%s has the label %s in its legend, which %s has not", where, m[1], expr)
		}
	}
}

// values judges the query of a variable.
func (c *dashboardCheck) values(v variable) {
	c.t.Helper()
	m := labelValues.FindStringSubmatch(v.Query)
	if m == nil {
		c.t.Errorf("variable %s is %q", v.Name, v.Query)
		return
	}
	c.query("variable "+v.Name, m[1], "{{"+m[2]+"}}")
}
