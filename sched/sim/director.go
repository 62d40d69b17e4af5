package sim

import (
	"time"

	"github.com/golvs/lvs/persist"
	"github.com/golvs/lvs/sched"
)

// The trash is looked at every trashLook while there is something in it. A destination leaves it at the first look trashKeep
// after the one that found it unreferenced.
const (
	trashLook = 60 * time.Second
	trashKeep = 120 * time.Second
)

// Config says what a Director needs besides its tables. The zero value is a director of Linux 6.12 without the scheduler twos.
type Config struct {
	// Rand returns uniformly distributed numbers. Only the scheduler twos draws any, and is unknown without it.
	Rand func() uint32

	// RememberClients makes services remember which server each client had, for [Report]. It costs memory for each client
	// that ever came.
	RememberClients bool
}

// Director is a director without a kernel. Make one with [New]. Its clock starts at 0 and moves by [Director.Advance] only.
// It is not safe for concurrent use.
type Director struct {
	config Config
	now    time.Duration
	next   time.Duration // nothing is due before

	services map[ServiceID]*service
	order    []*service // as they were added
	ftp      int        // services with port 21
	anyPort  int        // services with port 0
	trash    []*dest
	look     time.Duration // at the trash
	visit    time.Duration // by the estimator
	total    stats

	conns     conns
	templates *persist.Table[*dest]
	dying     []uint32
	flush     bool // a destination was removed under expire_nodest_conn

	timeouts   Timeouts
	tcpQueues  [tcpStates]uint16
	sctpQueues [sctpStates]uint16
	udpQueue   uint16
	sysctls    sysctls
	dropCount  int32
}

// New returns a director without services; nil means the defaults.
func New(c *Config) *Director {
	d := &Director{
		services: make(map[ServiceID]*service), look: never, visit: sampleEvery, next: sampleEvery, conns: newConns(),
		timeouts: Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 300 * time.Second},
		sysctls:  defaultSysctls(),
	}
	if c != nil {
		d.config = *c
	}
	d.templates = persist.NewTable(&persist.Config[*dest]{Deleted: func(e *persist.Entry[*dest]) { e.Dest().pinned-- }})
	d.fillQueues()
	return d
}

// Now returns the time since the director was made.
func (d *Director) Now() time.Duration { return d.now }

// Advance moves the clock to a time since the director was made, and lets happen what is due up to then: connections and
// templates expire, the estimator comes by. An earlier time than the present does nothing.
func (d *Director) Advance(to time.Duration) {
	if to >= d.next {
		d.run(to)
	}
	d.now = max(d.now, to)
}

// run lets everything happen that is due up to a time.
func (d *Director) run(to time.Duration) {
	for {
		id, conn := d.conns.first()
		template, ok := d.templates.Next()
		if !ok {
			template = never
		}
		at := min(conn, template, d.visit, d.look)
		d.next = at
		if at > to {
			return
		}
		d.now = max(d.now, at)
		switch at { // at one moment in this order
		case conn:
			d.expire(id)
		case template:
			d.templates.Advance(at)
		case d.visit:
			d.visit += sampleEvery
			d.sample()
		case d.look:
			d.lookAtTrash()
		}
	}
}

// end lets happen what the kernel does one tick after an event.
func (d *Director) end() {
	for i := 0; i < len(d.dying); i++ {
		d.expire(d.dying[i])
	}
	d.dying = d.dying[:0]
	if d.flush {
		d.flush = false
		d.conns.all(func(id uint32, c *conn) bool {
			if c.dest != nil && !c.dest.Available() {
				d.forget(id, (*persist.Table[*dest]).Drop)
			}
			return true
		})
		d.templates.Flush()
	}
	if d.next <= d.now {
		d.run(d.now)
	}
}

// expire ends a connection in the usual way.
func (d *Director) expire(id uint32) { d.forget(id, (*persist.Table[*dest]).Release) }

// forget ends a connection and lets go of its template.
func (d *Director) forget(id uint32, release func(*persist.Table[*dest], *persist.Entry[*dest])) {
	c := d.conns.at(id)
	dst, template, was := c.dest, c.template, sched.Activity(c.flags&active != 0)
	d.conns.remove(id)
	if dst != nil {
		dst.server.Close(was)
	}
	if template != nil {
		release(d.templates, template)
	}
}

// sample is a visit of the estimator.
func (d *Director) sample() {
	if d.sysctls.runEstimation == 0 {
		return
	}
	d.total.visit()
	for _, s := range d.order {
		s.stats.visit()
		s.dests(func(t *dest) bool { t.stats.visit(); return true })
	}
}
