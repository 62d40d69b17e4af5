package nltest

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// busyKernel is a kernel with something of everything.
func busyKernel(t testing.TB) *Kernel {
	t.Helper()
	k := newKernel(t, &Config{Version: "6.1", HashKey: 0x90, ConnTabBits: 15, CPUs: 2})
	ns := k.Namespace("")
	p := newTap(t, ns)
	one := netip.MustParseAddrPort("10.0.0.1:80")
	p.must(NewService, svc(vip, conf("wlc", 1, 0xffffffff, 17179870), str(svcEngine, "sip")))
	p.must(NewService, svc(tcp("192.0.2.10:20480"), rr)) // same bucket: the port's bytes are exchanged
	p.must(NewService, in(topService, u16(svcAF, afInet), u16(svcProtocol, 17), bin(svcAddr, 192, 0, 2, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), be16(svcPort, 9), rr))
	p.must(NewService, svc(ServiceID{Mark: 7, IPv6: true}, conf6("sh", 0x19, 0xffffffff, 300, 64)))
	for _, a := range []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"} {
		p.must(NewDest, svc(vip), dst(a, full(3, 65536, 10, 5), u8(destTunType, 1), be16(destTunPort, 6080)))
	}
	if err := ns.CountOn(1, vip, one, Counters{10, 300, 200, 38400, 1 << 40}); err != nil {
		t.Fatal(err)
	}
	if err := ns.SetConns(vip, netip.MustParseAddrPort("10.0.0.3:80"), Conns{3, 2, 1}); err != nil {
		t.Fatal(err)
	}
	k.Advance(3 * time.Second)
	p.must(Zero, svc(vip))
	if err := ns.CountOn(0, vip, one, Counters{5, 50, 20, 400, 10}); err != nil {
		t.Fatal(err)
	}
	k.Advance(3 * time.Second)
	p.must(DelDest, svc(vip), dst("10.0.0.1:80"))
	k.Advance(70 * time.Second) // the trash has been looked at once
	p.must(DelDest, svc(vip), dst("10.0.0.2:80"))
	p.must(DelService, svc(tcp("192.0.2.10:20480")))
	p.must(NewService, svc(tcp("192.0.2.10:20480"), rr))
	if err := ns.CountOn(0, vip, netip.MustParseAddrPort("10.0.0.3:80"), Counters{1, 2, 3, 4, 5}); err != nil {
		t.Fatal(err)
	}
	x := k.Namespace("x")
	if err := x.AddDevice("dm0", 9000); err != nil {
		t.Fatal(err)
	}
	if err := x.SetLink("dm0", true); err != nil {
		t.Fatal(err)
	}
	if err := x.AddAddr("dm0", netip.MustParsePrefix("192.168.77.1/24")); err != nil {
		t.Fatal(err)
	}
	q := newTap(t, x)
	q.must(NewDaemon, daemonOn(stateMaster, "dm0", bin(daemonGroup6, append([]byte{0xff, 5}, make([]byte, 14)...)...)))
	q.must(NewDaemon, daemonOn(stateBackup, "lo"))
	q.must(SetConfig, u32(topTimeoutUDP, 9))
	x.SetRunEstimation(false)
	if err := x.SetConnections([]Connection{{Protocol: 6, Client: one, Virtual: one, Dest: one, State: "NONE", Expires: time.Second}}); err != nil {
		t.Fatal(err)
	}
	k.ReloadModuleID() // another family id, tables kept
	return k
}

// ReloadModuleID gives the family another id, as after a reload.
func (k *Kernel) ReloadModuleID() {
	k.lock()
	defer k.mu.Unlock()
	k.family, k.nextFamily = 77, 78
}

// observe drives a kernel and returns everything that can be seen of it.
func observe(t testing.TB, k *Kernel) []string {
	t.Helper()
	var seen []string
	note := func(ns string, b [][]byte) {
		for _, m := range b {
			seen = append(seen, ns+" "+string(m))
		}
	}
	for _, name := range []string{"", "x"} {
		ns := k.Namespace(name)
		p := newTap(t, ns, Port(1))
		look := func() {
			note(name, p.exchange(p.request(GetService, list)))
			for _, id := range []ServiceID{vip, tcp("192.0.2.10:20480")} {
				note(name, p.exchange(p.request(GetDest, list, svc(id))))
			}
			for _, cmd := range []Command{GetInfo, GetConfig} {
				note(name, p.exchange(p.request(cmd, do)))
			}
			note(name, p.exchange(p.request(GetDaemon, list)))
			for _, f := range []string{"ip_vs", "ip_vs_conn", "ip_vs_stats", "ip_vs_stats_percpu"} {
				seen = append(seen, name+" "+f+" "+read(t, ns, "proc/net/"+f))
			}
		}
		look()
		// Directed broadcast, order of services in a bucket, the estimator's instants.
		note(name, p.exchange(p.request(NewDest, do, svc(vip), dst("192.168.77.255:80", w1))))
		note(name, p.exchange(p.request(NewService, do, svc(mark(9), rr))))
		if err := ns.Count(mark(9), netip.AddrPort{}, Counters{Conns: 9}); err != nil {
			t.Fatal(err)
		}
		for range 12 {
			k.Advance(200 * time.Millisecond)
			look()
		}
		// The trash: the one that was found unreferenced before goes a minute before the other.
		k.Advance(118 * time.Second)
		for _, a := range []string{"10.0.0.1:80", "10.0.0.2:80"} {
			note(name, p.exchange(p.request(NewDest, do, svc(vip), dst(a, w1))))
		}
		look()
		k.Advance(100 * time.Second)
		look()
	}
	return append(seen, k.Now().String())
}

