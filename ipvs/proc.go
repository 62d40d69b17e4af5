package ipvs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"net/netip"
	"strconv"
	"time"
)

// ParseError says where a file of /proc does not have the form that the kernel gives it.
type ParseError struct {
	File   string // as in "ip_vs_conn"
	Line   int    // from 1
	Column int    // in bytes from 1
	Reason string
}

// Error returns "ipvs: FILE:LINE:COLUMN: REASON".
func (e *ParseError) Error() string {
	return fmt.Sprintf("ipvs: %s:%d:%d: %s", e.File, e.Line, e.Column, e.Reason)
}

// Connection is an entry of the connection table: a connection, or a template that pins a client to a destination.
type Connection struct {
	// Protocol is the kernel's word: "TCP", "UDP", "SCTP", "IP" for the template of a service by mark, …
	Protocol string `json:"protocol"`

	// Client is where packets come from. For a template it is the client's address with the service's netmask applied,
	// and port 0.
	Client netip.AddrPort `json:"client"`

	// Virtual is where packets go to. For the template of a service by mark it holds the mark: see FWMark.
	Virtual netip.AddrPort `json:"virtual"`

	// Destination is the real server; its family can differ from the others'.
	Destination netip.AddrPort `json:"destination"`

	// State is the kernel's word for the protocol state, such as "ESTABLISHED", and "NONE" or "ASSURED" for a template.
	State string `json:"state"`

	// Expires is the time left, in whole seconds rounded down.
	Expires time.Duration `json:"expires"`

	// PE and PEData are the persistence engine and what it has found in the packet; empty for most entries, and in
	// ip_vs_conn_sync, which does not have them.
	PE     string `json:"pe,omitzero"`
	PEData string `json:"peData,omitzero"`

	// Origin is "LOCAL", or "SYNC" for an entry received from another director; only ip_vs_conn_sync has it.
	Origin string `json:"origin,omitzero"`
}

// IsTemplate reports whether the entry is a persistence template: it has client port 0.
func (c Connection) IsTemplate() bool { return c.Client.Port() == 0 }

// FWMark returns the firewall mark of a template that belongs to a service by mark, and whether it is one.
func (c Connection) FWMark() (uint32, bool) {
	if !c.IsTemplate() || c.Protocol != "IP" {
		return 0, false
	}
	if a := c.Virtual.Addr(); a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:]), true
	}
	b := c.Virtual.Addr().As16()
	return binary.BigEndian.Uint32(b[:4]), true
}

// Connections streams the connection table of the client's namespace, from /proc/net/ip_vs_conn, in the kernel's
// order, which is that of a hash with a random seed. Reading needs no privilege. While it is read the table changes:
// an entry can be missing or appear twice.
//
// A row that cannot be parsed yields an error that matches [*ParseError], and the next row follows; an error of reading
// or of the context ends the sequence.
func (c *Client) Connections(ctx context.Context) iter.Seq2[Connection, error] {
	return c.connections(ctx, "ip_vs_conn")
}

// SyncConnections streams the connection table like [Client.Connections], from /proc/net/ip_vs_conn_sync: with Origin
// and without the data of persistence engines.
func (c *Client) SyncConnections(ctx context.Context) iter.Seq2[Connection, error] {
	return c.connections(ctx, "ip_vs_conn_sync")
}

func (c *Client) connections(ctx context.Context, name string) iter.Seq2[Connection, error] {
	return func(yield func(Connection, error) bool) {
		fail := func(err error) { yield(Connection{}, &OpError{Op: "list connections", Err: err}) }
		if err := c.usable(ctx); err != nil {
			fail(err)
			return
		}
		for conn, err := range readConnections(c.root, name) {
			if stop := c.usable(ctx); stop != nil {
				fail(stop)
				return
			}
			if err != nil {
				err = &OpError{Op: "list connections", Err: err}
			}
			if !yield(conn, err) {
				return
			}
		}
	}
}

// ReadConnections streams /proc/net/ip_vs_conn below root, which is the host's tree if it is os.DirFS("/"), as
// [Client.Connections] does. The error matches [fs.ErrNotExist] if the kernel has no IPVS, or has not loaded it yet.
func ReadConnections(root fs.FS) iter.Seq2[Connection, error] {
	return readConnections(root, "ip_vs_conn")
}

func readConnections(root fs.FS, name string) iter.Seq2[Connection, error] {
	return func(yield func(Connection, error) bool) {
		f, err := openProcNet(root, name)
		if err != nil {
			yield(Connection{}, err)
			return
		}
		defer func() { _ = f.Close() }()
		parseConnections(f, name)(yield)
	}
}

