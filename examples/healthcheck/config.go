package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// Config is the content of a configuration file.
type Config struct {
	// Defaults are for checks that do not say otherwise. Their own defaults: interval 5s, timeout 2s, rise 2, fall 3, jitter
	// 0.1.
	Defaults Timing `json:"defaults"`

	// Resync is how often the table is compared with what it should be, besides after every change of a server. At least
	// 100ms; default 30s.
	Resync Duration `json:"resync"`

	// Through is needed by checks of the virtual address.
	Through *Through `json:"through"`

	Services []Service `json:"services"`
}

// Timing says when a check is made and how often it has to fail or pass.
type Timing struct {
	Interval Duration `json:"interval"` // from the beginning of one check to that of the next; at least 10ms
	Timeout  Duration `json:"timeout"`  // of one check; at most the interval
	Rise     int      `json:"rise"`     // checks passed in a row that bring a server back
	Fall     int      `json:"fall"`     // checks failed in a row that take it out
	Jitter   *float64 `json:"jitter"`   // intervals are shorter by a random part of up to this, 0 to 1
}

// Through is what checks of the virtual address on one real server need on a director that has that address itself.
type Through struct {
	// Marks are the first and last firewall mark that this program may use. Services of these marks are its own.
	Marks [2]uint32 `json:"marks"`

	// Sources are the director's own addresses that checks come from, at most one for each family.
	Sources []netip.Addr `json:"sources"`
}

// Service is a virtual service. The program keeps it as it is declared here, whoever changes it.
type Service struct {
	Service   ipvs.ServiceID     `json:"service"`   // such as "TCP 192.0.2.1:80" or "FWM 7"
	Scheduler string             `json:"scheduler"` // default wlc
	Flags     ipvs.ServiceFlags  `json:"flags"`     // without persistence
	Persist   Duration           `json:"persist"`   // how long a client stays with its server; default none
	Mask      *int               `json:"mask"`      // length of the client's network that counts as one client
	Engine    string             `json:"engine"`    // of persistence
	Forward   ipvs.ForwardMethod `json:"forward"`   // default Masq

	// Action says what becomes of a server that fails: "quiesce", the default, sets its weight to 0 and lets its connections
	// go on; "remove" deletes it.
	Action string `json:"action"`

	Checks    []Check  `json:"checks"`    // all must pass; none means always up
	SlowStart Duration `json:"slowStart"` // a server that returns gets its weight little by little, for so long
	Sorry     *Real    `json:"sorry"`     // gets the clients while no server is up
	Real      []Real   `json:"real"`
}

// Real is a real server of a service.
type Real struct {
	Addr    netip.AddrPort      `json:"addr"`
	Weight  *uint32             `json:"weight"` // default 1; 0 takes the server out of service whatever its checks say
	Forward *ipvs.ForwardMethod `json:"forward"`
	Tunnel  ipvs.TunnelOptions  `json:"tunnel"`
	Upper   uint32              `json:"upper"`  // threshold of connections
	Lower   uint32              `json:"lower"`  // threshold of connections
	Checks  []Check             `json:"checks"` // instead of the service's
}

