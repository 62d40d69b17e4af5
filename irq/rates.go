package irq

import (
	"context"
	"iter"
	"time"
)

// Rates are interrupts per second between two readings of /proc/interrupts.
type Rates struct {
	// Elapsed is the time between the readings.
	Elapsed time.Duration

	// CPUs are the numbers of the CPUs of the columns, those online at both readings.
	CPUs []int

	// Rows are the interrupts that exist in both readings, in the order of the second. Those with a single total for
	// the machine are left out.
	Rows []RateRow
}

// RateRow is the rate of one interrupt.
type RateRow struct {
	Row                 // as of the second reading
	PerSecond []float64 // for each CPU of Rates.CPUs
}

// Total returns the sum over the CPUs, per second.
func (r RateRow) Total() float64 {
	sum := 0.0
	for _, rate := range r.PerSecond {
		sum += rate
	}
	return sum
}

// NewRates compares two readings. A counter that has become smaller has wrapped at 2^32. Of no elapsed time the rates
// are 0.
func NewRates(before, after Table, elapsed time.Duration) Rates {
	r := Rates{Elapsed: elapsed}
	old := map[int]int{} // column of a CPU before
	for i, cpu := range before.CPUs {
		old[cpu] = i
	}
	var columns [][2]int
	for i, cpu := range after.CPUs {
		if j, ok := old[cpu]; ok {
			r.CPUs = append(r.CPUs, cpu)
			columns = append(columns, [2]int{j, i})
		}
	}
	rows := map[string]Row{}
	for _, row := range before.Rows {
		rows[row.Label] = row
	}
	for _, row := range after.Rows {
		was, ok := rows[row.Label]
		if !ok || len(was.Counts) != len(before.CPUs) || len(row.Counts) != len(after.CPUs) || len(after.CPUs) > 1 && len(row.Counts) == 1 {
			continue
		}
		rate := RateRow{Row: row, PerSecond: make([]float64, len(columns))}
		for i, c := range columns {
			if seconds := elapsed.Seconds(); seconds > 0 {
				rate.PerSecond[i] = float64(increase(was.Counts[c[0]], row.Counts[c[1]])) / seconds
			}
		}
		r.Rows = append(r.Rows, rate)
	}
	return r
}

func increase(before, after uint64) uint64 {
	if after < before && before < 1<<32 {
		return after + 1<<32 - before
	}
	return after - min(before, after)
}

// PerCPU returns the device interrupts per second of each CPU of Rates.CPUs.
func (r Rates) PerCPU() []float64 {
	sum := make([]float64, len(r.CPUs))
	for _, row := range r.Rows {
		if row.IRQ < 0 {
			continue
		}
		for i, rate := range row.PerSecond {
			sum[i] += rate
		}
	}
	return sum
}

// Watch yields the rates of each interval, from a minimum of a millisecond, until ctx ends or a reading fails; the error
// is then the last thing it yields. It shows whether a placement does what it should.
func (h *Host) Watch(ctx context.Context, interval time.Duration) iter.Seq2[Rates, error] {
	return func(yield func(Rates, error) bool) {
		before, err := Interrupts(h.root)
		if err != nil {
			yield(Rates{}, err)
			return
		}
		start := time.Now()
		tick := time.NewTicker(max(interval, time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				yield(Rates{}, ctx.Err())
				return
			case <-tick.C:
			}
			after, err := Interrupts(h.root)
			if err != nil {
				yield(Rates{}, err)
				return
			}
			now := time.Now()
			if !yield(NewRates(before, after, now.Sub(start)), nil) {
				return
			}
			before, start = after, now
		}
	}
}
