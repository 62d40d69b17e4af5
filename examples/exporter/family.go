package main

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// A kind is what services, or destinations, or the table itself have: a list of families with one sample of each thing in
// each. A family can be there more than once, with another label of its own.
type kind []column

// column is a family, and the labels that tell its samples of one thing from each other.
type column struct {
	family *dto.MetricFamily
	labels []*dto.LabelPair
}

// row holds the samples of one thing, in the order of its kind. They are made once, with their labels, and get new values
// at each scrape.
type row []sample

type sample struct {
	value  float64
	metric dto.Metric
}

// row makes the samples of a thing that these labels name.
func (k kind) row(labels ...*dto.LabelPair) row {
	r := make(row, len(k))
	common := sorted(labels)
	for i, c := range k {
		s := &r[i]
		s.metric.Label = common
		if len(c.labels) > 0 {
			s.metric.Label = sorted(slices.Concat(labels, c.labels))
		}
		if c.family.GetType() == dto.MetricType_COUNTER {
			s.metric.Counter = &dto.Counter{Value: &s.value}
		} else {
			s.metric.Gauge = &dto.Gauge{Value: &s.value}
		}
	}
	return r
}

// put enters a row with these values into the families.
func (k kind) put(r row, values ...float64) {
	for i := range r {
		r[i].value = values[i]
		f := k[i].family
		f.Metric = append(f.Metric, &r[i].metric)
	}
}

func sorted(labels []*dto.LabelPair) []*dto.LabelPair {
	labels = slices.Clone(labels)
	slices.SortFunc(labels, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return labels
}

// label makes a label. A name from the kernel, such as that of a device, may hold any bytes, and a label may not.
func label(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: &name, Value: new(strings.ToValidUTF8(value, "\uFFFD"))}
}

func gauge(name, help string) *dto.MetricFamily {
	return family(name, help, dto.MetricType_GAUGE)
}

func counter(name, help string) *dto.MetricFamily {
	return family(name, help, dto.MetricType_COUNTER)
}

func family(name, help string, t dto.MetricType) *dto.MetricFamily {
	return &dto.MetricFamily{Name: new("lvs_" + name), Help: &help, Type: &t}
}