// Check is one way to ask a real server.
type Check struct {
	Type string `json:"type"` // tcp, http, https, udp, dns or command

	// Address and Port are asked; the default is the real server itself.
	Address netip.Addr `json:"address,omitzero"`
	Port    uint16     `json:"port,omitzero"`

	// Through is "vip" for a question to the virtual address that only this real server gets; for services that forward by
	// Route or Tunnel.
	Through string `json:"through,omitzero"`

	Method   string            `json:"method,omitzero"`   // http: default GET
	Path     string            `json:"path,omitzero"`     // http: default /
	Host     string            `json:"host,omitzero"`     // http: name in the request, and in TLS; default the address
	Header   map[string]string `json:"header,omitzero"`   // http
	Status   string            `json:"status,omitzero"`   // http: such as 200 or 200-299,401; default 200-299
	Insecure bool              `json:"insecure,omitzero"` // https: any certificate will do
	Body     string            `json:"body,omitzero"`     // http: expression that the content has to match

	Send    string `json:"send,omitzero"`    // udp: what is sent
	SendHex string `json:"sendHex,omitzero"` // udp: the same in hexadecimal digits
	Expect  string `json:"expect,omitzero"`  // udp: expression that the answer has to match; default any answer

	Name   string     `json:"name,omitzero"`   // dns: that is looked up
	Record string     `json:"record,omitzero"` // dns: A, AAAA, NS, SOA, MX or TXT; default A
	Answer netip.Addr `json:"answer,omitzero"` // dns: that has to be in the answer

	// Command is a program with its arguments, run without a shell: status 0 is good. {addr} and {port} stand for the
	// server's.
	Command []string `json:"command,omitzero"`

	// Weight says that the first word of the answer, of an http or command check, is the server's weight.
	Weight *Weight `json:"weight,omitzero"`

	Timing
}

// Weight turns numbers from a server into its weight.
type Weight struct {
	Min    uint32   `json:"min"`    // default 1
	Max    uint32   `json:"max"`    // required
	Smooth *float64 `json:"smooth"` // part of each new number in the moving average, above 0 to 1; default 0.3
}

// Duration is a time such as "1.5s".
type Duration time.Duration

// UnmarshalText reads a time as time.ParseDuration does.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	switch {
	case err != nil:
		return errors.New(`a time such as "5s" or "1m30s" is wanted`)
	case v < 0:
		return errors.New("a time must not be negative")
	}
	*d = Duration(v)
	return nil
}

// MarshalText returns the text of time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Actions for servers that fail.
const (
	actionQuiesce = "quiesce"
	actionRemove  = "remove"
)

// throughVIP is the value of Check.Through.
const throughVIP = "vip"

// maxWeight is the largest that the kernel takes.
const maxWeight = math.MaxInt32

// parseConfig reads a configuration, checks it and fills in the defaults. There is a configuration only without problems.
func parseConfig(data []byte) (*Config, []problem) {
	var c Config
	d := decode(data, &c)
	if len(d.problems) == 0 {
		c.finish(d.report)
	}
	if len(d.problems) > 0 {
		slices.SortStableFunc(d.problems, func(a, b problem) int { return a.Line - b.Line })
		return nil, d.problems
	}
	return &c, nil
}

// reporter takes a mistake about the value of a path.
type reporter func(path, format string, args ...any)

func (c *Config) finish(report reporter) {
	jitter := 0.1
	c.Defaults.inherit(Timing{Duration(5 * time.Second), Duration(2 * time.Second), 2, 3, &jitter})
	c.Defaults.validate("defaults", report)
	switch {
	case c.Resync == 0:
		c.Resync = Duration(30 * time.Second)
	case c.Resync < Duration(100*time.Millisecond):
		report("resync", "is below 100ms")
	}
	if c.Through != nil {
		c.Through.validate(report)
	}
	if len(c.Services) == 0 {
		report("services", "there is none")
	}
	seen := make(map[ipvs.ServiceID]string)
	for i := range c.Services {
		path := fmt.Sprintf("services[%d]", i)
		s := &c.Services[i]
		if other, twice := seen[s.Service]; twice {
			report(path+".service", "is the same as that of %s", other)
		}
		seen[s.Service] = path
		s.finish(path, c, report)
	}
	if through := c.throughs(); c.Through != nil && through > int(c.Through.Marks[1]-c.Through.Marks[0])+1 {
		report("through.marks", "%d marks are needed", through)
	}
}

// throughs is the number of real servers that are asked by the virtual address.
func (c *Config) throughs() (n int) {
	for _, s := range c.Services {
		for _, r := range s.Real {
			if r.through() {
				n++
			}
		}
	}
	return n
}

// through reports whether a check of the server goes to the virtual address.
func (r Real) through() bool {
	return slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Through == throughVIP })
}

