package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// promql judges expressions of PromQL against the metrics that there are: those parts of the language that a dashboard uses,
// https://prometheus.io/docs/prometheus/latest/querying/basics/. It knows the type of an expression and the labels of its series.
type promql struct {
	metrics map[string][]string // labels of each
	tokens  []string
}

// result is what an expression is.
type result struct {
	kind   string   // scalar, vector or range
	labels []string // of a vector's series
}

var (
	promToken = regexp.MustCompile(`^(?:[a-zA-Z_:][a-zA-Z0-9_:]*|[0-9]+(?:\.[0-9]+)?[smhdwy]?|"(?:[^"\\]|\\.)*"|=~|!~|!=|==|>=|<=|[-+*/%^(){}\[\],=<>])`)
	promRange = regexp.MustCompile(`^[0-9]+[smhdwy]$`)

	// Binary operators, those that bind weakest first.
	promOperators = [][]string{{"or"}, {"and", "unless"}, {"==", "!=", ">", "<", ">=", "<="}, {"+", "-"}, {"*", "/", "%"}}
	// Functions of what is over a time, and of what is now.
	promOverTime = []string{"rate", "irate", "increase", "delta", "avg_over_time", "max_over_time", "changes", "resets"}
	promNow      = []string{"abs", "ceil", "floor", "round", "sort", "sort_desc", "clamp_min", "clamp_max"}
	// Aggregations, and those that take a number first.
	promAggregations = []string{"sum", "min", "max", "avg", "count", "group"}
	promChoices      = []string{"topk", "bottomk", "quantile"}
)

// promError ends parsing.
type promError string

// judge returns what an expression is.
func (p promql) judge(expr string) (r result, err error) {
	defer func() {
		if e := recover(); e != nil {
			mistake, ours := e.(promError)
			if !ours {
				panic(e)
			}
			err = fmt.Errorf("%s, before %q", mistake, strings.Join(p.tokens, " "))
		}
	}()
	for expr = strings.TrimSpace(expr); expr != ""; expr = strings.TrimSpace(expr) {
		token := promToken.FindString(expr)
		if token == "" {
			return r, fmt.Errorf("no token: %q", expr)
		}
		p.tokens = append(p.tokens, token)
		expr = expr[len(token):]
	}
	r = p.binary(0)
	if len(p.tokens) > 0 {
		p.fail("more than one expression")
	}
	if r.kind == "range" {
		p.fail("a range is no result")
	}
	return r, nil
}

func (p *promql) fail(format string, args ...any) { panic(promError(fmt.Sprintf(format, args...))) }

func (p *promql) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *promql) next() string {
	token := p.peek()
	if token == "" {
		p.fail("the end")
	}
	p.tokens = p.tokens[1:]
	return token
}

// accept takes the next token if it is one of these.
func (p *promql) accept(tokens ...string) bool {
	if !slices.Contains(tokens, p.peek()) || p.peek() == "" {
		return false
	}
	p.next()
	return true
}

func (p *promql) expect(token string) {
	if !p.accept(token) {
		p.fail("no %q", token)
	}
}

func (p *promql) binary(level int) result {
	if level == len(promOperators) {
		return p.unary()
	}
	left := p.binary(level + 1)
	for {
		operator := p.peek()
		if !p.accept(promOperators[level]...) {
			return left
		}
		p.accept("bool")
		on, many := []string(nil), false
		if p.accept("on") {
			on = p.names()
			many = p.accept("group_left")
		}
		right := p.binary(level + 1)
		if left.kind == "range" || right.kind == "range" {
			p.fail("%s of a range", operator)
		}
		switch {
		case left.kind == "scalar":
			if on != nil {
				p.fail("on for a scalar")
			}
			left = right
		case right.kind == "scalar":
			if on != nil {
				p.fail("on for a scalar")
			}
		case on == nil:
			if !slices.Equal(left.labels, right.labels) {
				p.fail("%s of series with the labels %q and %q", operator, left.labels, right.labels)
			}
		default:
			p.contains(left.labels, on)
			p.contains(right.labels, on)
			if !slices.Equal(right.labels, on) && len(right.labels) > len(on)+1 { // job is left out everywhere
				p.fail("%q do not name one of %q", on, right.labels)
			}
			if !many {
				left.labels = on
			}
		}
	}
}

