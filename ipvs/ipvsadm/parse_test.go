package ipvsadm_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

func tcp(addr string) ipvs.ServiceID {
	return ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort(addr)}
}

var (
	mask32  = netip.MustParseAddr("255.255.255.255")
	mask128 = ipvs.MaskBits(ipvs.IPv6, 128)
)

func TestParse(t *testing.T) {
	server := func(addr string) ipvs.Destination {
		return ipvs.Destination{Addr: netip.MustParseAddrPort(addr), Forward: ipvs.Route, Weight: 1}
	}
	tests := map[string]struct {
		want ipvsadm.Operation
		text string // if not the same
	}{
		"-A -t 10.0.0.1:80 -s rr": {
			want: ipvsadm.Operation{Command: ipvsadm.AddService, Service: ipvs.Service{
				ID: tcp("10.0.0.1:80"), Scheduler: "rr", Netmask: mask32,
			}},
		},
		"-Eu=10.1:0 -p": {
			want: ipvsadm.Operation{Command: ipvsadm.SetService, Service: ipvs.Service{
				ID:        ipvs.ServiceID{Protocol: ipvs.UDP, Addr: netip.MustParseAddrPort("10.0.0.1:0")},
				Scheduler: "wlc", Flags: ipvs.Persistent, Timeout: 6 * time.Minute, Netmask: mask32,
			}},
			text: "-E -u 10.0.0.1:0 -s wlc -p 360",
		},
		"-A -f 7 -6 -s mh -p 100 -M 64 --pe sip -o -b flag-1,mh-port": {
			want: ipvsadm.Operation{Command: ipvsadm.AddService, Service: ipvs.Service{
				ID: ipvs.Mark(7, ipvs.IPv6), Scheduler: "mh", Flags: ipvs.Persistent | ipvs.OnePacket | ipvs.MHFallback | ipvs.MHPort,
				Timeout: 100 * time.Second, Netmask: ipvs.MaskBits(ipvs.IPv6, 64), PE: "sip",
			}},
			text: "-A -f 7 -6 -s mh -p 100 -M 64 --pe sip -o -b mh-fallback,mh-port",
		},
		// ipvsadm keeps a mapped literal an IPv6 address.
		"-A -t [::ffff:10.0.0.1]:80 -s rr": {
			want: ipvsadm.Operation{Command: ipvsadm.AddService, Service: ipvs.Service{
				ID:        ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("[::ffff:10.0.0.1]:80"), Family: ipvs.IPv6},
				Scheduler: "rr", Netmask: mask128,
			}},
		},
		"-D --sctp-service [2001:db8::1]:80": {
			want: ipvsadm.Operation{Command: ipvsadm.DeleteService, Service: ipvs.Service{
				ID: ipvs.ServiceID{Protocol: ipvs.SCTP, Addr: netip.MustParseAddrPort("[2001:db8::1]:80")},
			}},
		},
		"-C": {want: ipvsadm.Operation{Command: ipvsadm.Flush}},
		"-a -t 10.0.0.1:80 -r 10.0.0.2:8080": { // the port of -g is the service's
			want: ipvsadm.Operation{
				Command: ipvsadm.AddDestination, Service: ipvs.Service{ID: tcp("10.0.0.1:80")}, Destination: server("10.0.0.2:80"),
			},
			text: "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1",
		},
		"-e -t 10.0.0.1:80 -r 10.0.0.2:8080 -i -w 0 -x 10 -y 5 --tun-type gue --tun-port 6080 --tun-remcsum": {
			want: ipvsadm.Operation{
				Command: ipvsadm.SetDestination, Service: ipvs.Service{ID: tcp("10.0.0.1:80")},
				Destination: ipvs.Destination{
					Addr: netip.MustParseAddrPort("10.0.0.2:80"), Forward: ipvs.Tunnel, UpperThreshold: 10, LowerThreshold: 5,
					Tunnel: ipvs.TunnelOptions{Type: ipvs.GUE, Port: 6080, Flags: ipvs.RemoteChecksum},
				},
			},
			text: "-e -t 10.0.0.1:80 -r 10.0.0.2:80 -i -w 0 -x 10 -y 5 --tun-type gue --tun-port 6080 --tun-remcsum",
		},
		"-d -t 10.0.0.1:80 -r 10.0.0.2:8080": {
			want: ipvsadm.Operation{
				Command: ipvsadm.DeleteDestination, Service: ipvs.Service{ID: tcp("10.0.0.1:80")},
				Destination: ipvs.Destination{Addr: netip.MustParseAddrPort("10.0.0.2:8080")},
			},
		},
		"1 --set 0 2": {
			want: ipvsadm.Operation{Command: ipvsadm.SetTimeouts, Timeouts: ipvs.Timeouts{TCP: time.Second, UDP: 2 * time.Second}},
			text: "--set 1 0 2",
		},
		"--start-daemon backup": {
			want: ipvsadm.Operation{Command: ipvsadm.StartDaemon, Daemon: ipvs.Daemon{State: ipvs.Backup, Interface: "eth0"}},
			text: "--start-daemon backup --mcast-interface eth0 --syncid 0",
		},
		"--start-daemon=master --mcast-interface lo --syncid 7 --sync-maxlen 1400 --mcast-group ff02::81 --mcast-port 9999 --mcast-ttl 3": {
			want: ipvsadm.Operation{Command: ipvsadm.StartDaemon, Daemon: ipvs.Daemon{
				State: ipvs.Master, Interface: "lo", SyncID: 7, MaxLen: 1400, Group: netip.MustParseAddr("ff02::81"), Port: 9999, TTL: 3,
			}},
			text: "--start-daemon master --mcast-interface lo --syncid 7 --sync-maxlen 1400 --mcast-group ff02::81 --mcast-port 9999 --mcast-ttl 3",
		},
		"--stop-daemon master --syncid 3": {
			want: ipvsadm.Operation{Command: ipvsadm.StopDaemon, Daemon: ipvs.Daemon{State: ipvs.Master, SyncID: 3}},
		},
		"-Z -t 0.0.0.0:0": {want: ipvsadm.Operation{Command: ipvsadm.Zero}, text: "-Z"},
		"-Z -f 4294967295": {
			want: ipvsadm.Operation{Command: ipvsadm.Zero, Service: ipvs.Service{ID: ipvs.Mark(4294967295, ipvs.IPv4)}},
		},
		"-lncX --persistent-conn --nosort": {
			want: ipvsadm.Operation{Listing: ipvsadm.Listing{
				Subject: ipvsadm.Connections, View: ipvsadm.PersistentConns, Order: ipvsadm.KernelOrder, Numeric: true, Exact: true,
			}},
			text: "-L -n --connection --persistent-conn --exact --nosort",
		},
		"-L --rate --stats --sort -t 10.0.0.1:80": {
			want: ipvsadm.Operation{Service: ipvs.Service{ID: tcp("10.0.0.1:80")}, Listing: ipvsadm.Listing{View: ipvsadm.Stats}},
			text: "-L -t 10.0.0.1:80 --stats",
		},
		"-S -n":         {want: ipvsadm.Operation{Command: ipvsadm.Save, Listing: ipvsadm.Listing{Numeric: true}}},
		"-v --whatever": {want: ipvsadm.Operation{Command: ipvsadm.Version}, text: "-v"},
	}
	for line, tt := range tests {
		t.Run(line, func(t *testing.T) {
			got, err := ipvsadm.Parse(strings.Fields(line))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, equateAddrs); diff != "" {
				t.Errorf("operation (-want +got):\n%s", diff)
			}
			want := tt.text
			if want == "" {
				want = line
			}
			if diff := cmp.Diff(want, got.String()); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
	if op, err := ipvsadm.Parse(nil); err != nil || op != (ipvsadm.Operation{}) {
		t.Errorf("no words: %v, %v", op, err)
	}
}

// Errors name the word, the kind and the option.
func TestParseErrors(t *testing.T) {
	tests := map[string]ipvsadm.Error{
		"":                          {Kind: ipvsadm.NoCommand, Word: -1},
		"x y":                       {Kind: ipvsadm.NoCommand, Word: -1},
		"x -n -A":                   {Kind: ipvsadm.NoCommand, Word: 1},
		"--start-daemon":            {Kind: ipvsadm.NoCommand},
		"-A -t bad":                 {Kind: ipvsadm.BadValue, Option: "service-address", Word: 2, Text: "illegal virtual server address[:port] specified"},
		"-Atbad":                    {Kind: ipvsadm.BadValue, Option: "service-address", Word: 0, Text: "illegal virtual server address[:port] specified"},
		"-A -f 1 --syncid=x":        {Kind: ipvsadm.BadValue, Option: "syncid", Word: 3, Text: "illegal syncid specified"},
		"-A -t 1.1.1.1:80 -t x":     {Kind: ipvsadm.Repeated, Option: "service-address", Word: 3, Text: "multiple 'service-address' options specified"},
		"-C -L":                     {Kind: ipvsadm.Repeated, Option: "list", Word: 1, Text: "invalid option `-L'"},
		"-A -t 1.1.1.1:80 x":        {Kind: ipvsadm.Unexpected, Word: 3, Text: "unexpected argument x"},
		"-A -n":                     {Kind: ipvsadm.Illegal, Option: "numeric", Word: 1, Text: "Illegal 'numeric' option with the 'add-service' command"},
		"-A -w 3":                   {Kind: ipvsadm.MissingValue, Option: "service-address", Word: -1, Text: "You need to supply the 'service-address' option for the 'add-service' command"},
		"-L --timeout -c":           {Kind: ipvsadm.Conflict, Option: "timeout", Word: 1, Text: "The option 'timeout' conflicts with the 'connection' option in the 'list' command"},
		"-L --stats -c":             {Kind: ipvsadm.Conflict, Word: -1, Text: "options conflicts in the list command"},
		"-A -t 1.1.1.1:0":           {Kind: ipvsadm.NoUse, Option: "service-address", Word: 1, Text: "Zero port specified for non-persistent service"},
		"-A -b x -t 1.1.1.1:80":     {Kind: ipvsadm.BadValue, Option: "sched-flags", Word: 2, Text: "invalid scheduler flag `x'"},
		"--set 1 2 -5":              {Kind: ipvsadm.BadOption, Word: 3, Text: "-5: unknown option"},
		"--set 1 2 2678401":         {Kind: ipvsadm.BadValue, Option: "set", Word: 3, Text: "invalid timeout value `2678401' specified"},
		"--set 1 2":                 {Kind: ipvsadm.MissingValue, Option: "set", Word: -1, Text: "--set option requires 3 timeout values"},
		"-A -t":                     {Kind: ipvsadm.BadOption, Word: 1, Text: "-t: missing argument"},
		"-A -6":                     {Kind: ipvsadm.BadValue, Option: "ipv6", Word: 1, Text: "-6 used before -f\n"},
		"-A -t localhost:80":        {Kind: ipvsadm.BadValue, Option: "service-address", Word: 2, Text: "illegal virtual server address[:port] specified"},
		"-L --json":                 {Kind: ipvsadm.BadOption, Word: 1, Text: "--json: unknown option"},
		"-A -f 1 --tun-flags 1":     {Kind: ipvsadm.BadOption, Word: 3, Text: "--tun-flags: unknown option"},
		"-A -f 1 -b 0x40":           {Kind: ipvsadm.BadValue, Option: "sched-flags", Word: 4, Text: "invalid scheduler flag `0x40'"},
		"-A -f 1 -p -M 300.1":       {Kind: ipvsadm.BadValue, Option: "netmask", Word: 5, Text: "illegal virtual server persistent mask specified"},
		"-A -f 1 -s shx -b sh-port": {Kind: ipvsadm.Conflict, Option: "sched-flags", Word: 6, Text: "incompatible scheduler flag `sh-port'"},
	}
	for line, want := range tests {
		t.Run(line, func(t *testing.T) {
			words := strings.Fields(line)
			if line == "" {
				words = []string{""}
			}
			op, err := ipvsadm.Parse(words)
			got, ok := errors.AsType[*ipvsadm.Error](err)
			if !ok {
				t.Fatalf("operation %v, error %v", op, err)
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			status := 2
			if want.Kind == ipvsadm.NoCommand || want.Kind == ipvsadm.BadOption {
				status = 255
			}
			if got.Status() != status {
				t.Errorf("status %d", got.Status())
			}
		})
	}
}

func TestParseLine(t *testing.T) {
	op, err := ipvsadm.ParseLine("  ipvsadm -A\t-t 10.0.0.1:80 ipvsadm\r\n")
	if err != nil || op.Command != ipvsadm.AddService {
		t.Errorf("%v, %v", op, err)
	}
	tests := map[string]string{
		"-A -t  10.0.0.1:x -s rr":              "column 8: illegal virtual server address[:port] specified",
		"ipvsadm -A -t 10.0.0.1:80 ipvsadm -q": "column 35: -q: unknown option",
		"-A -s rr":                             "You need to supply the 'service-address' option for the 'add-service' command",
		"# nothing":                            "the first option is not a command",
		"":                                     "the first option is not a command",
		"-R":                                   "column 1: the first option is not a command",
		"-A -s " + strings.Repeat("x", 5000):   "column 7: word of more than 4096 bytes",
	}
	for line, want := range tests {
		_, err := ipvsadm.ParseLine(line)
		if _, ok := errors.AsType[*ipvsadm.Error](err); !ok || err.Error() != want {
			t.Errorf("%.40q: error %q instead of %q", line, err, want)
		}
	}
}

func TestLosslessWords(t *testing.T) {
	p := &ipvsadm.Parser{Lossless: true}
	for _, line := range []string{
		"-A -t 10.0.0.1:0 -s rr --stored-timeout 4294967",
		"-A -t 10.0.0.1:80 -s sh -p 0 -M 255.0.0.0 -o -b flag-1,flag-3,0xffffffc0",
		"-A -f 4294967295 -6 -s wlc -M 1",
		"-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -g -w 1",
		"-a -t 10.0.0.1:80 -r 10.0.0.2:8080 --forward 4 -w 2147483647 -x 1 --tun-type 255 --tun-port 9 --tun-flags 0xfffc",
		"-a -t 10.0.0.1:80 -r [fd00::2]:0 -i -w 1 --tun-port 9 --tun-csum",
		"-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m -w 1 --tun-type gre --tun-flags 0x3",
		"--set 2147483647 0 1",
	} {
		op, err := p.ParseLine(context.Background(), line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if diff := cmp.Diff(line, op.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestRules(t *testing.T) {
	const text = "-C\n\n  \n-A -t 10.0.0.1:80 -q # x\n# -A\n-C # end\n\r-D -f 3\r\n-v\n-C\t "
	type line struct {
		Line int
		Text string
	}
	collect := func(p *ipvsadm.Parser) (got []line) {
		for r, err := range p.Rules(context.Background(), strings.NewReader(text)) {
			if err != nil {
				got = append(got, line{0, err.Error()})
				continue
			}
			got = append(got, line{r.Line, r.Operation.String()})
		}
		return got
	}
	want := []line{
		{1, "-C"}, {0, "line 4, column 19: -q: unknown option"}, {0, "line 5, column 1: unexpected argument #"},
		{0, "line 6, column 4: unexpected argument #"}, {7, "-D -f 3"}, {8, "-v"},
	}
	if diff := cmp.Diff(want, collect(&ipvsadm.Parser{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want = []line{{1, "-C"}, {0, "line 4, column 19: -q: unknown option"}, {6, "-C"}, {7, "-D -f 3"}, {8, "-v"}, {9, "-C"}}
	if diff := cmp.Diff(want, collect(&ipvsadm.Parser{Strict: true})); diff != "" {
		t.Errorf("strict (-want +got):\n%s", diff)
	}
	_, err := (&ipvsadm.Parser{Strict: true}).ReadRules(context.Background(), strings.NewReader("-C\n-L\n"))
	if e, ok := errors.AsType[*ipvsadm.RuleError](err); !ok || e.Line != 2 {
		t.Errorf("a listing among changes: %v", err)
	}
}

// Names of ports are those of the service's protocol if the service comes first, and of TCP behind a mark.
func TestServerPortNames(t *testing.T) {
	p := &ipvsadm.Parser{Resolver: newNames()}
	for line, want := range map[string]uint16{
		"-a -t 10.0.0.1:80 -r 10.0.0.2:http -m":             80,
		"-a -f 1 -r 10.0.0.2:http -m":                       80,
		"-a -f 1 -6 -r [fd00::1]:http-alt -m":               8080,
		"-a -u 10.0.0.1:80 -r 10.0.0.2:mdns -m":             5353,
		"-a -t localhost:http -r localhost -m":              80,
		"-a -u 10.0.0.1:80 -r 10.0.0.2:http -m":             0,
		"-a -f 1 -r 10.0.0.2:mdns -m":                       0,
		"-a -r 10.0.0.2:http -m -t 10.0.0.1:80":             0,
		"-a --sctp-service 10.0.0.1:80 -r 10.0.0.2:http -m": 0,
	} {
		op, err := p.Parse(context.Background(), strings.Fields(line))
		if op.Destination.Addr.Port() != want || (err == nil) != (want != 0) {
			t.Errorf("%s: %v, %v", line, op.Destination.Addr, err)
		}
	}
}
