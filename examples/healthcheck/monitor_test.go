package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sysctl"
	"github.com/google/go-cmp/cmp"
)

// world is a monitor on an in-memory kernel, with servers that answer as they are told, in a bubble whose time passes at once.
type world struct {
	*testing.T
	kernel *ipvstest.Kernel
	client *ipvs.Client
	m      monitor
	log    bytes.Buffer
	out    bytes.Buffer
	host   fakeHost
	reload chan *Config
	dump   chan struct{}

	mu      sync.Mutex
	answers map[string]string // by what is asked; "!" and a text is a failure
	asked   map[string][]time.Time
	later   map[string]string // the answers after the next one
}

// fakeHost records what is done to it.
type fakeHost struct {
	sysctls         map[string]bool
	applied, undone int
}

func (h *fakeHost) plan(cfg *Config) (sysctl.Plan, error) {
	if cfg.throughs() == 0 || h.applied > h.undone {
		return sysctl.Plan{}, nil
	}
	return sysctl.Plan{Changes: []sysctl.Change{{Key: "x", Action: sysctl.Write}}}, nil
}
func (h *fakeHost) apply(context.Context, sysctl.Plan) error { h.applied++; return nil }
func (h *fakeHost) undo(context.Context) error               { h.undone++; return nil }
func (h *fakeHost) quiescent() bool                          { return h.sysctls["quiescent"] }
func (h *fakeHost) warnings(cfg *Config) []string {
	return warnings(cfg, h.quiescent(), h.sysctls["nodest"])
}

// inBubble runs a test of a monitor. The kernel and its client stay outside: what waits for a socket would stop time.
func inBubble(t *testing.T, f func(w *world)) {
	t.Helper()
	kernel, client := ipvstest.Start(t, nil)
	synctest.Test(t, func(t *testing.T) {
		f(&world{T: t, kernel: kernel, client: client, answers: make(map[string]string), later: make(map[string]string), asked: make(map[string][]time.Time)})
	})
}

// start runs the monitor with a configuration until stop, which returns its error.
func (w *world) start(cfg *Config) (stop func() error) {
	ctx, cancel := context.WithCancel(w.Context())
	w.reload, w.dump = make(chan *Config), make(chan struct{})
	w.m = monitor{kernel: w.client, host: &w.host, log: slog.New(slog.NewTextHandler(&w.log, nil)), out: &w.out, new: w.checker}
	done := make(chan error, 1)
	go func() { done <- w.m.run(ctx, cfg, w.reload, w.dump) }()
	synctest.Wait()
	return func() error {
		cancel()
		return <-done
	}
}

func (w *world) checker(q question) checker {
	return checkFunc(func(ctx context.Context) (string, error) {
		answer := w.next(q.String())
		if reason, bad := strings.CutPrefix(answer, "!"); bad {
			return "", errors.New(reason)
		}
		return answer, nil
	})
}

// next is the answer to a question.
func (w *world) next(question string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[question] = append(w.asked[question], time.Now())
	answer := w.answers[question]
	if later, there := w.later[question]; there {
		w.answers[question] = later
		delete(w.later, question)
	}
	return answer
}

// times returns when something was asked.
func (w *world) times(question string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked[question])
}

// answer tells what questions get from now on.
func (w *world) answer(answers ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := 0; i < len(answers); i += 2 {
		w.answers[answers[i]] = answers[i+1]
	}
}

// answerOnce tells what a question gets once, and from then on.
func (w *world) answerOnce(question, first, later string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[question], w.later[question] = first, later
}

// after lets time pass, and compares the weights that all services then have.
func (w *world) after(d time.Duration, want string) {
	w.Helper()
	time.Sleep(d)
	synctest.Wait()
	if diff := cmp.Diff(strings.Fields(want), w.weights()); diff != "" {
		w.Fatalf("weights (-want +got):\n%s\nlog:\n%s", diff, &w.log)
	}
}

