package nltest

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/sched/sim"
)

// writable is what the tree of a namespace can do besides.
type writable interface {
	WriteFile(name string, data []byte, perm fs.FileMode) error
}

func writeSysctl(t *testing.T, ns *Namespace, name, value string) {
	t.Helper()
	if err := ns.FS().(writable).WriteFile("proc/sys/net/ipv4/vs/"+name, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sysctls61 are those of a 6.1 without the schedulers lblc and lblcr.
var sysctls61 = map[string]string{
	"am_droprate": "10", "amemthresh": "1024", "backup_only": "0", "cache_bypass": "0", "conn_reuse_mode": "1", "conntrack": "0",
	"drop_entry": "0", "drop_packet": "0", "expire_nodest_conn": "0", "expire_quiescent_template": "0", "ignore_tunneled": "0",
	"nat_icmp_send": "0", "pmtu_disc": "1", "run_estimation": "1", "schedule_icmp": "0", "secure_tcp": "0", "sloppy_sctp": "0",
	"sloppy_tcp": "0", "snat_reroute": "1", "sync_persist_mode": "0", "sync_ports": "1", "sync_qlen_max": "7207",
	"sync_refresh_period": "0", "sync_retries": "0", "sync_sock_size": "0", "sync_threshold": "3\t50", "sync_version": "1",
}

func TestSysctlFiles(t *testing.T) {
	for _, path := range []DataPath{nil, NewSimulated(nil)} {
		k := newKernel(t, &Config{Version: "6.1", DataPath: path})
		ns := k.Namespace("")
		root := ns.FS()
		list := func() map[string]string {
			t.Helper()
			entries, err := fs.ReadDir(root, "proc/sys/net/ipv4/vs")
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string)
			for _, e := range entries {
				got[e.Name()] = strings.TrimSuffix(read(t, ns, "proc/sys/net/ipv4/vs/"+e.Name()), "\n")
			}
			return got
		}
		if diff := cmp.Diff(sysctls61, list()); diff != "" {
			t.Errorf("sysctls (-want +got):\n%s", diff)
		}
		newTap(t, ns).must(NewService, svc(vip, conf("lblc", 0, 0, 0)))
		if got := list()["lblc_expiration"]; got != "86400" {
			t.Errorf("lblc_expiration %q", got)
		}
		for name, tt := range map[string]struct {
			file, value string
			want        error
			reads       string
		}{
			"taken":        {"sync_threshold", "1 2 3\n", nil, "1\t2"},
			"mode":         {"secure_tcp", "2", nil, "1"},
			"not modelled": {"conntrack", "1", nil, "1"},
			"refused":      {"sync_ports", "3\n", syscall.EINVAL, "1"},
			"no number":    {"drop_entry", "", syscall.EINVAL, "0"},
			"unknown":      {"debug_level", "1", fs.ErrNotExist, ""},
			"of 6.2":       {"est_nice", "1", fs.ErrNotExist, ""},
		} {
			file := "proc/sys/net/ipv4/vs/" + tt.file
			if err := root.(writable).WriteFile(file, []byte(tt.value), 0); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", name, err, tt.want)
			}
			if tt.reads != "" && read(t, ns, file) != tt.reads+"\n" {
				t.Errorf("%s: reads %q, want %q", name, read(t, ns, file), tt.reads)
			}
		}
		if err := root.(writable).WriteFile("proc/net/ip_vs", nil, 0); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a file that cannot be written: %v", err)
		}
		if got := read(t, ns, "proc/sys/kernel/osrelease"); got != "6.1.0\n" {
			t.Errorf("release %q", got)
		}
		if path != nil && len(k.Unmodelled()) != 1 {
			t.Errorf("%v, want one write that is not modelled", k.Unmodelled())
		}
		// What was written is saved, and gone with the module.
		var saved strings.Builder
		if err := k.Save(&saved); err != nil {
			t.Fatal(err)
		}
		before := list()
		k.ReloadModule()
		if diff := cmp.Diff(sysctls61, list()); diff != "" {
			t.Errorf("sysctls after a reload (-want +got):\n%s", diff)
		}
		if err := k.Load(strings.NewReader(saved.String())); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, list()); diff != "" {
			t.Errorf("sysctls of a saved kernel (-want +got):\n%s", diff)
		}
		k.UnloadModule()
		if _, err := fs.Stat(root, "proc/sys/net/ipv4/vs"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("sysctls without the module: %v", err)
		}
	}
	if names := newKernel(t, nil).Namespace("").sysctls(); !slices.Contains(names, "est_nice") || len(names) != len(sysctls61)+2 {
		t.Errorf("sysctls of 6.12: %q", names)
	}
}

// TestSysctlActs: what is written changes what becomes of packets.
func TestSysctlActs(t *testing.T) {
	k := newKernel(t, &Config{DataPath: NewSimulated(nil)})
	ns := k.Namespace("")
	p := newTap(t, ns)
	p.must(NewService, svc(vip, rr))
	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	flow := sim.Flow{Protocol: sim.TCP, Client: netip.MustParseAddrPort("203.0.113.1:1000"), Virtual: vip.Addr}
	send := func(flags sim.TCPFlags, want sim.Verdict) {
		t.Helper()
		r, err := k.Transmit("", sim.Packet{Flow: flow, TCP: flags})
		if err != nil || r.Verdict != want {
			t.Errorf("%v: %v, %v; want %v", flags, r, err, want)
		}
	}
	send(sim.ACK, sim.Passed)
	writeSysctl(t, ns, "sloppy_tcp", "1")
	send(sim.ACK, sim.Forwarded)
	p.must(DelDest, svc(vip), dst("10.0.0.1:80"))
	send(sim.ACK, sim.Dropped)
	writeSysctl(t, ns, "expire_nodest_conn", "1")
	send(sim.ACK, sim.Refused)
	if got := read(t, ns, "proc/net/ip_vs_conn"); strings.Count(got, "\n") != 1 {
		t.Errorf("the connection is still there:\n%s", got)
	}

	p.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	writeSysctl(t, ns, "backup_only", "1")
	send(sim.SYN, sim.Forwarded)
	if err := ns.AddDevice("dm0", 1500); err != nil {
		t.Fatal(err)
	}
	p.must(NewDaemon, daemonOn(stateBackup, "dm0"))
	send(sim.SYN, sim.Passed)

	// Without estimation what readers see stands still, and then catches up.
	k.Advance(4 * time.Second)
	writeSysctl(t, ns, "backup_only", "0")
	writeSysctl(t, ns, "run_estimation", "0")
	conns := func(want uint32) {
		t.Helper()
		k.Advance(4 * time.Second)
		if got := statsOf(t, p.getDest(vip, "10.0.0.1:80")[destStats]).u32(1); got != want {
			t.Errorf("%d connections are seen, want %d", got, want)
		}
	}
	conns(2) // with the first, which the destination brought back from the trash
	flow.Client = netip.MustParseAddrPort("203.0.113.1:1001")
	send(sim.SYN, sim.Forwarded)
	conns(2)
	writeSysctl(t, ns, "run_estimation", "1")
	conns(3)
}
