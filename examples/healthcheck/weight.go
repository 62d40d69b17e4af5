package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// average is an exponential moving average; the zero value has seen no number.
type average struct {
	value float64
	any   bool
}

// add takes a number. The part is how much it counts, above 0 to 1.
func (a *average) add(v, part float64) {
	if !a.any {
		a.value, a.any = v, true
		return
	}
	a.value += part * (v - a.value)
}

// bounded is the weight that the average stands for.
func (w *Weight) bounded(a average) uint32 {
	return uint32(math.Round(min(max(a.value, float64(w.Min)), float64(w.Max))))
}

// parseNumber reads the first word of an answer.
func parseNumber(answer string) (float64, error) {
	words := strings.Fields(answer)
	if len(words) == 0 {
		return 0, errors.New("the answer is empty and not a weight")
	}
	v, err := strconv.ParseFloat(words[0], 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("the answer %.20q is not a weight", words[0])
	}
	return v, nil
}

// slowStart is the weight of a server that came back some time ago, and when it will be more; zero for never. The weight
// grows with time to the full one, in at most twenty steps, and is never 0.
func slowStart(full uint32, since, whole time.Duration) (weight uint32, next time.Duration) {
	if since >= whole || full <= 1 {
		return full, 0
	}
	const steps = 20
	step := whole / steps
	if step <= 0 {
		return full, 0
	}
	n := since / step // done
	weight = uint32(uint64(full) * uint64(n) / steps)
	return max(weight, 1), (n+1)*step - since
}
