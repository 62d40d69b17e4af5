package main

import (
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// parse reads a configuration that has to be valid.
func parse(t testing.TB, text string) *Config {
	t.Helper()
	cfg, problems := parseConfig([]byte(text))
	if problems != nil {
		t.Fatalf("%v\n%s", problems, text)
	}
	return cfg
}

func TestConfigDefaults(t *testing.T) {
	cfg := parse(t, `{
		"defaults": {"interval": "1s"},
		"services": [{
			"service": "TCP 192.0.2.10:80", "forward": "Route", "persist": "5m",
			"checks": [{"type": "http"}, {"type": "tcp", "fall": 1, "interval": "10s", "jitter": 0}],
			"real": [
				{"addr": "10.0.0.2:80"},
				{"addr": "10.0.0.3:80", "weight": 0, "forward": "Tunnel", "tunnel": {"type": "gue", "port": 5555}, "checks": []}
			]
		}]
	}`)
	s := cfg.Services[0]
	if s.Scheduler != "wlc" || s.Action != actionQuiesce || *s.Mask != 32 || cfg.Resync != Duration(30*time.Second) {
		t.Errorf("service %+v", s)
	}
	if r := s.Real[0]; *r.Weight != 1 || *r.Forward != ipvs.Route || len(r.Checks) != 2 {
		t.Errorf("first server %+v", r)
	}
	if r := s.Real[1]; *r.Weight != 0 || *r.Forward != ipvs.Tunnel || len(r.Checks) != 0 || r.Tunnel.Type != ipvs.GUE || r.Tunnel.Port != 5555 {
		t.Errorf("second server %+v", r)
	}
	c := s.Checks[0]
	if c.Interval != Duration(time.Second) || c.Timeout != Duration(time.Second) || c.Rise != 2 || c.Fall != 3 || *c.Jitter != 0.1 ||
		c.Method != "GET" || c.Path != "/" || c.Status != "200-299" {
		t.Errorf("first check %+v", c)
	}
	if c := s.Checks[1]; c.Interval != Duration(10*time.Second) || c.Timeout != Duration(time.Second) || c.Fall != 1 || *c.Jitter != 0 {
		t.Errorf("second check %+v", c)
	}
	if k := s.kernel(); k.Flags != ipvs.Persistent || k.Timeout != 5*time.Minute || k.Netmask != netip.MustParseAddr("255.255.255.255") {
		t.Errorf("for the kernel %+v", k)
	}
}

// Every mistake is reported with its line and field, all of them at once.
func TestConfigMistakes(t *testing.T) {
	service := func(fields string) string {
		return "{\"services\": [{\n\"service\": \"TCP 192.0.2.10:80\",\n" + fields + "}]}"
	}
	real := `"real": [{"addr": "10.0.0.2:80"}]`
	check := func(fields string) string { return service("\"checks\": [{" + fields + "}],\n" + real) }
	tests := map[string][]string{
		``:                     {"1: unexpected end of JSON input"},
		"{\n\"services\": [}":  {"2: invalid character '}' looking for beginning of value"},
		`[]`:                   {"1: an object is wanted, not a list"},
		`{}`:                   {"1: services: there is none"},
		`{"services": {}}`:     {"1: services: a list is wanted, not an object"},
		`{"services": [null]}`: {"1: services[0]: null is no value; leave the field out"},
		`{"resync": "1ms", "services": [{"service": "FWM 7", ` + real + `}]}`: {"1: resync: is below 100ms"},
		"{\"resync\": 5,\n\"servces\": []}":                                   {"1: resync: a string is wanted, not a number", "2: servces: unknown field; there are defaults, resync, services, through"},
		`{"services": [{}]}`:                                                  {`1: services[0].service: is required, such as "TCP 192.0.2.1:80" or "FWM 7"`},
		service(`"real": []`):                                                 {"3: services[0].real: there is none"},
		service("\"real\": [\n{\"addr\": \"10.0.0.2:80\"},\n{\"addr\": \"10.0.0.3:80\",\n\"weight\": -1}]"):    {"6: services[0].real[1].weight: a whole number from 0 to 4294967295 is wanted, not number -1"},
		service("\"real\": [\n{\"addr\": \"10.0.0.2:80\"},\n{\"addr\": \"10.0.0.2:80\"}]"):                     {"5: services[0].real[1].addr: is the same as that of services[0].real[0]"},
		service(`"real": [{"addr": "10.0.0.2"}]`):                                                              {`3: services[0].real[0].addr: not an ip:port`},
		service(`"real": [{"addr": "[fd00::2]:80"}]`):                                                          {"3: services[0].real[0].addr: only Tunnel goes to a server of another address family"},
		service(`"forward": "Route", "real": [{"addr": "10.0.0.2:8080"}]`):                                     {"3: services[0].real[0].addr: Route keeps the port: it is 80, as the service's"},
		service(`"action": "x",` + real):                                                                       {`3: services[0].action: "x" is neither quiesce nor remove`},
		service(`"persist": "1500ms",` + real):                                                                 {"3: services[0].persist: whole seconds up to 4294967s are wanted"},
		service(`"persist": "-1s",` + real):                                                                    {"3: services[0].persist: a time must not be negative"},
		service(`"slowStart": "x",` + real):                                                                    {`3: services[0].slowStart: a time such as "5s" or "1m30s" is wanted`},
		service(`"flags": "persistent",` + real):                                                               {"3: services[0].flags: persistence is the field persist"},
		service(`"mask": 33,` + real):                                                                          {"3: services[0].mask: is not from 1 to 32"},
		service(`"sorry": {"addr": "10.0.0.2:80"},` + real):                                                    {"3: services[0].sorry.addr: is the same as that of services[0].real[0]"},
		service(`"Scheduler": "rr",` + real):                                                                   {"3: services[0].Scheduler: unknown field; there are action, checks, engine, flags, forward, mask, persist, real, scheduler, service, slowStart, sorry"},
		service(real + "," + real):                                                                             {"3: services[0].real: the field is there twice"},
		check(`"type": "x"`):                                                                                   {`3: services[0].checks[0].type: "x" is none of tcp, http, https, udp, dns and command`},
		check(`"type": "tcp", "path": "/"`):                                                                    {"3: services[0].checks[0].path: is not for checks of type tcp"},
		check(`"type": "http", "path": "x"`):                                                                   {"3: services[0].checks[0].path: GET x is not a request"},
		check(`"type": "http", "status": "200-"`):                                                              {`3: services[0].checks[0].status: "200-" is not a status from 100 to 599, or a range such as 200-299`},
		check(`"type": "http", "body": "("`):                                                                   {"3: services[0].checks[0].body: error parsing regexp: missing closing ): `(`"},
		check(`"type": "http", "header": {"a": 1}`):                                                            {"3: services[0].checks[0].header: an object of strings is wanted, not number"},
		check(`"type": "http", "timeout": "6s"`):                                                               {"3: services[0].checks[0].timeout: 6s is above the interval, 5s"},
		check(`"type": "http", "weight": {"max": 0}`):                                                          {"3: services[0].checks[0].weight.max: is not from min, 1, to 2147483647"},
		check(`"type": "http", "through": "vip"`):                                                              {"3: services[0].checks[0].through: needs the field through of the file, with marks and sources", "4: services[0].real[0].forward: a check through the virtual address is for Route and Tunnel"},
		check(`"type": "udp", "sendHex": "0"`):                                                                 {"3: services[0].checks[0].sendHex: is not pairs of hexadecimal digits"},
		check(`"type": "dns"`):                                                                                 {`3: services[0].checks[0].name: "" is not a name`},
		check(`"type": "dns", "name": "a.", "record": "x"`):                                                    {`3: services[0].checks[0].name: record "X" is none of A, AAAA, NS, SOA, MX and TXT`},
		check(`"type": "command"`):                                                                             {"3: services[0].checks[0].command: is required, a list of the program and its arguments"},
		`{"services": [{"service": "FWM 7", ` + real + `}], "through": {"marks": [7, 9]}}`:                     {"1: services[0].service: the mark is one of through.marks"},
		`{"services": [{"service": "FWM 7", ` + real + `}, {"service": "FWM 7 IPv4", ` + real + `}]}`:          {"1: services[1].service: is the same as that of services[0]"},
		`{"through": {"marks": [5], "sources": ["10.0.0.1", "10.0.0.2"]}, "services": [{"service": "FWM 7"}]}`: {"1: through.marks: the first and the last mark are wanted, from 1 up", "1: through.sources[1]: there is another address of this family", "1: services[0].real: there is none"},
		`{"through": {"marks": [5, 6], "sources": ["10.0.0.1", "fd00::1"]}, "services": [{"service": "FWM 7", "forward": "Route",
			"checks": [{"type": "tcp", "through": "vip", "address": "2001:db8::1"}], ` + real + `}]}`: {"2: services[0].checks[0].address: is not of the service's address family"},
	}
	for text, want := range tests {
		cfg, problems := parseConfig([]byte(text))
		var got []string
		for _, p := range problems {
			got = append(got, p.String())
		}
		if cfg != nil || len(problems) == 0 || len(want) > 0 && strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s\ngot  %q\nwant %q", text, got, want)
		}
	}
}

