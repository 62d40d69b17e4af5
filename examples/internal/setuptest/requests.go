package setuptest

import (
	"net/netip"
	"testing"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
	"github.com/golvs/lvs/sched/sim"
)

// Requests makes the clients ask a service of the director in a network namespace, one after the other, and compares each
// answer with what the model says about the director's table as it is: the address of the real server. It fails at the
// first difference, and returns how often each real server has answered.
func Requests(t testing.TB, director string, id ipvs.ServiceID, count int, clients []netip.Addr, get func(client netip.Addr) (server string, err error)) map[string]int {
	t.Helper()
	c, err := ipvs.Dial(t.Context(), &ipvs.Config{NetNS: director})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rules, err := c.Ruleset(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	model, err := ipvstest.NewDirector(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	answers := make(map[string]int)
	for i := range count {
		client := clients[i%len(clients)]
		flow := ipvstest.Flow(netip.AddrPortFrom(client, uint16(20000+i)), id)
		want := model.Establish(flow)
		if want.Verdict != sim.Forwarded {
			t.Fatalf("request %d of %v to %v: the model says %v", i, client, id, want.Verdict)
		}
		model.Close(flow)
		got, err := get(client)
		if err != nil {
			t.Fatalf("request %d of %v to %v: %v", i, client, id, err)
		}
		if got != want.Dest.Addr().String() {
			t.Fatalf("request %d of %v to %v: answered by %s, and the model says %v", i, client, id, got, want.Dest)
		}
		answers[got]++
	}
	return answers
}
