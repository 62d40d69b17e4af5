package sched

// threshold limits the connections of one server. The overload flag has hysteresis and is looked at only at the
// moments the kernel does so.
type threshold struct {
	upper, lower int32 // as configured
	low          int32 // effective lower threshold
	overloaded   bool
	legacy       bool // rules of kernels without a counter of all connections
}

// set stores a new pair while total connections are open. Repeating the stored pair changes nothing.
func (t *threshold) set(upper, lower, total int32) {
	if upper == t.upper && lower == t.lower {
		return
	}
	if t.legacy && (upper == 0 || upper > t.upper) {
		t.overloaded = false
	}
	t.upper, t.lower, t.low = upper, lower, lower
	if lower == 0 {
		t.low = upper - upper/4
	}
	if t.legacy {
		return
	}
	switch {
	case upper == 0 || total < t.low:
		t.overloaded = false
	case total >= upper:
		t.overloaded = true
	}
}

// opened says that a connection was opened and total are open now.
func (t *threshold) opened(total int32) {
	if t.legacy {
		if t.upper != 0 && total >= t.upper {
			t.overloaded = true
		}
		return
	}
	if total == t.upper {
		t.overloaded = true
	}
}

// closed says that a connection was closed and total remain.
func (t *threshold) closed(total int32) {
	if t.legacy {
		if t.lower != 0 && total < t.lower || t.lower == 0 && 4*int64(total) < 3*int64(t.upper) || t.upper == 0 {
			t.overloaded = false
		}
		return
	}
	if total+1 == t.low {
		t.overloaded = false
	}
}