// usable returns the error of a context that has ended or of a client that was closed.
func (c *Client) usable(ctx context.Context) error {
	select {
	case <-c.closed:
		return fs.ErrClosed
	default:
		return ctx.Err()
	}
}

// openProcNet opens a file of the namespace of the thread that opens it: proc/net is that of the process's first
// thread.
func openProcNet(root fs.FS, name string) (fs.File, error) {
	f, err := root.Open("proc/thread-self/net/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return root.Open("proc/net/" + name)
	}
	return f, err
}

// ParseConnections yields the rows of /proc/net/ip_vs_conn or /proc/net/ip_vs_conn_sync, told apart by their first
// line. A malformed row yields a [*ParseError], and the next row follows.
func ParseConnections(r io.Reader) iter.Seq2[Connection, error] {
	return parseConnections(r, "ip_vs_conn")
}

func parseConnections(r io.Reader, file string) iter.Seq2[Connection, error] {
	return func(yield func(Connection, error) bool) {
		lines := lineReader{r: bufio.NewReaderSize(r, 64<<10), file: file}
		if !lines.next() {
			if lines.err == nil {
				lines.err = &ParseError{file, 1, 1, "empty file"}
			}
			yield(Connection{}, lines.err)
			return
		}
		head := lines.fields()
		if !bytes.HasPrefix(lines.line, []byte("Pro FromIP")) {
			yield(Connection{}, head.errorf("not the table of connections"))
			return
		}
		origin := bytes.Contains(lines.line, []byte(" Origin "))
		words := make(map[string]string) // the few words that rows repeat
		for lines.next() {
			c, err := parseConnection(lines.fields(), origin, words)
			if err != nil {
				c = Connection{}
			}
			if !yield(c, err) {
				return
			}
		}
		if lines.err != nil {
			yield(Connection{}, lines.err)
		}
	}
}

func parseConnection(f fields, origin bool, words map[string]string) (c Connection, err error) {
	c.Protocol = f.word("protocol", words)
	c.Client = f.hexAddrPort("client")
	c.Virtual = f.hexAddrPort("virtual")
	c.Destination = f.hexAddrPort("destination")
	c.State = f.word("state", words)
	if origin {
		c.Origin = f.word("origin", words)
	}
	c.Expires = time.Duration(f.decimal("expiry", 32)) * time.Second
	if !origin && f.more() {
		c.PE = f.word("persistence engine", words)
		c.PEData = string(bytes.TrimSuffix(f.rest(), []byte(" ")))
	}
	f.end()
	return c, f.err
}

// lineReader reads lines of any length.
type lineReader struct {
	r    *bufio.Reader
	file string
	n    int
	line []byte // without its end, valid until the next call
	err  error
}

func (l *lineReader) next() bool {
	if l.err != nil {
		return false
	}
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = l.r.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if err != nil && !errors.Is(err, io.EOF) {
		l.err = err
		return false
	}
	if len(line) == 0 {
		return false
	}
	l.n++
	l.line = bytes.TrimSuffix(line, []byte("\n"))
	return true
}

func (l *lineReader) fields() fields { return fields{line: l.line, file: l.file, n: l.n} }

// fields takes a line apart at its blanks. The first mistake sticks.
type fields struct {
	line []byte
	file string
	n    int
	pos  int // of what follows the last word
	at   int // of the last word
	err  error
}

func (f *fields) errorf(format string, args ...any) error {
	if f.err == nil {
		f.err = &ParseError{f.file, f.n, f.at + 1, fmt.Sprintf(format, args...)}
	}
	return f.err
}

func (f *fields) skip() {
	for f.pos < len(f.line) && f.line[f.pos] == ' ' {
		f.pos++
	}
}

// more reports whether another word follows.
func (f *fields) more() bool {
	f.skip()
	return f.err == nil && f.pos < len(f.line)
}

// next returns the next word, and nil after an error or at the end, which is one.
func (f *fields) next(what string) []byte {
	if f.err != nil {
		return nil
	}
	f.skip()
	f.at = f.pos
	end := bytes.IndexByte(f.line[f.pos:], ' ')
	if end < 0 {
		end = len(f.line) - f.pos
	}
	if end == 0 {
		_ = f.errorf("no %s", what)
		return nil
	}
	f.pos += end
	return f.line[f.at:f.pos]
}

