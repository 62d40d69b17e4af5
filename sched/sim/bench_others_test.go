//go:build !unix

package sim

import "time"

var processStart = time.Now()

// cpuTime is the time that passed, for want of a better one.
func cpuTime() time.Duration { return time.Since(processStart) }
