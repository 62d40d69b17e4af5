package sched

import (
	"os"
	"strings"
	"testing"
)

// mutation is a typical mistake in one of the algorithms. The tests of this package must notice each of them; that is
// checked by
//
//	go test -tags mutation -run TestMutationsAreCaught -timeout 30m .
//
// which builds and tests the package once for each mutation (see mutations_run_test.go).
type mutation struct {
	file     string
	old, new string // old occurs in the file exactly once
	mistake  string
}

var mutations = []mutation{
	{"list.go", "for i := len(l.slots) - 1; i >= 0; i-- {", "for i := range l.slots {", "a new server comes last"},
	{"list.go", "for i++; i < len(l.slots); i++ {", "for i--; i >= 0; i-- {", "rr: skip one after removing the server used last"},
	{"server.go", "return d.active<<8 + d.total\n", "return d.active<<8 + d.Inactive()\n", "overhead of 256 active + inactive"},
	{"server.go", "return d.weight > 0 && !d.limit.overloaded", "return !d.limit.overloaded", "weight 0 is usable"},
	{"server.go", "return d.weight > 0 && !d.limit.overloaded", "return d.weight > 0", "overload does not matter to the hash schedulers"},
	{"server.go", "d.limit.opened(d.total)", "", "thresholds: new connections are not looked at"},
	{"server.go", "d.limit.closed(d.total)", "", "thresholds: closed connections are not looked at"},

	{"threshold.go", "t.low = upper - upper/4", "t.low = upper * 3 / 4", "thresholds: three quarters rounded down"},
	{"threshold.go", "if total == t.upper {", "if total == t.upper+1 {", "thresholds: one connection too many"},
	{"threshold.go", "if total+1 == t.low {", "if total == t.low {", "thresholds: taken back one too early"},
	{"threshold.go", "case total >= upper:", "case total > upper:", "thresholds: an edit to the very count does not set"},
	{"threshold.go", "upper == 0 || total < t.low:", "upper == 0 || total < upper:", "thresholds: an edit clears between the two"},
	{"threshold.go", "if t.upper != 0 && total >= t.upper {", "if t.upper != 0 && total > t.upper {", "thresholds, legacy: one connection too many"},
	{"threshold.go", "4*int64(total) < 3*int64(t.upper)", "4*int64(total) <= 3*int64(t.upper)", "thresholds, legacy: taken back one too early"},

	{"scheduler.go", "d.in = s\n", "d.in = s\n\td.active, d.total = 0, 0\n", "a server comes back without its connections"},
	{"scheduler.go", "if name == s.name {", "if false {", "asking for the same scheduler starts it over"},
	{"scheduler.go", "if c.Weight != 0 {\n\t\td.lastWeight = c.Weight\n\t}", "d.lastWeight = c.Weight", "mh: quiescing takes the slots away"},
	{"scheduler.go", "d.lastWeight = c.Weight\n\td.set(c)\n\ts.algo.added(d)", "if c.Weight != 0 {\n\t\td.lastWeight = c.Weight\n\t}\n\td.set(c)\n\ts.algo.added(d)", "mh: a server that comes back quiesced has slots"},

	{"usability.go", "if row[i] >= least {", "if row[i] > least {", "wrr: a weight equal to the level is passed over"},
	{"usability.go", "row[i] < least; {", "row[i] <= least; {", "wrr, rr: the wrong server of a block"},
	{"rr.go", "if r.cursor == d {", "if false {", "rr: the cursor stays on a removed server"},
	{"rr.go", "if i < 0 { // from", "if i < 0 && r.cursor == nil { // from", "rr: no second round"},
	{"wrr.go", "w.top = w.largest - (w.step - 1)", "w.top = w.largest", "wrr: the top level is the largest weight"},
	{"wrr.go", "w.level = w.level/w.step*w.step + 1", "", "wrr: the level is not adjusted to a new divisor"},
	{"wrr.go", "case w.level > w.top || w.level == 0:", "case w.level > w.top:", "wrr: level 0 stays"},
	{"wrr.go", "w.cursor = head\n\tswitch {", "switch {", "wrr: the position survives a change"},
	{"wrr.go", "w.level <= w.step {\n\t\tw.level = 1", "w.level < w.step {\n\t\tw.level = 1", "wrr: a futile walk ends in the wrong place"},
	{"wrr.go", "if w.level <= 0 {", "if w.level < 0 {", "wrr: level 0 is walked, too"},
	{"wrr.go", "w.level -= w.step\n", "w.level--\n", "wrr: levels go down one by one"},

	{"least.go", "left := int64(^i & 1)", "left := int64(i & 1)", "the last of equals wins"},
	{"least.go", "if earlier.above(later) {", "if !later.above(earlier) {", "the last of equals wins in a new tree"},
	{"least.go", "return a.cost*int64(b.weight) > b.cost*int64(a.weight)", "return a.cost/int64(max(a.weight, 1)) > b.cost/int64(max(b.weight, 1))", "loads are rounded"},
	{"least.go", "t.wild = t.wild || cost < 0", "", "negative overhead of a quiesced server is ignored"},
	{"least.go", "&& !d.limit.overloaded {\n\t\t\tcost", "{\n\t\t\tcost", "overload does not matter to the least-connection family"},
	{"lc.go", "int64(uint32(d.overhead()))", "int64(d.overhead())", "lc: signed comparison"},
	{"lc.go", "min(d.weight, 1)", "d.weight", "lc: weights matter"},
	{"wlc.go", "int64(d.overhead()), d.weight", "int64(d.active)<<8 + int64(d.total), d.weight", "wlc: overhead does not wrap around"},
	{"wlc.go", "int64(d.overhead()), d.weight", "int64(d.overhead()) + 1, d.weight", "wlc: counts the connection to come"},
	{"sed.go", "int64(d.active) + 1", "int64(d.active)", "sed: does not count the connection to come"},
	{"sed.go", "int64(d.active) + 1", "int64(d.total) + 1", "sed: inactive connections count"},
	{"nq.go", "if d.active == 0 {", "if d.total == 0 {", "nq: inactive connections count"},
	{"nq.go", "if d.active == 0 {", "if false {", "nq: idle servers get no preference"},
	{"fo.go", "return -int64(d.weight)", "return int64(d.weight)", "fo: the smallest weight"},
	{"ovf.go", "if d.active > d.weight {", "if d.active >= d.weight {", "ovf: a server is full at its weight"},
	{"ovf.go", "if d.active > d.weight {", "if d.total > d.weight {", "ovf: inactive connections count"},
	{"twos.go", "int32(below(uint32(total)+1, t.rand)), int32(below(uint32(total)+1, t.rand))", "int32(below(uint32(total), t.rand)), int32(below(uint32(total), t.rand))", "twos: shares are plain weights"},
	{"twos.go", "if b.weight*a.overhead() > a.weight*b.overhead() {", "if b.weight*a.overhead() >= a.weight*b.overhead() {", "twos: the second of equals wins"},
	{"twos.go", "if a == nil && first <= 0 {", "if a == nil && first < 0 {", "twos: draws end one server later"},
	{"twos.go", "for reject := -n % n; uint32(product) < reject; {", "for false {", "twos: biased draws"},

	{"hash.go", "v * 0x61C88647", "v * 0x61C88646", "hash: another constant"},
	{"hash.go", "return uint32(hi>>32) ^ uint32(hi) ^ uint32(lo>>32) ^ uint32(lo)", "return uint32(hi>>32) ^ 0*uint32(lo)", "hash: IPv6 addresses are not folded"},
	{"hash.go", "return sipLast(sipRound(v0, v1, v2, v3))", "return sipLast(v0, v1, v2, v3)", "hash: two final rounds"},
	{"hash.go", "bits.RotateLeft64(v1, 17) ^ v2 ^ v2>>32", "bits.RotateLeft64(v1, 17) ^ v2", "hash: half of a word is lost"},
	{"mh.go", "sipRound(v0^b, v1, v2^0xff, v3)", "sipRound(v0^b, v1, v2, v3)", "mh: a pick hashes in its own way"},
	{"mh.go", "key += uint32(client.Port())", "", "mh: the port never counts"},
	{"flow.go", "if flags&Port != 0 {", "if true {", "the port always counts"},
	{"dh.go", "h.table[i] = d\n", "if d.weight == 0 && h.list.n > 1 && i+1 < len(h.table) {\n\t\t\t\tcontinue\n\t\t\t}\n\t\t\th.table[i] = d\n", "dh: quiesced servers get no slots"},
	{"dh.go", "func (h *dh) removed(*Server) { h.stale = true }", "func (h *dh) removed(*Server) {}", "dh: not rebuilt when a server goes"},
	{"sh.go", "func (h *sh) updated(d *Server) {\n\th.stale = true", "func (h *sh) updated(d *Server) {", "sh: not rebuilt after an update"},
	{"sh.go", "start := int(2*slot) & end", "start := int(slot) & end", "sh: the fallback begins at the client's slot"},
	{"sh.go", "i < last && start/h.cycle == end/h.cycle", "false", "sh: the fallback goes on beyond the end of the table"},
	{"sh.go", "start/h.cycle == end/h.cycle", "true", "sh: the fallback goes back to the head in each round"},
	{"sh.go", "i < 0 || i < last && h.cycle > end {", "i < 0 {", "sh: the fallback finds servers that have no slots"},
	{"sh.go", "max(d.weight, 1)", "max(d.weight, 2)", "sh: small weights have two slots"},
	{"sh.go", "case h.config.Flags&Fallback == 0:", "case true:", "sh: no fallback"},
	{"mh.go", "turns:  max(1, int(d.lastWeight/divisor)>>shift),", "turns:  int(d.lastWeight/divisor) >> (0 * shift),", "mh: large weights are not scaled down"},
	{"mh.go", "-m.config.MHTableIndex/2)", "-(m.config.MHTableIndex+1)/2)", "mh: scaled down to the wrong size for odd indexes"},
	{"mh.go", "if d == without || d.lastWeight == 0 {", "if d == without || d.weight == 0 {", "mh: quiesced servers lose their slots"},
	{"prober.go", "table[hsiphash(key+(slot+next)%size, mhKeyOffset)%size]", "table[(slot+next)%size]", "mh: the fallback is linear"},
	{"prober.go", "(slot+next)%size", "next", "mh: the fallback does not begin at the client's slot"},
	{"prober.go", "p.usable++\n\t\tp.era++", "p.usable++", "mh: a server that comes back is not noticed"},
	{"prober.go", "if last.era != p.era {", "if false {", "mh: searches from before a change count"},
	{"prober.go", "return d, next\n", "return d, next + 1\n", "mh: a search goes on after the server that it found"},
	{"prober.go", "case len(p.searches) == maxSearches:", "case false:", "mh: searches are remembered without limit"},
	{"mh.go", "m.prober.blind = true", "", "mh: servers that left, but not the table, are not looked at"},
	{"mh.go", "} else {\n\t\tm.prober.note(d)\n\t}", "}", "mh: an update that builds no table is not noticed"},
	{"mh.go", "hsiphash(key, mhKeySkip)", "hsiphash(key, mhKeyOffset)", "mh: one key for both hashes"},
	{"mh.go", "%(size-1) + 1", "%size + 1", "mh: strides from 1 to the table's size"},
	{"mh.go", "} else if m.stale {\n\t\tm.build(d)\n\t}", "}", "mh: with too many servers the table has the newest, too"},

	{"cache.go", "return now-e.used >= expiration", "return now-e.used > expiration", "cache: entries stay one tick longer"},
	{"cache.go", "return now-e.used >= idle", "return now-e.used > idle", "cache: entries of a crowded cache stay one tick longer"},
	{"cache.go", "if c.entries >= cacheCeiling {", "if c.entries > cacheCeiling {", "cache: one entry too many"},
	{"cache.go", "c.rover = (c.rover + 1) % len(c.buckets)\n\t\tgoal", "c.rover = c.rover % len(c.buckets)\n\t\tgoal", "cache: the rover stays"},
	{"cache.go", "if goal <= 0 {", "if goal < 0 {", "cache: one bucket too many"},
	{"cache.go", "periods: 1}", "periods: 0}", "cache: the first check comes a minute late"},
	{"cache.go", "c.periods = 1 + int((ticks(c.periods-1)+n)%cacheFull)", "", "cache: an empty cache forgets the rhythm of checks"},
	{"cache.go", "e.servers = append(e.servers, d)", "e.servers = append([]*Server{d}, e.servers...)", "lblcr: a new server joins at the end"},
	{"locality.go", "d.active > d.weight && l.idle.n > 0", "d.active >= d.weight && l.idle.n > 0", "lblc, lblcr: a server at its weight has too much"},
	{"locality.go", "d.active > d.weight && l.idle.n > 0", "d.active > d.weight", "lblc, lblcr: no look at the other servers"},
	{"locality.go", "2*d.active < d.weight", "2*d.active <= d.weight", "lblc, lblcr: half the weight is little enough"},
	{"locality.go", "i.set(d.slot, 2*d.active < d.weight)", "i.set(d.slot, 2*d.active < d.weight && !d.limit.overloaded)", "lblc, lblcr: overloaded servers are not asked"},
	{"lblc.go", "d.Available() && d.weight > 0 &&", "d.Available() && d.usable() &&", "lblc: an entry with an overloaded server does not hold"},
	{"lblc.go", "d.Available() && d.weight > 0 &&", "d.weight > 0 &&", "lblc: an entry with a removed server holds"},
	{"lblc.go", "e.used = t\n", "", "lblc: looking up does not keep an entry alive"},
	{"lblcr.go", "t > e.modified+l.config", "t >= e.modified+l.config", "lblcr: the set shrinks one tick early"},
	{"lblcr.go", "e.erase(t) //", "//", "lblcr: the set never shrinks"},
	{"lblcr.go", "e.servers = append(e.servers[:most], e.servers[most+1:]...)\n\te.modified = now", "e.servers = append(e.servers[:most], e.servers[most+1:]...)", "lblcr: shrinking is no change of the set"},
	{"lblcr.go", "int64(m.overhead())*int64(d.weight) < int64(d.overhead())*int64(m.weight)", "int64(m.overhead())*int64(d.weight) <= int64(d.overhead())*int64(m.weight)", "lblcr: the oldest of equals leaves the set"},
	{"lblcr.go", "int64(best.overhead())*int64(d.weight) > int64(d.overhead())*int64(best.weight)", "int64(best.overhead())*int64(d.weight) >= int64(d.overhead())*int64(best.weight)", "lblcr: the oldest of equals in the set gets the client"},
	{"lblcr.go", "if d.limit.overloaded || !d.Available() {", "if d.limit.overloaded {", "lblcr: removed servers of the set get clients"},
	{"lblcr.go", "if d != nil && !e.has(d) {", "if d != nil {", "lblcr: a server is in the set twice"},
}

// TestMutationsApply keeps the list in step with the code.
func TestMutationsApply(t *testing.T) {
	for _, m := range mutations {
		b, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), m.old); n != 1 {
			t.Errorf("%s: %q occurs %d times, want once (%s)", m.file, m.old, n, m.mistake)
		}
		if m.old == m.new {
			t.Errorf("%s: %q does not change anything", m.file, m.mistake)
		}
	}
}
