package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// lvssim runs the program.
func lvssim(stdin string, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	p := program{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}
	return p.run(context.Background(), args), out.String(), errs.String()
}

// TestTraces replays the traces of testdata and compares what they print.
func TestTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/*.trace")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d traces, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			status, out, errs := lvssim("", file)
			if status != exitOK || errs != "" {
				t.Fatalf("status %d: %s", status, errs)
			}
			golden := strings.TrimSuffix(file, ".trace") + ".out"
			if *update {
				if err := os.WriteFile(golden, []byte(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

const service = "-A -t 10.0.0.100:80 -s rr\n-a -t 10.0.0.100:80 -r 10.1.0.11:80 -m\n"

// TestLines is what each event prints.
func TestLines(t *testing.T) {
	tests := map[string]struct{ trace, want string }{
		"open":           {service + "at 1.5\nopen tcp 10.0.0.1:1 10.0.0.100:80", "1.500 tcp 10.0.0.1:1 10.0.0.100:80 -> 10.1.0.11:80\n"},
		"no newline":     {"open udp 10.0.0.1:1 10.0.0.100:80 # nobody", "0.000 udp 10.0.0.1:1 10.0.0.100:80 -> -\n"},
		"again":          {service + "open tcp 10.0.0.1:1 10.0.0.100:80\nat 1\nopen tcp 10.0.0.1:1 10.0.0.100:80", "0.000 tcp 10.0.0.1:1 10.0.0.100:80 -> 10.1.0.11:80\n1.000 tcp 10.0.0.1:1 10.0.0.100:80 -> 10.1.0.11:80\n"},
		"gone":           {service + "open tcp 10.0.0.1:1 10.0.0.100:80\n-d -t 10.0.0.100:80 -r 10.1.0.11:80\nopen tcp 10.0.0.1:1 10.0.0.100:80", "0.000 tcp 10.0.0.1:1 10.0.0.100:80 -> 10.1.0.11:80\n0.000 tcp 10.0.0.1:1 10.0.0.100:80 -> 10.1.0.11:80\n"},
		"silent pkt":     {service + "pkt tcp 10.0.0.1:1 10.0.0.100:80 in ACK\npkt tcp 10.0.0.1:1 10.0.0.100:80 out SYN,ACK", ""},
		"scheduled pkt":  {service + "pkt tcp 10.0.0.1:1 10.0.0.100:80 in SYN", "0.000 tcp 10.0.0.1:1 10.0.0.100:80 -> 10.1.0.11:80\n"},
		"sloppy pkt":     {service + "sysctl sloppy_tcp 1\npkt tcp 10.0.0.1:1 10.0.0.100:80 in -", "0.000 tcp 10.0.0.1:1 10.0.0.100:80 -> 10.1.0.11:80\n"},
		"refused pkt":    {"-A -u 10.0.0.100:53 -s rr\npkt udp 10.0.0.1:1 10.0.0.100:53 in -", "0.000 udp 10.0.0.1:1 10.0.0.100:53 -> -\n"},
		"one-packet pkt": {"-A -u 10.0.0.100:53 -s rr -o\n-a -u 10.0.0.100:53 -r 10.1.0.1:53 -g\nat 0.0004\npkt udp 10.0.0.1:1 10.0.0.100:53 in -\npkt udp 10.0.0.1:1 10.0.0.100:53 in -", strings.Repeat("0.000 udp 10.0.0.1:1 10.0.0.100:53 -> 10.1.0.1:53\n", 2)},
		"mark":           {"-A -f 7 -s rr\n-a -f 7 -r 10.1.0.1 -g\nopen sctp 10.0.0.1:1 10.0.0.100:53 mark 7\nopen sctp 10.0.0.1:2 10.0.0.100:53 mark 8", "0.000 sctp 10.0.0.1:1 10.0.0.100:53 -> 10.1.0.1:53\n0.000 sctp 10.0.0.1:2 10.0.0.100:53 -> -\n"},
		"IPv6":           {"-A -t [fd00::100]:80 -s rr\n-a -t [fd00::100]:80 -r [fd01::1]:80 -g\nopen tcp [fd00:0:0::1]:1 [fd00::100]:80", "0.000 tcp [fd00::1]:1 [fd00::100]:80 -> [fd01::1]:80\n"},
		"bypass":         {"-A -f 7 -s rr\nsysctl cache_bypass 1\nopen tcp 10.0.0.1:1 10.9.0.1:80 mark 7", "0.000 tcp 10.0.0.1:1 10.9.0.1:80 -> 0.0.0.0:0\n"},
		"vector":         {"sysctl sync_threshold 0 1 # every packet", ""},
		"edits":          {service + "-E -t 10.0.0.100:80 -s wlc -p\n-e -t 10.0.0.100:80 -r 10.1.0.11:80 -m -w 0\n-Z\n-Z -t 10.0.0.100:80\n--set 1 2 3\n-D -t 10.0.0.100:80\n-C", ""},
		"nothing":        {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, out, errs := lvssim(tt.trace, "-")
			if status != exitOK || errs != "" {
				t.Errorf("status %d: %s", status, errs)
			}
			if diff := cmp.Diff(tt.want, out); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMistakes is what is wrong in a trace or a command line: status and message.
func TestMistakes(t *testing.T) {
	tests := map[string]struct {
		trace  string
		args   []string
		status int
		want   string
	}{
		"event":            {"\n  opne tcp", nil, 2, "standard input:2:3: unknown event \"opne\", expected at, sysctl, open, pkt, show or a command line of ipvsadm"},
		"time":             {"at 1s", nil, 2, "standard input:1:4: \"1s\" is no time, expected seconds such as 12 or 12.5"},
		"sign":             {"at -1", nil, 2, "standard input:1:4: \"-1\" is no time, expected seconds such as 12 or 12.5"},
		"backwards":        {"at 2\nat 1.5", nil, 2, "standard input:2:4: time runs backwards from 2.000 to 1.5"},
		"no time":          {"at  # now", nil, 2, "standard input:1:3: line ends, expected a time in seconds"},
		"more":             {"at 1 2", nil, 2, "standard input:1:6: unexpected \"2\", expected the end of the line"},
		"protocol":         {"open TCP 1.1.1.1:1 2.2.2.2:2", nil, 2, "standard input:1:6: unknown protocol \"TCP\", expected tcp, udp or sctp"},
		"client":           {"open tcp 1.1.1.1 2.2.2.2:2", nil, 2, "standard input:1:10: \"1.1.1.1\" is not the client's address and port, expected such as 192.0.2.1:80 or [2001:db8::1]:80"},
		"family":           {"open tcp 1.1.1.1:1\t[2::2]:2", nil, 2, "standard input:1:20: 2::2 is of another family than the client, 1.1.1.1"},
		"zone":             {"open tcp [fe80::1%eth0]:1 [2::2]:2", nil, 2, "standard input:1:10: \"[fe80::1%eth0]:1\" is not the client's address and port, expected such as 192.0.2.1:80 or [2001:db8::1]:80"},
		"mark":             {"open tcp 1.1.1.1:1 2.2.2.2:2 mark x", nil, 2, "standard input:1:35: \"x\" is no firewall mark, expected a number from 0 to 4294967295"},
		"no mark":          {"open tcp 1.1.1.1:1 2.2.2.2:2 mark", nil, 2, "standard input:1:34: line ends, expected a firewall mark"},
		"not mark":         {"open tcp 1.1.1.1:1 2.2.2.2:2 in", nil, 2, "standard input:1:30: unexpected \"in\", expected mark or the end of the line"},
		"direction":        {"pkt tcp 1.1.1.1:1 2.2.2.2:2 IN ACK", nil, 2, "standard input:1:29: unknown direction \"IN\", expected in or out"},
		"flags":            {"pkt tcp 1.1.1.1:1 2.2.2.2:2 in SYN+ACK", nil, 2, "standard input:1:32: unknown flags \"SYN+ACK\", expected SYN, FIN, ACK and RST joined by commas, or -"},
		"udp flags":        {"pkt udp 1.1.1.1:1 2.2.2.2:2 in ACK", nil, 2, "standard input:1:32: unknown flags \"ACK\", expected -, as udp has none"},
		"chunk":            {"pkt sctp 1.1.1.1:1 2.2.2.2:2 in SYN", nil, 2, "standard input:1:33: unknown chunk \"SYN\", expected such as INIT or COOKIE_ECHO"},
		"listing":          {"show everything", nil, 2, "standard input:1:6: unknown listing \"everything\", expected conns, services, stats or state"},
		"sysctl value":     {"sysctl drop_packet", nil, 2, "standard input:1:19: line ends, expected a value"},
		"ipvsadm":          {"-A -t 10.0.0.100:80000", nil, 2, "standard input:1:7: illegal virtual server address[:port] specified"},
		"ipvsadm listing":  {"-L", nil, 2, "standard input:1:1: a trace cannot use the command \"list\" of ipvsadm, expected -A, -E, -D, -C, -a, -e, -d, -Z or --set"},
		"long line":        {"# " + strings.Repeat("x", maxLine), nil, 2, "standard input:1: line of more than 1048576 bytes"},
		"kernel, service":  {service + "-A -t 10.0.0.100:80", nil, 1, "standard input:3: -A -t 10.0.0.100:80 -s wlc: Service already exists"},
		"kernel, server":   {service + "-a -t 10.0.0.100:80 -r 10.1.0.11:80 -m", nil, 1, "standard input:3: -a -t 10.0.0.100:80 -r 10.1.0.11:80 -m -w 1: Destination already exists"},
		"kernel, none":     {"-a -t 10.0.0.100:80 -r 10.1.0.11:80 -m", nil, 1, "standard input:1: -a -t 10.0.0.100:80 -r 10.1.0.11:80 -m -w 1: Service not defined"},
		"kernel, gone":     {service + "-d -t 10.0.0.100:80 -r 10.1.0.12:80", nil, 1, "standard input:3: -d -t 10.0.0.100:80 -r 10.1.0.12:80: No such destination"},
		"kernel, name":     {"-A -t 10.0.0.100:80 -s none0", nil, 1, "standard input:1: -A -t 10.0.0.100:80 -s none0: Scheduler or persistence engine not found"},
		"kernel, unicast":  {service + "-a -t 10.0.0.100:80 -r 224.0.0.1:80 -m", nil, 1, "standard input:3: -a -t 10.0.0.100:80 -r 224.0.0.1:80 -m -w 1: Invalid operation.  Possibly wrong module version, address not unicast, ..."},
		"sysctl":           {"sysctl nonsense 1", nil, 1, "standard input:1: sim: sysctl nonsense \"1\": no such sysctl"},
		"no trace":         {"", []string{}, 2, "a trace is needed; \"lvssim -h\" shows the flags"},
		"two traces":       {"", []string{"-", "x"}, 2, "unexpected argument \"x\" after the trace; flags come before it"},
		"unknown flag":     {"", []string{"-x"}, 2, "flag provided but not defined: -x"},
		"scheduler":        {"", []string{"-compare", "rr,none", "-"}, 2, "invalid value \"rr,none\" for flag -compare: \"none\" is none of the schedulers rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh twos"},
		"needs -gen":       {"", []string{"-rate", "1", "-"}, 2, "-rate needs -gen"},
		"not with -gen":    {"", []string{"-gen", "-q"}, 2, "-q does not go with -gen"},
		"-gen TRACE":       {"", []string{"-gen", "x"}, 2, "unexpected argument \"x\""},
		"weights":          {"", []string{"-gen", "-weights", "1,2"}, 2, "2 -weights for 3 servers"},
		"hold":             {"", []string{"-gen", "-hold", "exp:0"}, 2, "invalid value \"exp:0\" for flag -hold: expected exp:MEAN, fixed:TIME or pareto:LEAST with a time in seconds above 0"},
		"fail":             {"", []string{"-gen", "-fail", "2@9-8"}, 2, "invalid value \"2@9-8\" for flag -fail: expected SERVER@TIME or SERVER@TIME-BACK, such as 2@30-45"},
		"failing nobody":   {"", []string{"-gen", "-fail", "4@9"}, 2, "-fail names server 4 of 3"},
		"compare, refused": {service + service, []string{"-compare", "rr,wlc", "-"}, 1, "standard input:3: -A -t 10.0.0.100:80 -s rr: Service already exists"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			args := tt.args
			if args == nil {
				args = []string{"-"}
			}
			status, out, errs := lvssim(tt.trace, args...)
			if diff := cmp.Diff("lvssim: "+tt.want+"\n", errs); diff != "" || status != tt.status || out != "" {
				t.Errorf("status %d, want %d; output %q; message (-want +got):\n%s", status, tt.status, out, diff)
			}
		})
	}
	if status, _, errs := lvssim("", "testdata/nothing"); status != exitError || !strings.Contains(errs, "testdata/nothing") {
		t.Errorf("no file: %d, %s", status, errs)
	}
	if status, out, errs := lvssim("", "-h"); status != exitOK || !strings.HasPrefix(out, "usage: lvssim") || errs != "" {
		t.Errorf("help: %d, %s", status, errs)
	}
}

func TestKeepGoing(t *testing.T) {
	trace := service + "-A -t 10.0.0.100:80\nsysctl nonsense 1\nopen tcp 10.0.0.1:1 10.0.0.100:80\n"
	status, out, errs := lvssim(trace, "-keep-going", "-")
	if status != exitError || out != "0.000 tcp 10.0.0.1:1 10.0.0.100:80 -> 10.1.0.11:80\n" || strings.Count(errs, "\n") != 2 {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
}

// TestGenerate: a generated trace is the same again, is a trace, and begins and ends when it should.
func TestGenerate(t *testing.T) {
	tests := map[string][]string{
		"default":   nil,
		"all of it": {"-clients", "20", "-rate", "50", "-length", "20", "-hold", "pareto:1", "-hot", "3:60", "-servers", "4", "-weights", "1,2,3,4", "-fail", "2@5-9", "-fail", "1@7", "-scheduler", "sh", "-method", "nat", "-persist", "60", "-seed", "9"},
		"udp":       {"-protocol", "udp", "-method", "tun", "-hold", "fixed:2"},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			status, trace, errs := lvssim("", append([]string{"-gen"}, args...)...)
			_, again, _ := lvssim("", append([]string{"-gen"}, args...)...)
			if status != exitOK || errs != "" || trace != again {
				t.Fatalf("status %d: %s", status, errs)
			}
			status, out, errs := lvssim(trace, "-")
			if status != exitOK || errs != "" {
				t.Fatalf("status %d: %s", status, errs)
			}
			opens := strings.Count(trace, "\nopen ")
			if n := strings.Count(out, "\n"); opens < 500 || n < opens {
				t.Errorf("%d lines for %d connections", n, opens)
			}
			if strings.Contains(out, "-> -\n") {
				t.Error("a connection without a server")
			}
			var s struct {
				Opened, Connections int
				Seconds             float64
				Services            []struct{ Conns, Clients int }
			}
			status, out, _ = lvssim(trace, "-q", "-json", "-")
			if err := json.Unmarshal([]byte(out), &s); err != nil || status != exitOK {
				t.Fatal(err)
			}
			if s.Opened != opens || len(s.Services) != 1 || s.Services[0].Conns == 0 || s.Services[0].Clients == 0 || s.Seconds != map[bool]float64{false: 60, true: 20}[name == "all of it"] {
				t.Errorf("summary %+v", s)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	_, trace, _ := lvssim("", "-gen", "-weights", "1,2,3")
	status, out, errs := lvssim(trace, "-compare", "rr,wrr,twos", "-")
	if status != exitOK || errs != "" {
		t.Fatalf("status %d: %s", status, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[1], "rr ") || !strings.HasPrefix(lines[3], "twos ") {
		t.Fatalf("output:\n%s", out)
	}
	_, out, _ = lvssim(trace, "-compare", "rr,wrr", "-json", "-")
	dec := json.NewDecoder(strings.NewReader(out))
	var rows [2]struct {
		Scheduler, Service string
		Variation          float64
		Conns              int
	}
	for i := range rows {
		if err := dec.Decode(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	// rr leaves weights aside: loads of 3, 3/2 and 1 per weight.
	if rows[0].Scheduler != "rr" || rows[0].Variation < 0.4 || rows[1].Variation > 0.01 || rows[0].Conns != rows[1].Conns || !strings.Contains(rows[1].Service, "-s wrr") {
		t.Errorf("%+v", rows)
	}
}

func TestJSON(t *testing.T) {
	status, out, _ := lvssim(service+"open tcp 10.0.0.1:1 10.0.0.100:80\nopen udp 10.0.0.1:1 10.0.0.100:80\nshow state\nshow services\nshow conns", "-json", "-")
	dec := json.NewDecoder(strings.NewReader(out))
	n := 0
	for ; dec.More(); n++ {
		var v any
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
	}
	want := `{"time":0,"protocol":"tcp","client":"10.0.0.1:1","virtual":"10.0.0.100:80","dest":"10.1.0.11:80","verdict":"forwarded"}
{"time":0,"protocol":"udp","client":"10.0.0.1:1","virtual":"10.0.0.100:80","verdict":"passed"}
`
	if status != exitOK || n < 5 || !strings.HasPrefix(out, want) {
		t.Errorf("status %d, %d values:\n%s", status, n, out)
	}
}

// TestProgress: the line appears on a terminal only, after a second, and is cleared.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := program{stderr: &out}
	newProgress(&p, "x").show(progressLines, time.Second, 1)
	p.terminal = true
	g := newProgress(&p, "x")
	g.show(progressLines, time.Second, 1)
	g.clear()
	if out.Len() != 0 {
		t.Errorf("too early: %q", out.String())
	}
	g.start = g.start.Add(-2 * progressAfter)
	g.show(progressLines+1, time.Second, 1)
	g.show(progressLines, 1500*time.Millisecond, 7)
	g.show(2*progressLines, 2*time.Second, 8)
	g.clear()
	if want := "\r\x1b[Kx: line 4096, 1.500 s, 7 connections in the table\r\x1b[K"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestParseSeconds(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "1.5": 1500 * time.Millisecond, ".25": 250 * time.Millisecond, "3.": 3 * time.Second,
		"0.000000001": 1, "9223372035": 9223372035 * time.Second, "": -1, ".": -1, "1e3": -1, "-1": -1, "+1": -1, "1.0000000001": -1,
		"9223372036": -1, "99999999999999999999": -1, "1_0": -1, "0x1": -1,
	} {
		got, ok := parseSeconds(s)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, ok, want)
		}
	}
}

// FuzzTrace: whatever is read ends with a status and at most one message, and the column is in the line.
func FuzzTrace(f *testing.F) {
	for _, name := range []string{"testdata/demo.trace", "testdata/life.trace"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("at 1\nsysctl drop_packet 3\npkt sctp [::1]:1 [::2]:2 in INIT mark 3")
	f.Fuzz(func(t *testing.T, trace string) {
		r := newReader("x", strings.NewReader(trace))
		lines := strings.Split(trace, "\n")
		for {
			e, err := r.next(context.Background())
			if err != nil {
				if s, ok := err.(*syntaxError); ok && (s.line < 1 || s.line > len(lines) || s.column > len(lines[s.line-1])+1 || s.text == "") {
					t.Fatalf("mistake %+v in %d lines", s, len(lines))
				}
				return
			}
			p := e.packet
			if (e.kind == kindOpen || e.kind == kindPacket) && (!p.Client.IsValid() || !p.Virtual.IsValid() || p.Client.Addr().Is4() != p.Virtual.Addr().Is4()) {
				t.Fatalf("line %d: %+v", e.line, p)
			}
		}
	})
}