// source is the address that checks of the virtual address come from; invalid if there is none for the family.
func (t *Through) source(like netip.Addr) netip.Addr {
	for _, a := range t.Sources {
		if a.Is4() == like.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

func (t *Through) validate(report reporter) {
	if t.Marks[0] == 0 || t.Marks[1] < t.Marks[0] {
		report("through.marks", "the first and the last mark are wanted, from 1 up")
	}
	for i, a := range t.Sources {
		path := fmt.Sprintf("through.sources[%d]", i)
		if a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			report(path, "%v is not the address of a director", a)
		}
		if i > 0 && t.source(a) != a {
			report(path, "there is another address of this family")
		}
	}
}

func (s *Service) finish(path string, c *Config, report reporter) {
	at := func(field string) string { return path + "." + field }
	id := s.Service
	switch mark := c.Through; {
	case id == ipvs.ServiceID{}:
		report(at("service"), `is required, such as "TCP 192.0.2.1:80" or "FWM 7"`)
		return
	case id.IsMark() && mark != nil && id.FWMark >= mark.Marks[0] && id.FWMark <= mark.Marks[1]:
		report(at("service"), "the mark is one of through.marks")
	case !id.IsMark() && id.Addr.Port() == 0 && s.Persist == 0:
		report(at("persist"), "is required for a service of all ports")
	}
	if s.Scheduler == "" {
		s.Scheduler = "wlc"
	}
	if s.Action == "" {
		s.Action = actionQuiesce
	}
	bits := 32
	if id.AddrFamily() == ipvs.IPv6 {
		bits = 128
	}
	if s.Mask == nil {
		s.Mask = &bits
	}
	switch {
	case len(s.Scheduler) > 15:
		report(at("scheduler"), "no scheduler has such a long name")
	case s.Action != actionQuiesce && s.Action != actionRemove:
		report(at("action"), "%q is neither quiesce nor remove", s.Action)
	case s.Flags&ipvs.Persistent != 0:
		report(at("flags"), "persistence is the field persist")
	case time.Duration(s.Persist)%time.Second != 0 || s.Persist > Duration(4294967*time.Second):
		report(at("persist"), "whole seconds up to 4294967s are wanted")
	case *s.Mask < 1 || *s.Mask > bits:
		report(at("mask"), "is not from 1 to %d", bits)
	case s.Engine != "" && s.Persist == 0:
		report(at("engine"), "is for persistent services")
	}
	if len(s.Real) == 0 {
		report(at("real"), "there is none")
	}
	seen := make(map[netip.AddrPort]string)
	server := func(path string, r *Real) {
		if other, twice := seen[r.Addr]; twice {
			report(path+".addr", "is the same as that of %s", other)
		}
		seen[r.Addr] = path
		r.finish(path, s, report)
	}
	for i := range s.Checks {
		s.Checks[i].finish(fmt.Sprintf("%s[%d]", at("checks"), i), c, s, report)
	}
	for i := range s.Real {
		p := fmt.Sprintf("%s[%d]", at("real"), i)
		r := &s.Real[i]
		server(p, r)
		if r.Checks == nil {
			r.Checks = s.Checks
		} else {
			for k := range r.Checks {
				r.Checks[k].finish(fmt.Sprintf("%s.checks[%d]", p, k), c, s, report)
			}
		}
		weights := 0
		for _, check := range r.Checks {
			if check.Weight != nil {
				weights++
			}
			if check.needsPort() && check.Port == 0 && r.Addr.Port() == 0 {
				report(p+".addr", "a check of this server needs a port")
			}
		}
		if weights > 1 {
			report(p+".checks", "several checks give the weight")
		}
		if r.through() && *r.Forward != ipvs.Route && *r.Forward != ipvs.Tunnel {
			report(p+".forward", "a check through the virtual address is for Route and Tunnel")
		}
	}
	if s.Sorry != nil {
		if s.Sorry.Checks != nil {
			report(at("sorry.checks"), "a sorry server is not checked")
		}
		server(at("sorry"), s.Sorry)
	}
}

func (r *Real) finish(path string, s *Service, report reporter) {
	at := func(field string) string { return path + "." + field }
	if r.Weight == nil {
		one := uint32(1)
		r.Weight = &one
	}
	if r.Forward == nil {
		r.Forward = &s.Forward
	}
	addr := r.Addr.Addr()
	switch {
	case !r.Addr.IsValid():
		report(at("addr"), `is required, such as "10.0.0.2:80"`)
		return
	case addr.Is4In6() || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast():
		report(at("addr"), "%v is not the address of a server", addr)
	case addr.Is4() != (s.Service.AddrFamily() == ipvs.IPv4) && *r.Forward != ipvs.Tunnel:
		report(at("addr"), "only Tunnel goes to a server of another address family")
	case *r.Weight > maxWeight:
		report(at("weight"), "is above %d", maxWeight)
	case r.Upper > maxWeight:
		report(at("upper"), "is above %d", maxWeight)
	case r.Lower > r.Upper:
		report(at("lower"), "is above upper")
	case *r.Forward != ipvs.Masquerade && !s.Service.IsMark() && r.Addr.Port() != s.Service.Addr.Port():
		report(at("addr"), "%v keeps the port: it is %d, as the service's", *r.Forward, s.Service.Addr.Port())
	case r.Tunnel.Type == ipvs.GUE && r.Tunnel.Port == 0:
		report(at("tunnel"), "gue needs a port")
	}
}

// inherit fills in what is not set.
func (t *Timing) inherit(from Timing) {
	if t.Interval == 0 {
		t.Interval = from.Interval
	}
	if t.Timeout == 0 {
		t.Timeout = min(from.Timeout, t.Interval)
	}
	if t.Rise == 0 {
		t.Rise = from.Rise
	}
	if t.Fall == 0 {
		t.Fall = from.Fall
	}
	if t.Jitter == nil {
		t.Jitter = from.Jitter
	}
}

func (t *Timing) validate(path string, report reporter) {
	switch {
	case t.Interval < Duration(10*time.Millisecond):
		report(path+".interval", "is below 10ms")
	case t.Timeout > t.Interval:
		report(path+".timeout", "%v is above the interval, %v", time.Duration(t.Timeout), time.Duration(t.Interval))
	case t.Rise < 0:
		report(path+".rise", "is below 1")
	case t.Fall < 0:
		report(path+".fall", "is below 1")
	case *t.Jitter < 0 || *t.Jitter > 1:
		report(path+".jitter", "is not from 0 to 1")
	}
}

// Kinds of checks and the fields that are theirs alone.
var checkFields = map[string][]string{
	"tcp":     {},
	"http":    {"method", "path", "host", "header", "status", "body", "weight"},
	"https":   {"method", "path", "host", "header", "status", "body", "insecure", "weight"},
	"udp":     {"send", "sendHex", "expect"},
	"dns":     {"name", "record", "answer"},
	"command": {"command", "weight"},
}

// needsPort reports whether the check asks a port.
func (c *Check) needsPort() bool { return c.Type != "command" }

// set lists the fields that are set and belong to some kinds of checks only.
func (c *Check) set() (names []string) {
	for name, isSet := range map[string]bool{
		"method": c.Method != "", "path": c.Path != "", "host": c.Host != "", "header": c.Header != nil, "status": c.Status != "",
		"body": c.Body != "", "insecure": c.Insecure, "send": c.Send != "", "sendHex": c.SendHex != "", "expect": c.Expect != "",
		"name": c.Name != "", "record": c.Record != "", "answer": c.Answer.IsValid(), "command": c.Command != nil,
		"weight": c.Weight != nil,
	} {
		if isSet {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *Check) finish(path string, cfg *Config, s *Service, report reporter) {
	at := func(field string) string { return path + "." + field }
	fields, known := checkFields[c.Type]
	if !known {
		report(at("type"), "%q is none of tcp, http, https, udp, dns and command", c.Type)
		return
	}
	for _, name := range c.set() {
		if !slices.Contains(fields, name) {
			report(at(name), "is not for checks of type %s", c.Type)
		}
	}
	c.Timing.inherit(cfg.Defaults)
	c.Timing.validate(path, report)
	c.finishThrough(path, cfg, s, report)
	if _, err := regexp.Compile(c.Body); err != nil {
		report(at("body"), "%v", err)
	}
	if _, err := regexp.Compile(c.Expect); err != nil {
		report(at("expect"), "%v", err)
	}
	switch c.Type {
	case "http", "https":
		c.finishHTTP(path, report)
	case "udp":
		if _, err := hex.DecodeString(c.SendHex); err != nil {
			report(at("sendHex"), "is not pairs of hexadecimal digits")
		} else if c.Send != "" && c.SendHex != "" {
			report(at("sendHex"), "there is send already")
		}
	case "dns":
		c.Record = strings.ToUpper(c.Record)
		if c.Record == "" {
			c.Record = "A"
			if c.Answer.Is6() {
				c.Record = "AAAA"
			}
		}
		if _, err := dnsQuery(0, c.Name, c.Record); err != nil {
			report(at("name"), "%v", err)
		}
	case "command":
		if len(c.Command) == 0 || c.Command[0] == "" {
			report(at("command"), "is required, a list of the program and its arguments")
		}
	}
	if w := c.Weight; w != nil {
		if w.Min == 0 {
			w.Min = 1
		}
		if w.Smooth == nil {
			part := 0.3
			w.Smooth = &part
		}
		switch {
		case w.Max < w.Min || w.Max > maxWeight:
			report(at("weight.max"), "is not from min, %d, to %d", w.Min, maxWeight)
		case *w.Smooth <= 0 || *w.Smooth > 1:
			report(at("weight.smooth"), "is not above 0 and up to 1")
		}
	}
}

func (c *Check) finishThrough(path string, cfg *Config, s *Service, report reporter) {
	switch {
	case c.Through == "":
	case c.Through != throughVIP:
		report(path+".through", "%q is not vip", c.Through)
	case !c.needsPort():
		report(path+".through", "is not for checks of type %s", c.Type)
	case cfg.Through == nil:
		report(path+".through", `needs the field through of the file, with marks and sources`)
	case s.Service.IsMark() && !c.Address.IsValid():
		report(path+".address", "is required: which virtual address of the mark is to be asked")
	case c.vip(s).Is4() != (s.Service.AddrFamily() == ipvs.IPv4):
		report(path+".address", "is not of the service's address family")
	case !cfg.Through.source(c.vip(s)).IsValid():
		report(path+".through", "through.sources has no address of this family")
	}
}

// vip is the virtual address that a check through it asks.
func (c *Check) vip(s *Service) netip.Addr {
	if c.Address.IsValid() {
		return c.Address
	}
	return s.Service.Addr.Addr()
}

func (c *Check) finishHTTP(path string, report reporter) {
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	if c.Path == "" {
		c.Path = "/"
	}
	if c.Status == "" {
		c.Status = "200-299"
	}
	if _, err := http.NewRequest(c.Method, "http://localhost"+c.Path, nil); err != nil || c.Path[0] != '/' {
		report(path+".path", "%s %s is not a request", c.Method, c.Path)
	}
	if _, err := parseStatus(c.Status); err != nil {
		report(path+".status", "%v", err)
	}
}

// parseStatus reads a list of statuses, such as 200-299,401.
func parseStatus(s string) (ranges [][2]int, err error) {
	for word := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(word, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil || a < 100 || b > 599 || a > b {
			return nil, fmt.Errorf("%q is not a status from 100 to 599, or a range such as 200-299", word)
		}
		ranges = append(ranges, [2]int{a, b})
	}
	return ranges, nil
}
