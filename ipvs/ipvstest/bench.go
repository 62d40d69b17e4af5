package ipvstest

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mdlayher/genetlink"

	"github.com/golvs/lvs/ipvs"
)

// A bench is where a case works: an environment and a socket in it.
type bench struct {
	*testing.T
	*socket
	u   *suite
	env Environment
}

func (u *suite) bench(t *testing.T) *bench {
	t.Helper()
	return u.benchIn(t, u.Environment(t))
}

// benchIn returns a bench in an environment, which is left empty at the end: the kernel numbers the entries of lists across
// all namespaces, so that what goes from one that is going away would disturb lists elsewhere.
func (u *suite) benchIn(t *testing.T, env Environment) *bench {
	t.Helper()
	b := &bench{T: t, socket: newSocket(t, env.reader(pageSize-bookkeeping)), u: u, env: env}
	t.Cleanup(func() { _ = write(b.raw, b.set(cFlush)) })
	return b
}

// ctx bounds what a case does with a client.
func (b *bench) ctx() context.Context { return b.Context() }

// another returns a bench in another environment of the same kernel.
func (b *bench) another() *bench {
	b.Helper()
	return b.u.bench(b.T)
}

// bare returns a bench in a namespace without addresses.
func (b *bench) bare() *bench {
	b.Helper()
	if b.u.Bare == nil {
		b.Skip("the setup has no bare namespace")
	}
	return b.u.benchIn(b.T, b.u.Bare(b.T))
}

// second opens another socket in the environment.
func (b *bench) second() *socket {
	b.Helper()
	return newSocket(b.T, b.env.reader(pageSize-bookkeeping))
}

// unprivileged opens a socket without the privilege.
func (b *bench) unprivileged() *socket {
	b.Helper()
	if b.env.Unprivileged == nil {
		b.Skip("the setup has no unprivileged socket")
	}
	return newSocket(b.T, b.env.Unprivileged)
}

// version skips the case if it depends on a version that is not known.
func (b *bench) version() string {
	b.Helper()
	if b.u.Version == "" {
		b.Skip("depends on the kernel's version")
	}
	return b.u.Version
}

// device adds a network device.
func (b *bench) device(name string, mtu int, addrs ...string) {
	b.Helper()
	if b.env.AddDevice == nil {
		b.Skip("the setup cannot add devices")
	}
	var list []netip.Prefix
	for _, a := range addrs {
		list = append(list, netip.MustParsePrefix(a))
	}
	if err := b.env.AddDevice(name, mtu, list...); err != nil {
		b.Fatal(err)
	}
}

// link brings a device up or down.
func (b *bench) link(name string, up bool) {
	b.Helper()
	if b.env.SetLink == nil {
		b.Skip("the setup cannot bring devices up and down")
	}
	if err := b.env.SetLink(name, up); err != nil {
		b.Fatal(err)
	}
}

// advance lets time pass.
func (b *bench) advance(d time.Duration) {
	b.Helper()
	if b.env.Advance == nil {
		b.Skip("the setup cannot let minutes pass")
	}
	b.env.Advance(d)
}

// proc returns the tree of files.
func (b *bench) proc() fs.FS {
	b.Helper()
	if b.env.Proc == nil {
		b.Skip("the setup has no files")
	}
	return b.env.Proc
}

// client returns a typed client of the environment.
func (b *bench) client() *ipvs.Client {
	b.Helper()
	return b.clientOn(b.env.Conn)
}

