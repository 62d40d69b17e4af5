package main

import (
	"bufio"
	"container/heap"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golvs/lvs/sched"
)

// generator writes a trace from a few numbers.
type generator struct {
	owns map[string]bool // names of its flags

	clients   int
	rate      float64 // connections per second
	length    float64 // seconds
	hold      holding
	hot       hotClients
	servers   int
	weights   []uint32
	failures  []failure
	scheduler string
	method    string
	protocol  string
	persist   int
}

// holding is the distribution of the times for which connections stay open.
type holding struct {
	name    string
	seconds float64
}

// hotClients are a few clients that make a large part of the connections.
type hotClients struct {
	count   int
	percent float64
}

// failure is a server that goes, and perhaps comes back.
type failure struct {
	server int // from 1
	at     float64
	back   float64 // 0 for never
}

var methods = map[string]string{"dr": "-g", "tun": "-i", "nat": "-m"}

func (g *generator) flags(f *flag.FlagSet) {
	*g = generator{
		clients: 200, rate: 20, length: 60, hold: holding{"exp", 5}, servers: 3, scheduler: "wlc", method: "dr", protocol: "tcp",
	}
	before := map[string]bool{}
	f.VisitAll(func(v *flag.Flag) { before[v.Name] = true })
	f.IntVar(&g.clients, "clients", g.clients, "`number` of clients")
	f.Float64Var(&g.rate, "rate", g.rate, "new connections per second, at random times")
	f.Float64Var(&g.length, "length", g.length, "length in `seconds`")
	f.Func("hold", "how long connections stay open: exp:MEAN, fixed:TIME or pareto:LEAST, in `seconds` (default exp:5)", g.parseHold)
	f.Func("hot", "`N:PERCENT`: so many clients make this part of the connections", g.parseHot)
	f.IntVar(&g.servers, "servers", g.servers, "`number` of servers")
	f.Func("weights", "`weights` of the servers, separated by commas; default all 1", g.parseWeights)
	f.Func("fail", "`SERVER@TIME` or SERVER@TIME-BACK: a server is removed, and added again; may be repeated", g.parseFail)
	f.StringVar(&g.scheduler, "scheduler", g.scheduler, "`name` of the scheduler")
	f.StringVar(&g.method, "method", g.method, "forwarding `method`: dr, tun or nat")
	f.StringVar(&g.protocol, "protocol", g.protocol, "`tcp or udp`")
	f.IntVar(&g.persist, "persist", 0, "persistence in `seconds`; 0 for none")
	g.owns = map[string]bool{}
	f.VisitAll(func(v *flag.Flag) {
		if !before[v.Name] {
			g.owns[v.Name] = true
		}
	})
}

func (g *generator) parseHold(s string) error {
	name, number, _ := strings.Cut(s, ":")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n > 0) || math.IsInf(n, 0) || !slices.Contains([]string{"exp", "fixed", "pareto"}, name) {
		return errors.New("expected exp:MEAN, fixed:TIME or pareto:LEAST with a time in seconds above 0")
	}
	g.hold = holding{name, n}
	return nil
}

func (g *generator) parseHot(s string) error {
	count, percent, _ := strings.Cut(s, ":")
	n, err := strconv.Atoi(count)
	p, err2 := strconv.ParseFloat(percent, 64)
	if err != nil || err2 != nil || n < 1 || !(p >= 0 && p <= 100) {
		return errors.New("expected N:PERCENT, such as 5:40")
	}
	g.hot = hotClients{n, p}
	return nil
}

func (g *generator) parseWeights(s string) error {
	g.weights = nil
	for word := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseUint(word, 10, 31)
		if err != nil {
			return fmt.Errorf("weight %q is not a number from 0 to 2147483647", word)
		}
		g.weights = append(g.weights, uint32(n))
	}
	return nil
}

func (g *generator) parseFail(s string) error {
	server, when, ok := strings.Cut(s, "@")
	from, to, returns := strings.Cut(when, "-")
	n, err := strconv.Atoi(server)
	at, err2 := strconv.ParseFloat(from, 64)
	f := failure{server: n, at: at}
	if returns {
		var err3 error
		if f.back, err3 = strconv.ParseFloat(to, 64); err3 != nil || !(f.back > f.at) {
			ok = false
		}
	}
	if !ok || err != nil || err2 != nil || n < 1 || !(at >= 0) {
		return errors.New("expected SERVER@TIME or SERVER@TIME-BACK, such as 2@30-45")
	}
	g.failures = append(g.failures, f)
	return nil
}

// maxNumber is the number of clients or servers that have an address.
const maxNumber = 1 << 16

func (g *generator) check() error {
	switch {
	case g.clients < 1 || g.clients > maxNumber:
		return fmt.Errorf("-clients %d is not from 1 to %d", g.clients, maxNumber)
	case g.servers < 1 || g.servers > maxNumber:
		return fmt.Errorf("-servers %d is not from 1 to %d", g.servers, maxNumber)
	case !(g.rate > 0 && g.rate <= 1e7):
		return fmt.Errorf("-rate %v is not above 0, and at most 10000000", g.rate)
	case !(g.length > 0 && g.length <= 1e8):
		return fmt.Errorf("-length %v is not above 0, and at most 100000000", g.length)
	case g.weights != nil && len(g.weights) != g.servers:
		return fmt.Errorf("%d -weights for %d servers", len(g.weights), g.servers)
	case g.hot.count > g.clients:
		return fmt.Errorf("-hot has more clients than %d", g.clients)
	case !slices.Contains(sched.Names(), g.scheduler):
		return fmt.Errorf("-scheduler %q is none of %s", g.scheduler, strings.Join(sched.Names(), " "))
	case methods[g.method] == "":
		return fmt.Errorf("-method %q is none of dr, tun and nat", g.method)
	case g.protocol != "tcp" && g.protocol != "udp":
		return fmt.Errorf("-protocol %q is neither tcp nor udp", g.protocol)
	case g.persist < 0 || g.persist > 2678400:
		return fmt.Errorf("-persist %d is not from 0 to 2678400", g.persist)
	}
	for _, f := range g.failures {
		if f.server > g.servers {
			return fmt.Errorf("-fail names server %d of %d", f.server, g.servers)
		}
	}
	return nil
}