// rest returns what follows the next blank.
func (f *fields) rest() []byte {
	if f.err != nil || f.pos >= len(f.line) {
		return nil
	}
	f.at = f.pos + 1
	f.pos = len(f.line)
	return f.line[f.at:]
}

func (f *fields) end() {
	if f.more() {
		f.at = f.pos
		_ = f.errorf("unexpected %q", f.line[f.pos:])
	}
}

// word returns the next word as a string, the same one for the same bytes.
func (f *fields) word(what string, words map[string]string) string {
	b := f.next(what)
	if s, ok := words[string(b)]; ok || words == nil {
		if words == nil {
			return string(b)
		}
		return s
	}
	s := string(b)
	if len(words) < 64 { // more are not the kernel's
		words[s] = s
	}
	return s
}

func (f *fields) decimal(what string, bits int) uint64 {
	b := f.next(what)
	if f.err != nil {
		return 0
	}
	var v uint64
	limit := uint64(math.MaxUint64) >> (64 - bits)
	for _, c := range b {
		if c < '0' || c > '9' || v > (limit-uint64(c-'0'))/10 {
			_ = f.errorf("%s %q is not a number of %d bits", what, b, bits)
			return 0
		}
		v = v*10 + uint64(c-'0')
	}
	return v
}

func (f *fields) hex(what string, bits int) uint64 {
	b := f.next(what)
	if f.err != nil {
		return 0
	}
	v, ok := parseHex(b)
	if !ok || v > uint64(math.MaxUint64)>>(64-bits) {
		_ = f.errorf("%s %q is not a hexadecimal number of %d bits", what, b, bits)
		return 0
	}
	return v
}

// hexAddrPort reads two words, address and port.
func (f *fields) hexAddrPort(what string) netip.AddrPort {
	b := f.next(what)
	if f.err != nil {
		return netip.AddrPort{}
	}
	addr, ok := parseHexAddr(b)
	if !ok {
		_ = f.errorf("%s address %q", what, b)
		return netip.AddrPort{}
	}
	b = f.next("port of " + what)
	if f.err != nil {
		return netip.AddrPort{}
	}
	port, ok := parseHex(b)
	if !ok || len(b) != 4 {
		_ = f.errorf("%s port %q is not four hexadecimal digits", what, b)
	}
	return netip.AddrPortFrom(addr, uint16(port))
}

// parseHexAddr reads eight hexadecimal digits, or eight groups of four with colons between.
func parseHexAddr(b []byte) (netip.Addr, bool) {
	switch len(b) {
	case 8:
		v, ok := parseHex(b)
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(v))
		return netip.AddrFrom4(a), ok
	case 39:
		var a [16]byte
		for i := range 8 {
			v, ok := parseHex(b[5*i : 5*i+4])
			if !ok || i < 7 && b[5*i+4] != ':' {
				return netip.Addr{}, false
			}
			binary.BigEndian.PutUint16(a[2*i:], uint16(v))
		}
		return netip.AddrFrom16(a), true
	}
	return netip.Addr{}, false
}

func parseHex(b []byte) (v uint64, ok bool) {
	if len(b) == 0 || len(b) > 16 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}

// Table is the content of /proc/net/ip_vs, which everybody may read: the services and destinations with less detail
// than a [Client] gives, as the file leaves out persistence engines, flags, thresholds and tunnel options.
type Table struct {
	Version     string         `json:"version"` // such as "1.2.1"
	ConnTabSize uint32         `json:"connTabSize"`
	Services    []TableService `json:"services"`
}

// TableService is a virtual service in a [Table].
type TableService struct {
	// ID names the service. For a service by mark the file does not say the family: it is zero, and two services can
	// have the same ID.
	ID        ServiceID `json:"id"`
	Scheduler string    `json:"scheduler"`

	// OnePacket is never shown for IPv6 services by address.
	OnePacket  bool `json:"onePacket,omitzero"`
	Persistent bool `json:"persistent,omitzero"`

	// Ticks is the persistence timeout in clock ticks of the kernel, commonly 250 or 1,000 a second.
	Ticks uint32 `json:"ticks,omitzero"`

	// Netmask is the persistence granularity: for a service of IPv4, and of marks that can be either, the mask; for
	// IPv6 a prefix. Zero if not persistent.
	Netmask netip.Addr `json:"netmask,omitzero"`

	Destinations []TableDestination `json:"destinations"`
}

// TableDestination is a destination in a [Table].
type TableDestination struct {
	Addr     netip.AddrPort `json:"addr"`
	Forward  ForwardMethod  `json:"forward"`
	Weight   uint32         `json:"weight"`
	Active   uint32         `json:"active"`
	Inactive uint32         `json:"inactive"`
}