func (b *bench) clientOn(dial func() (*genetlink.Conn, error)) *ipvs.Client {
	b.Helper()
	conn, err := dial()
	if err != nil {
		b.Fatal(err)
	}
	root := b.env.Proc
	if root == nil {
		root = fstest.MapFS{}
	}
	c, err := ipvs.NewClient(conn, &ipvs.Config{Root: root, Timeout: time.Minute})
	if err != nil {
		_ = conn.Close()
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// equal compares what came with what must come.
func equal(t testing.TB, what string, want, got any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		t.Errorf("%s:\nwant %+v\ngot  %+v", what, want, got)
	}
}

// none fails the test if there is an error.
func none(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pageSize is what the kernel makes the first datagram of a dump from: one page, at most 8 KiB, less its bookkeeping.
var pageSize = min(os.Getpagesize(), 8192)

const bookkeeping = 320

// reader returns what opens a socket that is read from with a buffer of a size.
func (e *Environment) reader(size int) func() (*genetlink.Conn, error) {
	if e.Reader == nil {
		return e.Conn
	}
	return func() (*genetlink.Conn, error) { return e.Reader(size) }
}

// A socket is a raw netlink socket of the family. Requests are executed while they are sent, so that all answers can be
// read right afterwards.
type socket struct {
	t      testing.TB
	conn   *genetlink.Conn
	raw    syscall.RawConn
	family uint16
	seq    uint32
	buffer []byte
}

// newSocket opens a socket and looks the family up. It receives with a buffer of the size that the kernel gives the first
// datagram of a dump, so that all of a dump's datagrams have that limit.
func newSocket(t testing.TB, dial func() (*genetlink.Conn, error)) *socket {
	t.Helper()
	return newSocketSize(t, dial, pageSize-bookkeeping)
}

func newSocketSize(t testing.TB, dial func() (*genetlink.Conn, error), size int) *socket {
	t.Helper()
	conn, err := dial()
	none(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	raw, err := conn.SyscallConn()
	none(t, err)
	s := &socket{t: t, conn: conn, raw: raw, buffer: make([]byte, size)}
	answers := s.exchange(s.lookup("IPVS"))
	if len(answers) != 1 || answers[0].typ() != typeControl {
		t.Fatalf("looking the family up: %v", answers)
	}
	s.family = uint16(answers[0].attrs().number(1))
	return s
}

// lookup is the request for the description of a family.
func (s *socket) lookup(name string) []byte {
	s.seq++
	return frame(typeControl, flRequest, s.seq, 3, str(2, name))
}

// request encodes a request with the next sequence number.
func (s *socket) request(cmd uint8, flags uint16, parts ...[]byte) []byte {
	s.seq++
	return frame(s.family, flags, s.seq, cmd, parts...)
}

// set encodes a request that is acknowledged.
func (s *socket) set(cmd uint8, parts ...[]byte) []byte {
	return s.request(cmd, flRequest|flAck, parts...)
}

// send sends messages in one datagram.
func (s *socket) send(frames ...[]byte) {
	s.t.Helper()
	var b []byte
	for _, f := range frames {
		b = append(pad4(b), f...)
	}
	if err := write(s.raw, b); err != nil {
		s.t.Fatalf("send %d bytes: %v", len(b), err)
	}
}

// receive returns the next datagram, nil if there is none.
func (s *socket) receive() []message {
	s.t.Helper()
	n, err := read(s.raw, s.buffer)
	if err != nil {
		s.t.Fatalf("receive: %v", err)
	}
	list, err := split(slices.Clone(s.buffer[:n]))
	if err != nil {
		s.t.Fatalf("datagram of %d bytes, buffer of %d: %v", n, len(s.buffer), err)
	}
	return list
}

// datagrams returns all that wait to be received.
func (s *socket) datagrams() [][]message {
	s.t.Helper()
	var all [][]message
	for d := s.receive(); d != nil; d = s.receive() {
		all = append(all, d)
	}
	return all
}

// exchange sends messages in one datagram and returns all answers.
func (s *socket) exchange(frames ...[]byte) []message {
	s.t.Helper()
	s.send(frames...)
	return slices.Concat(s.datagrams()...)
}

// acked sends a request that asks for an acknowledgement and returns its errno, which must be the last answer and the
// only one of its kind.
func (s *socket) acked(request []byte) errno {
	s.t.Helper()
	got := s.exchange(request)
	if len(got) == 0 || len(got) > 2 || got[len(got)-1].typ() != typeError || got[0].typ() == typeError && len(got) > 1 {
		s.t.Fatalf("answers to a request with acknowledgement: %v", got)
	}
	for _, m := range got {
		if m.seq() != message(request).seq() {
			s.t.Fatalf("%v came for request %d", m, message(request).seq())
		}
	}
	return got[len(got)-1].errno()
}

// do makes a request and returns its errno.
func (s *socket) do(cmd uint8, parts ...[]byte) errno {
	s.t.Helper()
	if cmd == cDelDaemon {
		return s.stop(s.set(cmd, parts...))
	}
	return s.acked(s.set(cmd, parts...))
}

// stop stops a daemon. A kernel whose daemon has not begun to run yet stops it without an answer (observed on 6.1).
func (s *socket) stop(request []byte) errno {
	s.t.Helper()
	got := s.exchange(request)
	if len(got) == 0 {
		state := attrs{}
		for _, a := range message(request).attrs() {
			state = parseAttrs(a.payload)
		}
		for _, d := range s.list(cGetDaemon) {
			if d.number(mState) == state.number(mState) {
				s.t.Fatal("DEL_DAEMON: neither an answer nor an effect")
			}
		}
		return 0
	}
	if len(got) != 1 || got[0].typ() != typeError || got[0].seq() != message(request).seq() {
		s.t.Fatalf("DEL_DAEMON: %v", got)
	}
	return got[0].errno()
}

// must makes a request that must succeed.
func (s *socket) must(cmd uint8, parts ...[]byte) {
	s.t.Helper()
	s.want(0, cmd, parts...)
}

// want makes a request that must have an outcome.
func (s *socket) want(e errno, cmd uint8, parts ...[]byte) {
	s.t.Helper()
	if got := s.do(cmd, parts...); got != e {
		s.t.Fatalf("%s: %v, want %v", commandName(cmd), got, e)
	}
}

// setup makes requests that must succeed, as many in one send as the receive buffer can answer.
func (s *socket) setup(requests ...[]byte) {
	s.t.Helper()
	for part := range slices.Chunk(requests, 150) {
		for i, m := range s.exchange(part...) {
			if m.typ() != typeError || m.errno() != 0 {
				s.t.Fatalf("request %d of %d: %v", i, len(part), m)
			}
		}
	}
}

// get makes a request with a reply and returns its message.
func (s *socket) get(cmd uint8, parts ...[]byte) message {
	s.t.Helper()
	got := s.exchange(s.request(cmd, flRequest, parts...))
	if len(got) != 1 || got[0].typ() != s.family {
		s.t.Fatalf("%s: %v", commandName(cmd), got)
	}
	return got[0]
}

// dump makes a request for a list and returns its datagrams without the end, which must be in one of its own.
func (s *socket) dump(cmd uint8, parts ...[]byte) [][]message {
	s.t.Helper()
	s.send(s.request(cmd, flRequest|flDump, parts...))
	return s.rest(s.seq)
}

// rest returns what a dump still has, without its end.
func (s *socket) rest(seq uint32) [][]message {
	s.t.Helper()
	all := s.datagrams()
	if len(all) == 0 {
		s.t.Fatal("a dump without an answer")
	}
	last := all[len(all)-1]
	if len(last) != 1 || last[0].typ() != typeDone || last[0].errno() != 0 || len(last[0]) != 20 || last[0].flags() != flMulti {
		s.t.Fatalf("a dump ends with %v, %x", last, last)
	}
	for _, m := range slices.Concat(all...) {
		if m.seq() != seq || m.flags()&flIntr != 0 || m.flags()&flMulti == 0 {
			s.t.Fatalf("%v with flags %#x in the dump %d", m, m.flags(), seq)
		}
	}
	return all[:len(all)-1]
}

// list is dump without regard to datagrams.
func (s *socket) list(cmd uint8, parts ...[]byte) []attrs {
	s.t.Helper()
	var all []attrs
	for _, m := range slices.Concat(s.dump(cmd, parts...)...) {
		all = append(all, m.inner())
	}
	return all
}

// service returns the attributes of a service.
func (s *socket) service(id []byte) attrs {
	s.t.Helper()
	return s.get(cGetService, svc(id)).inner()
}

// services returns the names of all services in the kernel's order.
func (s *socket) services() []string {
	s.t.Helper()
	var names []string
	for _, a := range s.list(cGetService) {
		names = append(names, serviceName(a))
	}
	return names
}

// dests returns the names of a service's destinations in the kernel's order.
func (s *socket) dests(id []byte) []string {
	s.t.Helper()
	var names []string
	for _, a := range s.list(cGetDest, svc(id)) {
		names = append(names, destName(a))
	}
	return names
}

// dest returns the attributes of one destination.
func (s *socket) dest(id []byte, name string) attrs {
	s.t.Helper()
	for _, a := range s.list(cGetDest, svc(id)) {
		if destName(a) == name {
			return a
		}
	}
	s.t.Fatalf("no destination %s", name)
	return nil
}

// state describes all that a namespace holds; services come sorted.
func (s *socket) state() string {
	s.t.Helper()
	var parts []string
	for _, a := range s.list(cGetService) {
		part := fmt.Sprintf("%s %v", serviceName(a), a)
		for _, d := range s.list(cGetDest, svc(serviceID(a))) {
			part += fmt.Sprintf("\n  %s %v", destName(d), d)
		}
		parts = append(parts, part)
	}
	slices.Sort(parts)
	for _, a := range s.list(cGetDaemon) {
		parts = append(parts, fmt.Sprintf("daemon %v", a))
	}
	return strings.Join(append(parts, fmt.Sprintf("config %v", s.get(cGetConfig).attrs())), "\n")
}