// weights lists all real servers with their weights, as ADDRESS=WEIGHT, services of marks with the mark before it.
func (w *world) weights() []string {
	w.Helper()
	rules, err := w.client.Ruleset(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	list := []string{}
	for _, s := range rules.Services {
		for _, d := range s.Destinations {
			text := fmt.Sprintf("%v=%d", d.Addr, d.Weight)
			if s.ID.IsMark() {
				text = fmt.Sprintf("mark%d:%s", s.ID.FWMark, text)
			}
			list = append(list, text)
		}
		if len(s.Destinations) == 0 {
			list = append(list, s.ID.Addr.String()+"-empty")
		}
	}
	slices.Sort(list)
	return list
}

const webConfig = `{
	"defaults": {"interval": "2s", "timeout": "1s", "rise": 2, "fall": 3, "jitter": 0},
	"services": [{
		"service": "TCP 192.0.2.10:80", "action": "ACTION", "persist": "PERSISTs",
		"checks": [{"type": "tcp"}],
		"sorry": {"addr": "127.0.0.1:80", "forward": "Route"},
		"real": [{"addr": "10.0.0.2:80", "weight": 3}, {"addr": "10.0.0.3:80"}]
	}]}`

func web(t testing.TB, action string, persist int) *Config {
	return parse(t, strings.NewReplacer("ACTION", action, "PERSIST", fmt.Sprint(persist)).Replace(webConfig))
}

// The life of a service: servers come up, one fails and returns, all fail, and one returns.
func TestQuiesce(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		w.answer("tcp 10.0.0.3:80", "!refused")
		stop := w.start(web(t, actionQuiesce, 0))
		w.after(0, "10.0.0.2:80=3 10.0.0.3:80=0")
		w.answer("tcp 10.0.0.3:80", "")
		w.after(2*time.Second, "10.0.0.2:80=3 10.0.0.3:80=0")
		w.after(2*time.Second, "10.0.0.2:80=3 10.0.0.3:80=1")

		w.answer("tcp 10.0.0.2:80", "!refused")
		w.after(4*time.Second, "10.0.0.2:80=3 10.0.0.3:80=1")
		w.after(2*time.Second, "10.0.0.2:80=0 10.0.0.3:80=1")
		w.answer("tcp 10.0.0.3:80", "!broken")
		w.after(6*time.Second, "10.0.0.2:80=0 10.0.0.3:80=0 127.0.0.1:80=1")

		// The sorry server has a connection when its time is over: that goes on.
		if err := w.kernel.Namespace("").SetConns(web(t, actionQuiesce, 0).Services[0].Service, netip.MustParseAddrPort("127.0.0.1:80"), 1, 0, 0); err != nil {
			t.Fatal(err)
		}
		w.answer("tcp 10.0.0.2:80", "")
		w.after(4*time.Second, "10.0.0.2:80=3 10.0.0.3:80=0 127.0.0.1:80=0")
		if err := w.kernel.Namespace("").SetConns(web(t, actionQuiesce, 0).Services[0].Service, netip.MustParseAddrPort("127.0.0.1:80"), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		w.after(leftoverLook, "10.0.0.2:80=3 10.0.0.3:80=0")

		if err := stop(); err != nil {
			t.Fatal(err)
		}
		w.after(time.Hour, "10.0.0.2:80=3 10.0.0.3:80=0")
		for _, want := range []string{"error=refused inARow=1 of=1", "error=refused inARow=3 of=3", "server down", "reason=\"tcp 10.0.0.2:80: refused\"", "server up", "set destination", "the table serves on"} {
			if !strings.Contains(w.log.String(), want) {
				t.Errorf("%q is not in the log:\n%s", want, &w.log)
			}
		}
	})
}

func TestRemove(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		w.answer("tcp 10.0.0.2:80", "!refused")
		stop := w.start(web(t, actionRemove, 300))
		w.after(0, "10.0.0.3:80=1")
		w.answer("tcp 10.0.0.3:80", "!refused")
		w.after(6*time.Second, "127.0.0.1:80=1")
		w.answer("tcp 10.0.0.2:80", "")
		w.after(4*time.Second, "10.0.0.2:80=3")
		if err := stop(); err != nil || !strings.Contains(w.log.String(), "expire_nodest_conn is 0") {
			t.Errorf("%v\n%s", err, &w.log)
		}
	})
}