// ReadTable reads /proc/net/ip_vs below root, which is the host's tree if it is os.DirFS("/").
//
// The kernel loses its place in the file after each 4 KiB, some 150 services, while other network namespaces have services
// too, and leaves some out; [Client.Services] is complete then (observed on 6.1 and 6.12).
func ReadTable(root fs.FS) (Table, error) {
	f, err := openProcNet(root, "ip_vs")
	if err != nil {
		return Table{}, err
	}
	defer func() { _ = f.Close() }()
	return ParseTable(f)
}

// ParseTable reads the text of /proc/net/ip_vs. The error matches [*ParseError] if it does not have that form.
func ParseTable(r io.Reader) (Table, error) {
	lines := lineReader{r: bufio.NewReader(r), file: "ip_vs"}
	t := Table{Services: []TableService{}}
	for lines.next() {
		f := lines.fields()
		var err error
		switch {
		case lines.n == 1:
			err = t.parseHeader(&f)
		case lines.n <= 3: // titles
		case bytes.HasPrefix(lines.line, []byte("  -> ")):
			if len(t.Services) == 0 {
				err = f.errorf("destination without a service")
				break
			}
			s := &t.Services[len(t.Services)-1]
			var d TableDestination
			d, err = parseTableDestination(&f)
			s.Destinations = append(s.Destinations, d)
		default:
			var s TableService
			s, err = parseTableService(&f)
			t.Services = append(t.Services, s)
		}
		if err != nil {
			return Table{}, err
		}
	}
	if lines.err != nil {
		return Table{}, lines.err
	}
	if lines.n < 3 {
		return Table{}, &ParseError{"ip_vs", lines.n + 1, 1, "the file ends in its title"}
	}
	return t, nil
}

func (t *Table) parseHeader(f *fields) error {
	rest, ok := bytes.CutPrefix(f.line, []byte("IP Virtual Server version "))
	version, size, ok2 := bytes.Cut(rest, []byte(" (size="))
	size, ok3 := bytes.CutSuffix(size, []byte(")"))
	n, err := strconv.ParseUint(string(size), 10, 32)
	if !ok || !ok2 || !ok3 || err != nil {
		return f.errorf("not the table of services")
	}
	t.Version, t.ConnTabSize = string(version), uint32(n)
	return nil
}

func parseTableService(f *fields) (s TableService, err error) {
	s.Destinations = []TableDestination{}
	ipv6 := false
	if word := f.next("protocol"); string(word) == "FWM" {
		s.ID.FWMark = uint32(f.hex("mark", 32))
	} else {
		p, err := ParseProtocol(string(word))
		if err != nil {
			return s, f.errorf("protocol %q", word)
		}
		s.ID.Protocol = p
		s.ID.Addr = f.tableAddr()
		ipv6 = s.ID.Addr.Addr().Is6()
		if s.ID.Addr.Addr().Is4In6() {
			s.ID.Family = IPv6
		}
	}
	s.Scheduler = f.word("scheduler", nil)
	for f.more() {
		switch word := f.next("flag"); string(word) {
		case "ops":
			s.OnePacket = true
		case "persistent":
			s.Persistent = true
			s.Ticks = uint32(f.decimal("timeout", 32))
			mask := uint32(f.hex("netmask", 32))
			s.Netmask = tableMask(mask, ipv6)
		default:
			return s, f.errorf("unknown flag %q", word)
		}
	}
	return s, f.err
}

// tableMask turns the file's netmask into an address. The kernel prints the bytes of the mask, or the prefix length of
// IPv6 as if it were such bytes: on a little-endian machine 64 is 40000000.
func tableMask(v uint32, ipv6 bool) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	if ipv6 {
		if n := host.Uint32(b[:]); n <= 128 {
			return MaskBits(IPv6, int(n))
		}
	}
	return netip.AddrFrom4(b)
}

func parseTableDestination(f *fields) (d TableDestination, err error) {
	f.next("arrow")
	d.Addr = f.tableAddr()
	word := f.next("forwarding method")
	if f.err == nil {
		if d.Forward, err = ParseForwardMethod(string(word)); err != nil {
			return d, f.errorf("forwarding method %q", word)
		}
	}
	d.Weight = uint32(f.decimal("weight", 31))
	d.Active = uint32(f.decimal("active connections", 32))
	d.Inactive = uint32(f.decimal("inactive connections", 32))
	f.end()
	return d, f.err
}

