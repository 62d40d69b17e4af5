package main

import (
	"math"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	tests := map[string]struct {
		start      health
		rise, fall int
		results    string // + and -
		want       string // U up, d down, after each
	}{
		"the first decides, good": {health{}, 3, 3, "+", "U"},
		"the first decides, bad":  {health{}, 3, 3, "-", "d"},
		"fall":                    {health{}, 2, 3, "+---", "UUUd"},
		"a good one between":      {health{}, 2, 3, "+--+---", "UUUUUUd"},
		"rise":                    {health{}, 2, 3, "-++", "ddU"},
		"a bad one between":       {health{}, 2, 1, "-+-++", "ddddU"},
		"one is enough":           {health{}, 1, 1, "+-+-", "UdUd"},
		"in service before":       {health{known: true, up: true}, 1, 2, "--", "Ud"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := tt.start
			for i, r := range tt.results {
				before := h
				changed := h.observe(r == '+', tt.rise, tt.fall)
				if h.up != (tt.want[i] == 'U') || !h.known || changed != (before.known != h.known || before.up != h.up) {
					t.Fatalf("after result %d: %+v, changed %v", i, h, changed)
				}
			}
		})
	}
}

func TestAverage(t *testing.T) {
	w := &Weight{Min: 2, Max: 100}
	var a average
	for i, step := range []struct {
		v    float64
		want uint32
	}{{10, 10}, {20, 13}, {20, 15}, {1e9, 100}, {-1e9, 2}} {
		a.add(step.v, 0.3)
		if got := w.bounded(a); got != step.want {
			t.Errorf("after %d: %d, want %d (%v)", i, got, step.want, a.value)
		}
	}
	a = average{math.MaxFloat64, true}
	if got := (&Weight{Min: 1, Max: maxWeight}).bounded(a); got != maxWeight {
		t.Errorf("the greatest is %d", got)
	}
}

func TestParseNumber(t *testing.T) {
	for text, want := range map[string]float64{"5": 5, " 0.5 load\nx": 0.5, "-1\n": -1} {
		if v, err := parseNumber(text); v != want || err != nil {
			t.Errorf("%q: %v, %v", text, v, err)
		}
	}
	for _, text := range []string{"", " \n", "x", "NaN", "Inf", "1e999"} {
		if v, err := parseNumber(text); err == nil {
			t.Errorf("%q is %v", text, v)
		}
	}
}

func TestSlowStart(t *testing.T) {
	tests := []struct {
		full        uint32
		since, want time.Duration
		weight      uint32
	}{
		{100, 0, time.Second, 1},
		{100, 999 * time.Millisecond, time.Millisecond, 1},
		{100, time.Second, time.Second, 5},
		{100, 10 * time.Second, time.Second, 50},
		{100, 19500 * time.Millisecond, 500 * time.Millisecond, 95},
		{100, 20 * time.Second, 0, 100},
		{1, 0, 0, 1},
		{maxWeight, 10 * time.Second, time.Second, maxWeight / 2},
	}
	for _, tt := range tests {
		weight, next := slowStart(tt.full, tt.since, 20*time.Second)
		if weight != tt.weight || next != tt.want {
			t.Errorf("%d after %v: %d, next in %v", tt.full, tt.since, weight, next)
		}
	}
	if weight, next := slowStart(7, 0, 0); weight != 7 || next != 0 {
		t.Errorf("without slow start: %d, %v", weight, next)
	}
}