// The configuration in the program's documentation is valid.
func TestDocumentedConfig(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?s)//\t\{\n.*?\n//\t\}\n`).Find(source)
	if text == nil {
		t.Fatal("there is no configuration in the documentation")
	}
	cfg := parse(t, strings.ReplaceAll(string(text), "//", ""))
	if shown := parse(t, example); !reflect.DeepEqual(cfg, shown) {
		t.Errorf("documented is %+v, and -h shows %+v", cfg, shown)
	}
}

// All fields are in the help.
func TestHelp(t *testing.T) {
	words := make(map[string]bool)
	for _, w := range regexp.MustCompile(`\w+`).FindAllString(help, -1) {
		words[w] = true
	}
	for _, v := range []any{Config{}, Timing{}, Through{}, Service{}, Real{}, Check{}, Weight{}, ipvs.TunnelOptions{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !words[name] && !f.Anonymous {
				t.Errorf("%T.%s, %q, is not in the help", v, f.Name, name)
			}
		}
	}
}

// Whatever the input, there is either a configuration or mistakes that have a line of the input; what is accepted gives
// rules that the kernel's client accepts.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"services": [{"service": "TCP 192.0.2.10:80", "checks": [{"type": "http"}], "real": [{"addr": "10.0.0.2:80"}]}]}`))
	f.Add([]byte(`{"through": {"marks": [5, 9], "sources": ["10.0.0.1"]}, "services": [{"service": "FWM 1", "forward": "Route",
		"checks": [{"type": "udp", "through": "vip", "address": "10.0.0.9", "expect": "x"}], "real": [{"addr": "10.0.0.2:80"}]}]}`))
	f.Add([]byte("{\n\"x\": [}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, problems := parseConfig(data)
		if (cfg == nil) != (len(problems) > 0) {
			t.Fatalf("%v and %v", cfg, problems)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Line > 1+strings.Count(string(data), "\n") || p.Reason == "" {
				t.Errorf("problem %+v", p)
			}
		}
		if cfg == nil {
			return
		}
		var e engine
		added, gone := e.load(cfg, nil)
		if len(gone) > 0 {
			t.Errorf("gone: %v", gone)
		}
		for _, q := range added {
			newChecker(q)
		}
		rules, _ := e.want(time.Time{}, nil, false)
		for _, s := range rules.Services {
			if !e.owned(s.ID) {
				t.Errorf("%v is wanted and not owned", s.ID)
			}
		}
	})
}
