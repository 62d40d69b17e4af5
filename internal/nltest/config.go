package nltest

// maxTimeout is the largest connection timeout in seconds: one that still fits an int in ticks.
const maxTimeout = (1<<31 - 1) / hz

// setTimeouts executes SET_CONFIG: all or nothing, and 0 or missing leaves a timeout alone.
func (ns *Namespace) setTimeouts(f fields) Errno {
	next := ns.timeouts
	for i, attr := range []int{topTimeoutTCP, topTimeoutFIN, topTimeoutUDP} {
		if v := f.u32(attr); v != 0 {
			next[i] = v
		}
		if next[i] > maxTimeout {
			return EINVAL
		}
	}
	ns.timeouts = next
	ns.changed(TimeoutsChanged, nil, nil)
	return 0
}

// appendTimeouts writes what GET_CONFIG answers.
func (ns *Namespace) appendTimeouts(e *encoder) {
	e.u32(topTimeoutTCP, ns.timeouts[0])
	e.u32(topTimeoutFIN, ns.timeouts[1])
	e.u32(topTimeoutUDP, ns.timeouts[2])
}

// appendInfo writes what GET_INFO answers.
func (k *Kernel) appendInfo(e *encoder) {
	e.u32(infoVersion, moduleVersion)
	e.u32(infoConnSize, 1<<k.cfg.ConnTabBits)
}
