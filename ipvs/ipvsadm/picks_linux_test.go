package ipvsadm_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/internal/nstest"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
	"github.com/golvs/lvs/sched"
)

// TestIntegrationPicks saves, clears and restores a service in front of real servers. From the lossless form the scheduler
// takes the servers in the turn that its model predicts from the list before; from what ipvsadm saves it does not.
func TestIntegrationPicks(t *testing.T) {
	nstest.RequireKernel(t)
	lab := nstest.NewLab(t, nstest.LabConfig{RealServers: 4})
	c, err := ipvs.Dial(context.Background(), &ipvs.Config{NetNSFile: lab.Director.File()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Flush(context.Background())
		_ = c.Close()
	})
	director := side{lab.Director, c}
	ok := func(o outcome) string {
		t.Helper()
		if o.Status != 0 || o.Stderr != "" {
			t.Fatalf("status %d, %s", o.Status, o.Stderr)
		}
		return o.Stdout
	}
	vip := netip.AddrPortFrom(lab.VIP, 80)
	for i, h := range lab.RealServers {
		h.NS.ServeTCP(t, netip.AddrPortFrom(h.Addr, 80), fmt.Sprint("rs", i))
	}
	const picks = 14
	// ask returns the servers of a number of connections.
	ask := func() (names []string) {
		for range picks {
			name, err := lab.Clients[0].NS.AskTCP(netip.AddrPort{}, vip)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		return names
	}
	for _, scheduler := range []string{"rr", "wrr"} {
		rules := "-C\n-A -t " + vip.String() + " -s " + scheduler + "\n"
		for _, i := range []int{2, 0, 3, 1} {
			rules += "-a -t " + vip.String() + " -r " + lab.RealServers[i].Addr.String() + " -m -w " + strconv.Itoa(1+i) + "\n"
		}
		ok(director.ours(t, rules, "-R"))
		want := predict(t, c, scheduler, picks, func(a netip.AddrPort) string {
			return fmt.Sprint("rs", slices.IndexFunc(lab.RealServers, func(h nstest.Host) bool { return h.Addr == a.Addr() }))
		})
		lossless, plain := ok(director.ours(t, "", "-S", "--lossless")), ok(director.original(t, "", "-S", "-n"))
		ok(director.ours(t, "", "-C"))
		ok(director.ours(t, lossless, "-R", "--lossless"))
		if diff := cmp.Diff(want, ask()); diff != "" {
			t.Errorf("%s restored from the lossless form (-model +kernel):\n%s", scheduler, diff)
		}
		ok(director.original(t, "", "-C"))
		ok(director.original(t, plain, "-R"))
		if got := ask(); slices.Equal(got, want) {
			t.Errorf("%s restored from the plain form, without its order, takes the same turns: %s", scheduler, strings.Join(got, " "))
		}
	}
}

// predict returns the names of the servers that a scheduler takes which begins with the list that the kernel has.
func predict(t *testing.T, c *ipvs.Client, scheduler string, picks int, name func(netip.AddrPort) string) (names []string) {
	t.Helper()
	table, err := ipvsadm.ReadTable(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sched.New(scheduler, sched.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range slices.Backward(table.Services[0].Destinations) {
		if _, err := s.Add(d.Addr, sched.Settings{Weight: int32(d.Weight)}); err != nil {
			t.Fatal(err)
		}
	}
	for range picks {
		names = append(names, name(s.Pick(sched.Flow{}, 0).Addr()))
	}
	return names
}