// line is a line of the trace that is to come.
type line struct {
	at   time.Duration
	seq  int
	text string
}

// lines is a heap by time.
type lines []line

func (l lines) Len() int { return len(l) }
func (l lines) Less(i, j int) bool {
	return l[i].at < l[j].at || l[i].at == l[j].at && l[i].seq < l[j].seq
}
func (l lines) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l *lines) Push(x any)   { *l = append(*l, x.(line)) }
func (l *lines) Pop() any {
	old := *l
	x := old[len(old)-1]
	*l = old[:len(old)-1]
	return x
}

// writer writes lines in the order of their times.
type writer struct {
	out  *bufio.Writer
	wait lines
	seq  int
	now  time.Duration
	end  time.Duration
}

func (w *writer) add(at time.Duration, format string, args ...any) {
	if at <= w.end {
		w.seq++
		heap.Push(&w.wait, line{at, w.seq, fmt.Sprintf(format, args...)})
	}
}

// flush writes what comes up to a time.
func (w *writer) flush(to time.Duration) {
	for len(w.wait) > 0 && w.wait[0].at <= to {
		l := heap.Pop(&w.wait).(line)
		if l.at > w.now {
			w.now = l.at
			fmt.Fprintf(w.out, "at %s\n", exactSeconds(l.at))
		}
		fmt.Fprintln(w.out, l.text)
	}
}

// exactSeconds prints microseconds without losing any.
func exactSeconds(t time.Duration) string {
	return strconv.FormatFloat(float64(t/time.Microsecond)/1e6, 'f', -1, 64)
}

func moment(seconds float64) time.Duration {
	if seconds >= 1e9 {
		return math.MaxInt64 / 2
	}
	return time.Duration(seconds*1e6).Truncate(1) * time.Microsecond
}

const genVIP = "10.0.0.100:80"

// write writes the trace. Errors of the writer show when it is flushed.
func (g *generator) write(ctx context.Context, out *bufio.Writer, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	option := map[string]string{"tcp": "-t", "udp": "-u"}[g.protocol] + " " + genVIP
	fmt.Fprintf(out, "# %d clients, %g connections per second for %g s, held %s:%g s, seed %d\n", g.clients, g.rate, g.length, g.hold.name, g.hold.seconds, seed)
	fmt.Fprintf(out, "-A %s -s %s", option, g.scheduler)
	if g.persist > 0 {
		fmt.Fprintf(out, " -p %d", g.persist)
	}
	fmt.Fprintln(out)
	add := make([]string, g.servers)
	for i := range add {
		weight := uint32(1)
		if g.weights != nil {
			weight = g.weights[i]
		}
		add[i] = fmt.Sprintf("-a %s -r %v %s -w %d", option, genServer(i), methods[g.method], weight)
		fmt.Fprintln(out, add[i])
	}
	w := writer{out: out, end: moment(g.length)}
	for _, f := range g.failures {
		w.add(moment(f.at), "-d %s -r %v", option, genServer(f.server-1))
		if f.back > 0 {
			w.add(moment(f.back), "%s", add[f.server-1])
		}
	}
	ports := make([]uint16, g.clients)
	for at := r.ExpFloat64() / g.rate; at < g.length; at += r.ExpFloat64() / g.rate {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.flush(moment(at))
		client := r.IntN(g.clients)
		if g.hot.count > 0 && r.Float64()*100 < g.hot.percent {
			client = r.IntN(g.hot.count)
		}
		flow := fmt.Sprintf("%s 10.%d.%d.%d:%d %s", g.protocol, 64+client>>16, client>>8&255, client&255, 1024+ports[client]%64000, genVIP)
		ports[client]++
		g.connection(&w, flow, at, g.hold.draw(r))
	}
	w.flush(w.end)
	if w.now < w.end {
		fmt.Fprintf(out, "at %s\n", exactSeconds(w.end))
	}
	return nil
}

func genServer(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte((i + 1) >> 8), byte(i + 1)}), 80)
}

// connection adds a connection from its first packet to its last.
func (g *generator) connection(w *writer, flow string, at, hold float64) {
	const trip = 0.001 // seconds from one end to the other
	w.add(moment(at), "open %s", flow)
	replies := g.method == "nat"
	if g.protocol == "udp" {
		if replies {
			w.add(moment(at+trip), "pkt %s out -", flow)
		}
		w.add(moment(at+hold), "pkt %s in -", flow)
		return
	}
	if replies {
		w.add(moment(at+trip), "pkt %s out SYN,ACK", flow)
	}
	w.add(moment(at+2*trip), "pkt %s in ACK", flow)
	end := at + 2*trip + hold
	w.add(moment(end), "pkt %s in FIN,ACK", flow)
	if replies {
		w.add(moment(end+trip), "pkt %s out FIN,ACK", flow)
	}
	w.add(moment(end+2*trip), "pkt %s in ACK", flow)
}

// draw returns a time in seconds.
func (h holding) draw(r *rand.Rand) float64 {
	switch h.name {
	case "fixed":
		return h.seconds
	case "pareto": // with the exponent 1.5, which gives a mean of three times the least
		return h.seconds / math.Pow(1-r.Float64(), 1/1.5)
	}
	return h.seconds * r.ExpFloat64()
}