// A server that a table has in service when the program starts stays there until it has failed often enough; one that it
// does not waits for its first check. Drift is mended, foreign services are not touched.
func TestAdoption(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		cfg := web(t, actionQuiesce, 0)
		foreign := ipvs.Service{ID: ipvs.Mark(9, ipvs.IPv4), Scheduler: "rr"}
		s := cfg.Services[0].kernel()
		s.Scheduler = "rr"
		d := ipvs.NewDestination(netip.MustParseAddrPort("10.0.0.2:80"))
		err := errors.Join(w.client.AddService(t.Context(), foreign), w.client.AddDestination(t.Context(), foreign.ID, d),
			w.client.AddService(t.Context(), s), w.client.AddDestination(t.Context(), s.ID, d))
		if err != nil {
			t.Fatal(err)
		}
		w.answer("tcp 10.0.0.2:80", "!refused", "tcp 10.0.0.3:80", "!refused")
		stop := w.start(cfg)
		w.after(0, "10.0.0.2:80=3 10.0.0.3:80=0 mark9:10.0.0.2:80=1")
		w.after(4*time.Second, "10.0.0.2:80=0 10.0.0.3:80=0 127.0.0.1:80=1 mark9:10.0.0.2:80=1")
		if got, err := w.client.Service(t.Context(), s.ID); err != nil || got.Scheduler != "wlc" {
			t.Errorf("%+v, %v", got, err)
		}
		if err := w.client.DeleteService(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
		w.after(30*time.Second, "10.0.0.2:80=0 10.0.0.3:80=0 127.0.0.1:80=1 mark9:10.0.0.2:80=1")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// What a new configuration has in common with the old one is not touched: the checks keep their rhythm and their counts, and
// the table gets no request but for what has changed.
func TestReload(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		text := func(real string) *Config {
			return parse(t, `{"defaults": {"interval": "2s", "rise": 2, "fall": 3, "jitter": 0}, "services": [
				{"service": "TCP 192.0.2.10:80", "checks": [{"type": "tcp"}], "real": [{"addr": "10.0.0.2:80"}, `+real+`]}]}`)
		}
		two := parse(t, `{"defaults": {"interval": "2s", "jitter": 0}, "services": [
			{"service": "TCP 192.0.2.10:80", "checks": [{"type": "tcp"}], "real": [{"addr": "10.0.0.2:80"}, {"addr": "10.0.0.3:80"}]},
			{"service": "UDP 192.0.2.10:53", "checks": [{"type": "tcp"}], "real": [{"addr": "10.0.0.5:53"}]}]}`)
		stop := w.start(two)
		w.after(time.Second, "10.0.0.2:80=1 10.0.0.3:80=1 10.0.0.5:53=1")
		w.answer("tcp 10.0.0.2:80", "!refused")
		w.after(4*time.Second, "10.0.0.2:80=1 10.0.0.3:80=1 10.0.0.5:53=1") // failed twice
		before := len(w.kernel.Requests())
		w.answer("tcp 10.0.0.4:80", "!refused")
		if err := w.kernel.Namespace("").SetConns(two.Services[0].Service, netip.MustParseAddrPort("10.0.0.3:80"), 0, 1, 0); err != nil {
			t.Fatal(err)
		}
		w.reload <- text(`{"addr": "10.0.0.4:80"}`)
		w.after(0, "10.0.0.2:80=1 10.0.0.3:80=0 10.0.0.4:80=0")
		var changes []string
		for _, r := range w.kernel.Requests()[before:] {
			if !strings.HasPrefix(r.Op, "list") && !strings.HasPrefix(r.Op, "get") && r.Op != "list services" {
				changes = append(changes, r.Op)
			}
		}
		slices.Sort(changes)
		if diff := cmp.Diff([]string{"add destination", "delete service", "set destination"}, changes); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		w.after(time.Second, "10.0.0.2:80=0 10.0.0.3:80=0 10.0.0.4:80=0") // the third failure counts with the two of before
		if err := w.kernel.Namespace("").SetConns(two.Services[0].Service, netip.MustParseAddrPort("10.0.0.3:80"), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		w.after(time.Second, "10.0.0.2:80=0 10.0.0.4:80=0")
		if asked := w.times("tcp 10.0.0.2:80"); asked[3].Sub(asked[0]) != 6*time.Second {
			t.Errorf("asked at %v", asked)
		}
		n := len(w.times("tcp 10.0.0.5:53"))
		w.after(10*time.Second, "10.0.0.2:80=0 10.0.0.4:80=0")
		if len(w.times("tcp 10.0.0.5:53")) != n {
			t.Error("a server that is not in the configuration any more is asked")
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A weight that comes from a check is smoothed and bounded; declared ones return with slow start.
func TestWeights(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		cfg := parse(t, `{"defaults": {"interval": "1s", "rise": 1, "fall": 1, "jitter": 0}, "services": [
			{"service": "TCP 192.0.2.10:80", "slowStart": "20s", "real": [
				{"addr": "10.0.0.2:80", "weight": 5, "checks": [{"type": "tcp"}, {"type": "command", "command": ["load"], "weight": {"max": 100, "smooth": 0.5}}]},
				{"addr": "10.0.0.3:80", "weight": 100, "checks": [{"type": "tcp"}]},
				{"addr": "10.0.0.4:80", "weight": 0}]}]}`)
		w.answer("command load", "40 percent", "tcp 10.0.0.3:80", "!refused")
		stop := w.start(cfg)
		w.after(0, "10.0.0.2:80=40 10.0.0.3:80=0 10.0.0.4:80=0")
		w.answer("command load", "20")
		w.after(time.Second, "10.0.0.2:80=30 10.0.0.3:80=0 10.0.0.4:80=0")
		w.answer("command load", "1e6")
		w.after(time.Second, "10.0.0.2:80=100 10.0.0.3:80=0 10.0.0.4:80=0")
		w.answer("command load", "nothing")
		w.after(time.Second, "10.0.0.2:80=100 10.0.0.3:80=0 10.0.0.4:80=0")
		w.answer("tcp 10.0.0.3:80", "")
		w.after(time.Second, "10.0.0.2:80=100 10.0.0.3:80=1 10.0.0.4:80=0")
		w.after(5*time.Second, "10.0.0.2:80=100 10.0.0.3:80=25 10.0.0.4:80=0")
		w.after(14*time.Second, "10.0.0.2:80=100 10.0.0.3:80=95 10.0.0.4:80=0")
		w.after(time.Second, "10.0.0.2:80=100 10.0.0.3:80=100 10.0.0.4:80=0")
		if strings.Count(w.log.String(), `the answer \"nothing\" is not a weight`) != 1 { // not with every check
			t.Errorf("log:\n%s", &w.log)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		// A server that is in service already gets its weight with the first answer, the least one too.
		w.answer("command load", "0")
		stop = w.start(cfg)
		w.after(0, "10.0.0.2:80=1 10.0.0.3:80=100 10.0.0.4:80=0")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		// What a server said before it failed is forgotten when it is back.
		cfg.Services[0].SlowStart = 0
		w.answer("command load", "100")
		stop = w.start(cfg)
		w.after(0, "10.0.0.2:80=100 10.0.0.3:80=100 10.0.0.4:80=0")
		w.answer("command load", "!broken")
		w.after(time.Second, "10.0.0.2:80=0 10.0.0.3:80=100 10.0.0.4:80=0")
		w.answer("command load", "10")
		w.after(time.Second, "10.0.0.2:80=10 10.0.0.3:80=100 10.0.0.4:80=0")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A persistent service: the sorry server does not stay behind, and a warning says what weight 0 does not do.
func TestPersistence(t *testing.T) {
	for _, quiescent := range []bool{false, true} {
		inBubble(t, func(w *world) {
			t := w.T
			w.host.sysctls = map[string]bool{"quiescent": quiescent}
			w.answer("tcp 10.0.0.2:80", "!refused", "tcp 10.0.0.3:80", "!refused")
			cfg := web(t, actionQuiesce, 300)
			stop := w.start(cfg)
			w.after(0, "10.0.0.2:80=0 10.0.0.3:80=0 127.0.0.1:80=1")
			if err := w.kernel.Namespace("").SetConns(cfg.Services[0].Service, netip.MustParseAddrPort("127.0.0.1:80"), 1, 0, 1); err != nil {
				t.Fatal(err)
			}
			w.answer("tcp 10.0.0.2:80", "")
			if quiescent {
				w.after(4*time.Second, "10.0.0.2:80=3 10.0.0.3:80=0 127.0.0.1:80=0")
			} else {
				w.after(4*time.Second, "10.0.0.2:80=3 10.0.0.3:80=0")
			}
			if warned := strings.Contains(w.log.String(), "expire_quiescent_template is 0"); warned == quiescent {
				t.Errorf("quiescent %v: log:\n%s", quiescent, &w.log)
			}
			// Somebody changes the setting meanwhile: the status knows it at once, the log after a while, once.
			w.host.sysctls["quiescent"] = !quiescent
			w.dump <- struct{}{}
			synctest.Wait()
			var st status
			if err := json.Unmarshal(w.out.Bytes(), &st); err != nil || (len(st.Warnings) == 1) != quiescent {
				t.Errorf("%v, %q", err, st.Warnings)
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if n := strings.Count(w.log.String(), "expire_quiescent_template is 0"); n != 1 {
				t.Errorf("quiescent %v, then not: warned %d times", quiescent, n)
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	config := func(action string, persist, weight int) *Config {
		text := strings.Replace(webConfig, `"weight": 3`, fmt.Sprintf(`"weight": %d`, weight), 1)
		return parse(t, strings.NewReplacer("ACTION", action, "PERSIST", fmt.Sprint(persist)).Replace(text))
	}
	const persistent = "service TCP 192.0.2.10:80 is persistent and net.ipv4.vs.expire_quiescent_template is 0: clients of a server "
	for _, tt := range []struct {
		action          string
		persist, weight int
		want            string
	}{
		{actionQuiesce, 0, 0, ""},
		{actionQuiesce, 300, 3, persistent + "that fails keep being sent there; set it to 1, or use the action remove"},
		{actionQuiesce, 300, 0, persistent + "that fails or has weight 0 keep being sent there; set it to 1"},
		{actionRemove, 300, 3, ""},
		{actionRemove, 300, 0, persistent + "of weight 0 keep being sent there; set it to 1, or leave the server out"},
	} {
		if got := strings.Join(warnings(config(tt.action, tt.persist, tt.weight), false, true), "\n"); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
		if got := warnings(config(tt.action, tt.persist, tt.weight), true, true); len(got) > 0 {
			t.Errorf("%+v with expire_quiescent_template: %q", tt, got)
		}
	}
}

// Two configuration files of one name do not take each other's settings back.
func TestJournal(t *testing.T) {
	a, b := journal("/etc/lvs/a/web.json"), journal("/etc/lvs/b/web.json")
	if a == b || a != journal("/etc/lvs/a/web.json") || !strings.HasPrefix(a, "run/lvs/healthcheck-web-") || !strings.HasSuffix(a, ".json") {
		t.Errorf("%s and %s", a, b)
	}
	t.Chdir(t.TempDir())
	m, err := newMachine("web.json")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if absolute, err := newMachine(filepath.Join(dir, "web.json")); err != nil || m.journal != absolute.journal {
		t.Errorf("%v: %s and %s", err, m.journal, absolute.journal)
	}
}

// A program that is started again while all servers are down, and one that gets a configuration with a server that it has
// never asked, leaves the clients with the sorry server until it knows better.
func TestSorryStays(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		w.answer("tcp 10.0.0.2:80", "!refused", "tcp 10.0.0.3:80", "!refused", "tcp 10.0.0.4:80", "!refused")
		stop := w.start(web(t, actionQuiesce, 0))
		w.after(0, "10.0.0.2:80=0 10.0.0.3:80=0 127.0.0.1:80=1")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		begin := len(w.kernel.Requests())
		stop = w.start(web(t, actionQuiesce, 0))
		more := strings.Replace(webConfig, `"real": [`, `"real": [{"addr": "10.0.0.4:80"}, `, 1)
		w.reload <- parse(t, strings.NewReplacer("ACTION", actionQuiesce, "PERSIST", "0").Replace(more))
		w.after(0, "10.0.0.2:80=0 10.0.0.3:80=0 10.0.0.4:80=0 127.0.0.1:80=1")
		for _, r := range w.kernel.Requests()[begin:] {
			if r.Op == "set destination" || r.Op == "delete destination" {
				t.Errorf("%s: the clients had no server meanwhile\n%s", r.Op, &w.log)
			}
		}
		w.answer("tcp 10.0.0.4:80", "")
		w.after(4*time.Second, "10.0.0.2:80=0 10.0.0.3:80=0 10.0.0.4:80=1")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Checks through the virtual address have a service of a mark each, which goes with them or with the program.
func TestThrough(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		text := func(reals string) *Config {
			return parse(t, `{"defaults": {"interval": "1s", "rise": 1, "fall": 1}, "through": {"marks": [50, 51], "sources": ["10.0.0.1"]}, "services": [
				{"service": "TCP 192.0.2.10:80", "forward": "Route", "checks": [{"type": "tcp", "through": "vip"}], "real": [`+reals+`]}]}`)
		}
		left := ipvs.Service{ID: ipvs.Mark(51, ipvs.IPv4), Scheduler: "rr"} // by an earlier run that was killed
		if err := w.client.AddService(t.Context(), left); err != nil {
			t.Fatal(err)
		}
		stop := w.start(text(`{"addr": "10.0.0.2:80", "weight": 4, "upper": 5}`))
		w.after(0, "10.0.0.2:80=4 mark50:10.0.0.2:80=1")
		w.answer("tcp 192.0.2.10:80 (mark 50)", "!refused")
		w.after(time.Second, "10.0.0.2:80=0 mark50:10.0.0.2:80=1")
		w.reload <- text(`{"addr": "10.0.0.3:80"}, {"addr": "10.0.0.2:80", "weight": 4}`)
		w.after(0, "10.0.0.2:80=0 10.0.0.3:80=1 mark50:10.0.0.2:80=1 mark51:10.0.0.3:80=1")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		w.after(0, "10.0.0.2:80=0 10.0.0.3:80=1")
		if w.host.applied != 1 || w.host.undone != 1 {
			t.Errorf("settings applied %d times, undone %d times", w.host.applied, w.host.undone)
		}
		// A mark that another server had says nothing about the next one.
		w.answer("tcp 192.0.2.10:80 (mark 50)", "")
		stop = w.start(text(`{"addr": "10.0.0.2:80"}`))
		w.after(0, "10.0.0.2:80=1 mark50:10.0.0.2:80=1")
		w.answer("tcp 192.0.2.10:80 (mark 50)", "!refused")
		w.reload <- text(`{"addr": "10.0.0.3:80"}`)
		w.after(0, "10.0.0.3:80=0 mark50:10.0.0.3:80=1")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		// Another file without such checks, while the program runs.
		w.answer("tcp 192.0.2.10:80 (mark 50)", "")
		stop = w.start(text(`{"addr": "10.0.0.3:80"}`))
		w.after(0, "10.0.0.3:80=1 mark50:10.0.0.3:80=1")
		plain := parse(t, `{"services": [{"service": "TCP 192.0.2.10:80", "forward": "Route", "real": [{"addr": "10.0.0.3:80"}]}]}`)
		w.reload <- plain
		w.after(0, "10.0.0.3:80=1")
		if w.host.undone != 3 {
			t.Errorf("settings undone %d times", w.host.undone)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Another program takes away what the way to a real server by the virtual address needs. It comes back with the next check,
// whose answer, be it good or bad, is not the server's, and the question is asked again at once.
func TestThroughTakenAway(t *testing.T) {
	id := ipvs.Mark(50, ipvs.IPv4)
	server := netip.MustParseAddrPort("10.0.0.2:80")
	config := func(t *testing.T) *Config {
		return parse(t, `{"defaults": {"interval": "10s", "timeout": "1s", "rise": 1, "fall": 1, "jitter": 0}, "resync": "1h",
			"through": {"marks": [50, 50], "sources": ["10.0.0.1"]}, "services": [{"service": "TCP 192.0.2.10:80", "forward": "Route",
			"checks": [{"type": "tcp", "through": "vip"}], "real": [{"addr": "10.0.0.2:80"}]}]}`)
	}
	const question, there, down = "tcp 192.0.2.10:80 (mark 50)", "10.0.0.2:80=1 mark50:10.0.0.2:80=1", "10.0.0.2:80=0 mark50:10.0.0.2:80=1"
	for name, spoil := range map[string]func(w *world) error{
		"deleted": func(w *world) error { return w.client.DeleteService(w.Context(), id) },
		"emptied": func(w *world) error { return w.client.DeleteDestination(w.Context(), id, server) },
		"another server": func(w *world) error {
			return errors.Join(w.client.DeleteDestination(w.Context(), id, server),
				w.client.AddDestination(w.Context(), id, ipvs.NewDestination(netip.MustParseAddrPort("10.0.0.9:80"))))
		},
		"another way": func(w *world) error {
			d := ipvs.NewDestination(server)
			d.Forward = ipvs.Tunnel
			return w.client.SetDestination(w.Context(), id, d)
		},
		"weight 0": func(w *world) error { _, err := w.client.Quiesce(w.Context(), id, server); return err },
		"settings": func(w *world) error { w.host.undone++; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				t := w.T
				stop := w.start(config(t))
				w.after(5*time.Second, there)

				// Nobody answers as long as it is away.
				if err := spoil(w); err != nil {
					t.Fatal(err)
				}
				w.answerOnce(question, "!refused", "")
				w.after(5*time.Second, there)
				if n := len(w.times(question)); n != 3 {
					t.Errorf("asked %d times, and not again at once", n)
				}
				if s := w.log.String(); strings.Contains(s, "check failed") || strings.Contains(s, "server down") || strings.Count(s, "check does not count") != 1 {
					t.Errorf("log:\n%s", s)
				}

				// The server is down besides.
				if err := spoil(w); err != nil {
					t.Fatal(err)
				}
				w.answer(question, "!refused")
				w.after(10*time.Second, down)
				if n := len(w.times(question)); n != 5 {
					t.Errorf("asked %d times", n)
				}

				// The director answers in its place.
				if name == "settings" {
					w.answer(question, "")
					w.after(10*time.Second, there)
				} else {
					if err := spoil(w); err != nil {
						t.Fatal(err)
					}
					w.answerOnce(question, "", "!refused")
					w.after(10*time.Second, down)
				}
				if err := stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// As long as the way cannot be mended, the server stays what it is, the log says so once, and the checks keep their rhythm.
func TestThroughRefused(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		cfg := parse(t, `{"defaults": {"interval": "10s", "timeout": "1s", "rise": 1, "fall": 1, "jitter": 0}, "resync": "1h",
			"through": {"marks": [50, 50], "sources": ["10.0.0.1"]}, "services": [{"service": "TCP 192.0.2.10:80", "forward": "Route",
			"checks": [{"type": "tcp", "through": "vip"}], "real": [{"addr": "10.0.0.2:80"}]}]}`)
		stop := w.start(cfg)
		w.after(5*time.Second, "10.0.0.2:80=1 mark50:10.0.0.2:80=1")
		remove, err := w.kernel.Inject(ipvstest.Fault{Op: "add service", Errno: syscall.ENOMEM})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.client.DeleteService(t.Context(), ipvs.Mark(50, ipvs.IPv4)); err != nil {
			t.Fatal(err)
		}
		const question = "tcp 192.0.2.10:80 (mark 50)"
		w.answer(question, "!refused")
		w.after(30*time.Second, "10.0.0.2:80=1")
		if n := len(w.times(question)); n != 5 { // the first, and three more, of which one is asked again
			t.Errorf("asked %d times: %v", n, w.times(question))
		}
		if s := w.log.String(); strings.Count(s, "check does not count") != 1 || strings.Count(s, "table not changed") > 2 {
			t.Errorf("log:\n%s", s)
		}
		remove()
		w.after(10*time.Second, "10.0.0.2:80=0 mark50:10.0.0.2:80=1")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A kernel that refuses is asked again, and the log says what is wrong once.
func TestRefusals(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		remove, err := w.kernel.Inject(ipvstest.Fault{Op: "add destination", Errno: syscall.ENOMEM})
		if err != nil {
			t.Fatal(err)
		}
		stop := w.start(web(t, actionQuiesce, 0))
		w.after(3*time.Second, "192.0.2.10:80-empty")
		remove()
		w.after(retry, "10.0.0.2:80=3 10.0.0.3:80=1")
		if strings.Count(w.log.String(), "table not changed") != 2 { // once for each server
			t.Errorf("log:\n%s", &w.log)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// From the death of a server to the end of its traffic it takes fall intervals at most, jitter or not.
func TestReactionTime(t *testing.T) {
	for _, jitter := range []string{"0", "0.5", "1"} {
		inBubble(t, func(w *world) {
			t := w.T
			cfg := parse(t, `{"defaults": {"interval": "2s", "rise": 1, "fall": 3, "jitter": `+jitter+`}, "services": [
				{"service": "TCP 192.0.2.10:80", "checks": [{"type": "tcp"}], "real": [{"addr": "10.0.0.2:80"}]}]}`)
			stop := w.start(cfg)
			for range 20 {
				w.after(1234*time.Millisecond, "10.0.0.2:80=1")
				w.answer("tcp 10.0.0.2:80", "!refused")
				w.after(6*time.Second, "10.0.0.2:80=0")
				w.answer("tcp 10.0.0.2:80", "")
				w.after(2*time.Second, "10.0.0.2:80=1")
			}
			at := w.times("tcp 10.0.0.2:80")
			for i := range at[1:] {
				if d := at[i+1].Sub(at[i]); d > 2*time.Second || jitter == "0" && d != 2*time.Second {
					t.Errorf("jitter %s: an interval of %v", jitter, d)
				}
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The status on demand is JSON with what is known.
func TestStatus(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		w.answer("tcp 10.0.0.2:80", "!refused", "tcp 10.0.0.3:80", "!refused")
		stop := w.start(web(t, actionQuiesce, 0))
		w.dump <- struct{}{}
		synctest.Wait()
		var got status
		if err := json.Unmarshal(w.out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		check := checkStatus{Check: "tcp 10.0.0.2:80", State: "down", Error: "refused"}
		check.At = got.Services[0].Real[0].Checks[0].At
		want := realStatus{Addr: netip.MustParseAddrPort("10.0.0.2:80"), State: "down", Checks: []checkStatus{check}}
		if s := got.Services[0]; !s.Sorry || len(s.Real) != 2 || fmt.Sprint(s.Real[0]) != fmt.Sprint(want) || check.At.IsZero() {
			t.Errorf("got %+v", got)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// No goroutine is left, and no check under way holds the program up.
func TestStopWhileChecking(t *testing.T) {
	inBubble(t, func(w *world) {
		t := w.T
		cfg := web(t, actionQuiesce, 0)
		ctx, cancel := context.WithCancel(t.Context())
		waiting := checkFunc(func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() })
		w.m = monitor{kernel: w.client, host: &w.host, log: slog.New(slog.NewTextHandler(io.Discard, nil)), new: func(question) checker { return waiting }}
		done := make(chan error, 1)
		go func() { done <- w.m.run(ctx, cfg, nil, nil) }()
		w.after(500*time.Millisecond, "10.0.0.2:80=0 10.0.0.3:80=0")
		begin := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if keys := slices.Collect(maps.Keys(w.m.running)); len(keys) != 2 {
			t.Errorf("probes: %q", keys)
		}
	})
}
