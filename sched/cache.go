package sched

import (
	"net/netip"
	"time"
)

// The kernel sets its timer to 60 seconds, and its timer wheel rounds that up to 12 steps of 5.12 s, 30 of 2.048 s or 15 of
// 4.096 s, with 100, 250 and 1000 ticks a second: always 61.44 s. Observed on Linux 6.1 and 6.12.
const cachePeriod = 61440 * time.Millisecond

const (
	cacheBits     = 10
	cacheLimit    = 16 << cacheBits      // more entries than this are too many
	cacheCeiling  = cacheLimit * 3 / 2   // with so many, none is added
	cacheFull     = 30                   // every so many periods, all entries are looked at
	cachePartial  = 6 * 60 * time.Second // idle time after which an entry of a crowded cache may go
	cacheMaxEvict = cacheLimit / 2       // entries that one partial check aims at, at most
)

// ticks are counts of the kernel's clock, HZ of them a second.
type ticks int64

func (c *Config) ticks(d time.Duration) ticks {
	hz := time.Duration(c.HZ)
	return ticks(d/time.Second*hz + d%time.Second*hz/time.Second)
}

// entry says which servers a destination address goes to: one for lblc, a set for lblcr.
type entry struct {
	dest     netip.Addr
	servers  []*Server // newest last
	used     ticks     // last looked up
	modified ticks     // last change of the set
	next     *entry    // in the same bucket
}

// cache maps destination addresses to entries, and forgets those that have not been used for long.
type cache struct {
	config  *Config
	buckets [1 << cacheBits]*entry
	entries int
	due     ticks // next run of the timer
	periods int   // since the last full check, and one
	rover   int   // bucket where the last partial check ended
}

func newCache(c *Config, now time.Duration) *cache {
	return &cache{config: c, due: c.ticks(now) + c.ticks(cachePeriod), periods: 1}
}

func bucket(dest netip.Addr) uint32 { return hash32(fold(dest), cacheBits) }

func (c *cache) find(dest netip.Addr) *entry {
	e := c.buckets[bucket(dest)]
	for e != nil && e.dest != dest {
		e = e.next
	}
	return e
}

// insert makes an entry with one server, or none if the cache is full.
func (c *cache) insert(dest netip.Addr, d *Server, now ticks) {
	if c.entries >= cacheCeiling {
		return
	}
	head := &c.buckets[bucket(dest)]
	e := &entry{dest: dest, used: now, next: *head}
	e.add(d, now)
	*head = e
	c.entries++
}

// drop removes the entries of a bucket that meet a condition and returns how many they were.
func (c *cache) drop(bucket int, unwanted func(*entry) bool) int {
	dropped := 0
	for at := &c.buckets[bucket]; *at != nil; {
		e := *at
		if !unwanted(e) {
			at = &e.next
			continue
		}
		*at = e.next
		for _, d := range e.servers {
			d.cached--
		}
		dropped++
	}
	c.entries -= dropped
	return dropped
}

func (c *cache) remove(e *entry) {
	c.drop(int(bucket(e.dest)), func(x *entry) bool { return x == e })
}

func (c *cache) clear() {
	for i := range c.buckets {
		c.drop(i, func(*entry) bool { return true })
	}
}

// advance runs the timer up to now.
func (c *cache) advance(now ticks) {
	for period := c.config.ticks(cachePeriod); c.due <= now; c.due += period {
		if c.entries == 0 { // nothing to check: skip all periods at once
			n := (now - c.due) / period
			c.due += n * period
			c.periods = 1 + int((ticks(c.periods-1)+n)%cacheFull)
		}
		c.check(c.due)
	}
}

func (c *cache) check(now ticks) {
	switch {
	case c.periods%cacheFull == 0:
		c.checkAll(now)
		c.periods = 1
	case c.entries <= cacheLimit:
		c.periods++
	default:
		c.checkSome(now)
	}
}

func (c *cache) checkAll(now ticks) {
	expiration := c.config.ticks(c.config.CacheExpiration)
	for i := range c.buckets {
		c.drop(i, func(e *entry) bool { return now-e.used >= expiration })
	}
}

// checkSome makes room in a crowded cache, bucket by bucket from where it ended the last time.
func (c *cache) checkSome(now ticks) {
	idle := c.config.ticks(cachePartial)
	goal := min((c.entries-cacheLimit)*4/3, cacheMaxEvict)
	for range c.buckets {
		c.rover = (c.rover + 1) % len(c.buckets)
		goal -= c.drop(c.rover, func(e *entry) bool { return now-e.used >= idle })
		if goal <= 0 {
			break
		}
	}
}

// has reports whether the set has the server.
func (e *entry) has(d *Server) bool {
	for _, x := range e.servers {
		if x == d {
			return true
		}
	}
	return false
}

func (e *entry) add(d *Server, now ticks) {
	e.servers = append(e.servers, d)
	e.modified = now
	d.cached++
}
