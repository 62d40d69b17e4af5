package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
)

// Each kind on a real kernel: every connection of real clients goes where the simulator says, and the templates are those
// that it predicts. For pnmpp nft sets the mark.
func TestIntegrationKinds(t *testing.T) {
	nstest.RequireKernel(t)
	lab := nstest.NewLab(t, nstest.LabConfig{Clients: 3})
	served := []port{{ipvs.TCP, 80}, {ipvs.TCP, 443}, {ipvs.TCP, 8080}, {ipvs.UDP, 53}}
	for i, rs := range lab.RealServers {
		for _, p := range served {
			if addr := netip.AddrPortFrom(rs.Addr, p.number); p.protocol == ipvs.UDP {
				rs.NS.ServeUDP(t, addr, fmt.Sprint("rs", i))
			} else {
				rs.NS.ServeTCP(t, addr, fmt.Sprint("rs", i))
			}
		}
	}
	client, err := ipvs.Dial(t.Context(), &ipvs.Config{NetNSFile: lab.Director.File()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	real := "-real " + lab.RealServers[0].Addr.String() + "," + lab.RealServers[1].Addr.String()
	for i, kind := range []string{"-kind ppc -ports 80,443,53/udp", "-kind pcc", "-kind pnmpp -ports 443,80,53/udp -mark 10 -nft", "-kind pcc -mask 24"} {
		t.Run(kind, func(t *testing.T) {
			kind, mask, _ := strings.Cut(kind, " -mask")
			vip := netip.AddrFrom4([4]byte{10, 0, 1, byte(200 + i)}) // one for each, as entries stay in the table
			lab.Director.AddAddr(t, "eth0", netip.PrefixFrom(vip, 32))
			flags := kind + " -vip " + vip.String() + " -netns " + lab.Director.Path()
			full := flags + " -scheduler rr " + real
			if mask != "" {
				full += " -mask" + mask
			}
			do := func(want int, words string) string {
				t.Helper()
				status, out, errs := try(t, "", strings.Fields(words)...)
				if status != want {
					t.Fatalf("persistence %s: status %d, want %d\n%s%s", words, status, want, out, errs)
				}
				return out
			}
			do(setup.ExitOK, "start -n "+full)
			do(setup.ExitError, "status "+full)
			do(setup.ExitOK, "start "+full)
			if out := do(setup.ExitOK, "start "+full); !strings.Contains(out, "nothing to do") {
				t.Errorf("a second start:\n%s", out)
			}
			rules, err := client.Ruleset(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			model, err := ipvstest.NewDirector(rules, nil)
			if err != nil {
				t.Fatal(err)
			}
			o := parse(t, full)

			// Visits in an order of their own for each kind, the same in every run.
			random := rand.New(rand.NewPCG(1, uint64(len(full))))
			var first string // where each client went, to see that not all went to one server
			for i := range 24 {
				c, p := lab.Clients[random.IntN(3)], served[random.IntN(len(served))]
				dst := netip.AddrPortFrom(vip, p.number)
				want := model.Establish(o.flow(netip.AddrPortFrom(c.Addr, uint16(20000+i)), p))
				ask := c.NS.AskTCP
				if p.protocol == ipvs.UDP {
					ask = c.NS.AskUDP
				}
				if want.Verdict != sim.Forwarded {
					if p == served[2] && o.kind != pcc || p == served[3] && o.kind == pcc {
						if name, err := ask(netip.AddrPort{}, dst); err == nil {
							t.Errorf("visit %d of %v to %v is answered by %s, and the model says %v", i, c.Addr, p, name, want.Verdict)
						}
						continue
					}
					t.Fatalf("visit %d of %v to %v: the model says %v", i, c.Addr, p, want.Verdict)
				}
				name, err := ask(netip.AddrPort{}, dst)
				if err != nil {
					t.Fatalf("visit %d of %v to %v: %v", i, c.Addr, p, err)
				}
				server := slices.IndexFunc(lab.RealServers, func(h nstest.Host) bool { return h.Addr == want.Dest.Addr() })
				if name != fmt.Sprint("rs", server) {
					t.Errorf("visit %d of %v to %v: answered by %s, and the model says rs%d", i, c.Addr, p, name, server)
				}
				first += name
			}
			if mask == "" && (!strings.Contains(first, "rs0") || !strings.Contains(first, "rs1")) {
				t.Errorf("all went to one server: %s", first)
			}

			want := []string{}
			for c := range model.Conns() {
				if c.Template {
					want = append(want, fmt.Sprint(c.Protocol, " ", c.Client, " ", c.Virtual, " ", c.Dest, " ", c.State))
				}
			}
			slices.Sort(want)
			got := templates(t, client, vip)
			// In a list of a table that changes meanwhile, as entries expire, one can be missing or be there twice.
			for end := time.Now().Add(10 * time.Second); !slices.Equal(got, want) && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				got = templates(t, client, vip)
			}
			if !slices.Equal(got, want) {
				t.Errorf("templates\ngot\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			out := do(setup.ExitOK, "status "+full)
			for _, c := range lab.Clients {
				if !strings.Contains(out, "\n"+c.Addr.String()+" ") {
					t.Errorf("%v is not in the status\n%s", c.Addr, out)
				}
			}
			t.Logf("%d templates as predicted; the status is\n%s", len(want), out)
			do(setup.ExitOK, "stop "+flags)
			if out := do(setup.ExitOK, "stop "+flags); !strings.Contains(out, "nothing to do") {
				t.Errorf("a second stop:\n%s", out)
			}
			if o.kind == pnmpp {
				if there, err := (&rule{o}).list(t.Context()); err != nil || there != "" {
					t.Errorf("the rule after stop: %q, %v", there, err)
				}
			}
			if list, err := client.Services(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("services after stop: %v, %v", list, err)
			}
		})
	}
	t.Run("stop leaves what no start has made", func(t *testing.T) {
		web := ipvs.Service{ID: ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("10.0.1.210:80")}, Scheduler: "rr"}
		if err := client.AddService(t.Context(), web); err != nil {
			t.Fatal(err)
		}
		words := "stop -kind ppc -vip 10.0.1.210 -ports 80 -netns " + lab.Director.Path()
		if status, out, errs := try(t, "", strings.Fields(words)...); status != setup.ExitOK {
			t.Errorf("persistence %s: status %d\n%s%s", words, status, out, errs)
		}
		if _, err := client.Service(t.Context(), web.ID); err != nil {
			t.Errorf("after stop: %v", err)
		}
	})
}

// templates lists the kernel's: those of a virtual address, or if it has none those of marks.
func templates(t *testing.T, c *ipvs.Client, vip netip.Addr) []string {
	t.Helper()
	var list, marks []string
	for conn, err := range c.Connections(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(conn.Protocol, " ", conn.Client, " ", conn.Virtual, " ", conn.Destination, " ", conn.State)
		if _, marked := conn.FWMark(); marked && conn.IsTemplate() {
			marks = append(marks, text)
		} else if conn.IsTemplate() && conn.Virtual.Addr() == vip {
			list = append(list, text)
		}
	}
	if list == nil {
		list = marks
	}
	slices.Sort(list)
	return list
}