func (p *promql) unary() result {
	if p.accept("-", "+") {
		return p.unary()
	}
	token := p.next()
	switch {
	case token == "(":
		r := p.binary(0)
		p.expect(")")
		return r
	case token[0] >= '0' && token[0] <= '9':
		if _, err := strconv.ParseFloat(token, 64); err != nil {
			p.fail("%q is no number", token)
		}
		return result{kind: "scalar"}
	case slices.Contains(promAggregations, token):
		return p.aggregation(false)
	case slices.Contains(promChoices, token):
		return p.aggregation(true)
	case slices.Contains(promOverTime, token):
		p.expect("(")
		r := p.binary(0)
		if r.kind != "range" {
			p.fail("%s of a %s", token, r.kind)
		}
		p.expect(")")
		return result{"vector", r.labels}
	case slices.Contains(promNow, token):
		p.expect("(")
		r := p.binary(0)
		for p.accept(",") {
			p.binary(0)
		}
		if r.kind != "vector" {
			p.fail("%s of a %s", token, r.kind)
		}
		p.expect(")")
		return r
	}
	return p.selector(token)
}

// aggregation takes by before the argument only.
func (p *promql) aggregation(choice bool) result {
	by := []string{}
	if p.accept("by") {
		by = p.names()
	}
	p.expect("(")
	if choice {
		if r := p.binary(0); r.kind != "scalar" {
			p.fail("a %s and no number first", r.kind)
		}
		p.expect(",")
	}
	r := p.binary(0)
	if r.kind != "vector" {
		p.fail("aggregation of a %s", r.kind)
	}
	p.expect(")")
	p.contains(r.labels, by)
	if !choice {
		r.labels = by
	}
	return r
}

func (p *promql) selector(name string) result {
	labels, known := p.metrics[name]
	if !known {
		p.fail("there is no metric or function %q", name)
	}
	labels = slices.Sorted(slices.Values(append(slices.Clone(labels), "instance", "job")))
	if p.accept("{") {
		for !p.accept("}") {
			p.contains(labels, []string{p.next()})
			if !p.accept("=", "!=", "=~", "!~") {
				p.fail("no matching")
			}
			if !strings.HasPrefix(p.next(), `"`) {
				p.fail("no text to match")
			}
			if !p.accept(",") && p.peek() != "}" {
				p.fail("no end of matchers")
			}
		}
	}
	if p.accept("[") {
		if !promRange.MatchString(p.next()) {
			p.fail("no time")
		}
		p.expect("]")
		return result{"range", labels}
	}
	return result{"vector", labels}
}

// names takes a list of labels.
func (p *promql) names() (list []string) {
	p.expect("(")
	for !p.accept(")") {
		list = append(list, p.next())
		if !p.accept(",") && p.peek() != ")" {
			p.fail("no end of labels")
		}
	}
	slices.Sort(list)
	return list
}

func (p *promql) contains(labels, want []string) {
	for _, name := range want {
		if !slices.Contains(labels, name) {
			p.fail("there is no label %q among %q", name, labels)
		}
	}
}

func TestPromQL(t *testing.T) {
	p := promql{metrics: map[string][]string{"a_total": {"service"}, "b": {"service", "destination"}, "c": nil}}
	good := map[string]string{
		`a_total`: "vector [instance job service]",
		`rate(a_total{service=~"x|y", job!="z"}[5m])`: "vector [instance job service]",
		`8 * rate(a_total[1h]) > bool 0`:              "vector [instance job service]",
		`sum by (service) (b)`:                        "vector [service]",
		`sum(c)`:                                      "vector []",
		`topk(3, b)`:                                  "vector [destination instance job service]",
		`-(1 + 2)`:                                    "scalar []",
		`b / on (instance, service) group_left sum by (service, instance) (b)`: "vector [destination instance job service]",
		`b / on (service, destination, instance) b`:                            "vector [destination instance service]",
	}
	for expr, want := range good {
		if r, err := p.judge(expr); err != nil || fmt.Sprintf("%s %v", r.kind, r.labels) != want {
			t.Errorf("%s: %v, %v, want %s", expr, r, err, want)
		}
	}
	for _, expr := range []string{
		``, `d`, `rate(a_total)`, `a_total[5m]`, `sum(a_total[5m])`, `a_total{destination="x"}`, `a_total{service}`, `a_total{service="x"`, `a_total{service=x}`,
		`rate(a_total[5m]`, `rate(a_total[five])`, `sum by (destination) (a_total)`, `topk(a_total, 3)`, `topk(3)`, `b / a_total`, `a_total b`, `a_total +`, `a_total @ c`,
		`b / on (host) b`, `b / on (service) b`, `1 / on (service) a_total`, `abs(3)`, `sum b`, `a_total{service="x}`, `5m`, `a_total)`,
	} {
		if r, err := p.judge(expr); err == nil {
			t.Errorf("%s is taken for %v", expr, r)
		}
	}
}