func TestSaveLoad(t *testing.T) {
	var saved bytes.Buffer
	original := busyKernel(t)
	if err := original.Save(&saved); err != nil {
		t.Fatal(err)
	}
	text := saved.String()
	// Into a kernel that was something else, with a namespace that goes away and an open socket that stays.
	k := newKernel(t, nil)
	stray := k.Namespace("stray")
	p := newTap(t, stray)
	p.must(NewService, svc(vip, rr))
	if err := stray.SetLink("lo", false); err != nil {
		t.Fatal(err)
	}
	k.Advance(time.Hour)
	if err := k.Load(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if got, _ := p.dump(GetService); len(got) != 0 {
		t.Errorf("%d services in a namespace that the state does not have", len(got))
	}
	p.must(NewService, svc(vip, rr))
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))

	var again bytes.Buffer
	loaded := newKernel(t, nil)
	if err := loaded.Load(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if err := loaded.Save(&again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, again.String()); diff != "" {
		t.Fatalf("saved again (-first +second):\n%s", diff)
	}
	want, got := observe(t, original), observe(t, loaded)
	if len(want) < 50 {
		t.Fatalf("only %d observations", len(want))
	}
	for i := range want {
		if i >= len(got) || want[i] != got[i] {
			t.Fatalf("observation %d:\n%q\n%q", i, want[i], slices.Concat(got, []string{"nothing"})[min(i, len(got))])
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	var saved bytes.Buffer
	if err := busyKernel(t).Save(&saved); err != nil {
		t.Fatal(err)
	}
	text := saved.String()
	for name, broken := range map[string]string{
		"empty":          "",
		"no JSON":        "x",
		"other format":   strings.Replace(text, `"format": 1`, `"format": 2`, 1),
		"version":        strings.Replace(text, `"version": "6.1"`, `"version": "5.4"`, 1),
		"cut":            text[:len(text)/2],
		"family":         strings.ReplaceAll(text, `"family": 2,`, `"family": 3,`),
		"address":        strings.ReplaceAll(text, `"addr": "192.0.2.10"`, `"addr": "::1"`),
		"netmask":        strings.ReplaceAll(text, `"netmask": "ffffffff"`, `"netmask": "ff"`),
		"services twice": strings.ReplaceAll(text, `"port": 20480`, `"port": 80`),
		"group":          strings.ReplaceAll(text, `"group": "e0000051"`, `"group": "e0"`),
		"state":          strings.ReplaceAll(text, `"state": 2`, `"state": 3`),
	} {
		k := newKernel(t, nil)
		p := newTap(t, k.Namespace(""))
		p.must(NewService, svc(vip, rr))
		if err := k.Load(strings.NewReader(broken)); err == nil {
			t.Errorf("%s: no error", name)
		} else if !strings.HasPrefix(err.Error(), "nltest: load: ") {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := p.dump(GetService); len(got) != 1 {
			t.Errorf("%s: the refused state changed something", name)
		}
	}
}

// FuzzLoad checks that what Load accepts is a kernel that works and that Save writes the same again.
func FuzzLoad(f *testing.F) {
	var saved bytes.Buffer
	if err := busyKernel(f).Save(&saved); err != nil {
		f.Fatal(err)
	}
	f.Add(saved.Bytes())
	f.Add([]byte(`{"format":1,"version":"6.12","connTabBits":12,"cpus":1,"family":34}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k := newKernel(t, nil)
		if k.Load(bytes.NewReader(b)) != nil {
			return
		}
		var first, second bytes.Buffer
		if err := k.Save(&first); err != nil {
			t.Skip() // a year beyond what JSON can say
		}
		if err := k.Load(bytes.NewReader(first.Bytes())); err != nil {
			t.Fatalf("Load of what Save wrote: %v", err)
		}
		if err := k.Save(&second); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first.String(), second.String()); diff != "" {
			t.Fatalf("saved twice (-first +second):\n%s", diff)
		}
		p := newTap(t, k.Namespace(""))
		p.exchange(p.request(GetService, list))
		k.Advance(5 * time.Second)
	})
}