// tableAddr reads one word, an address and a port with a colon between, IPv6 in brackets.
func (f *fields) tableAddr() netip.AddrPort {
	b := f.next("address")
	if f.err != nil {
		return netip.AddrPort{}
	}
	i := bytes.LastIndexByte(b, ':')
	if i < 0 || len(b)-i-1 != 4 {
		_ = f.errorf("address %q without a port of four digits", b)
		return netip.AddrPort{}
	}
	port, ok := parseHex(b[i+1:])
	host := b[:i]
	if len(host) == 41 && host[0] == '[' && host[40] == ']' {
		host = host[1:40]
	}
	addr, ok2 := parseHexAddr(host)
	if !ok || !ok2 {
		_ = f.errorf("address %q", b)
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, uint16(port))
}

// KernelStats are the totals of a namespace. Deleting services does not reduce them.
type KernelStats struct {
	// Total is refreshed every two seconds and set to zero by [Client.ZeroAll].
	Total Stats `json:"total"`

	// CPUs has an entry for each CPU that the machine can have, counted from the start and up to the moment; no rates.
	CPUs []CPUStats `json:"cpus,omitzero"`
}

// CPUStats are the counters of one CPU.
type CPUStats struct {
	CPU         int    `json:"cpu"`
	Connections uint64 `json:"connections"`
	InPackets   uint64 `json:"inPackets"`
	OutPackets  uint64 `json:"outPackets"`
	InBytes     uint64 `json:"inBytes"`
	OutBytes    uint64 `json:"outBytes"`
}

// KernelStats returns the counters of the client's namespace, from /proc/net/ip_vs_stats_percpu. Reading needs no
// privilege.
func (c *Client) KernelStats(ctx context.Context) (KernelStats, error) {
	fail := func(err error) (KernelStats, error) {
		return KernelStats{}, &OpError{Op: "get statistics", Err: err}
	}
	if err := c.usable(ctx); err != nil {
		return fail(err)
	}
	s, err := ReadStats(c.root)
	if err != nil {
		return fail(err)
	}
	return s, nil
}

// ReadStats reads /proc/net/ip_vs_stats_percpu below root, which is the host's tree if it is os.DirFS("/").
func ReadStats(root fs.FS) (KernelStats, error) {
	f, err := openProcNet(root, "ip_vs_stats_percpu")
	if err != nil {
		return KernelStats{}, err
	}
	defer func() { _ = f.Close() }()
	return ParseStats(f)
}

// ParseStats reads the text of /proc/net/ip_vs_stats, or of /proc/net/ip_vs_stats_percpu, which has CPUs. The error
// matches [*ParseError] if it does not have that form.
func ParseStats(r io.Reader) (KernelStats, error) {
	lines := lineReader{r: bufio.NewReader(r), file: "ip_vs_stats"}
	var s KernelStats
	perCPU, total := false, false
	for lines.next() {
		f := lines.fields()
		switch {
		case lines.n == 1:
			if string(bytes.TrimLeft(f.line, " ")) != "Total Incoming Outgoing         Incoming         Outgoing" {
				return KernelStats{}, f.errorf("not the statistics")
			}
		case lines.n == 2:
			perCPU = bytes.HasPrefix(f.line, []byte("CPU"))
			if perCPU {
				lines.file = "ip_vs_stats_percpu"
			}
		case !f.more(), bytes.Contains(f.line, []byte("Conns/s")): // between the blocks
		case !total && perCPU && f.line[f.pos] != '~':
			c := CPUStats{CPU: int(f.hex("CPU", 31))}
			f.counters(&c.Connections, &c.InPackets, &c.OutPackets, &c.InBytes, &c.OutBytes)
			s.CPUs = append(s.CPUs, c)
		case !total:
			if perCPU {
				f.next("sum")
			}
			f.counters(&s.Total.Connections, &s.Total.InPackets, &s.Total.OutPackets, &s.Total.InBytes, &s.Total.OutBytes)
			total = true
		default:
			t := &s.Total
			f.counters(&t.ConnectionRate, &t.InPacketRate, &t.OutPacketRate, &t.InByteRate, &t.OutByteRate)
			if f.err == nil {
				return s, nil
			}
		}
		if f.err != nil {
			return KernelStats{}, f.err
		}
	}
	if lines.err != nil {
		return KernelStats{}, lines.err
	}
	return KernelStats{}, &ParseError{lines.file, lines.n + 1, 1, "the file ends before the rates"}
}

func (f *fields) counters(to ...*uint64) {
	for _, p := range to {
		*p = f.hex("counter", 64)
	}
	f.end()
}
