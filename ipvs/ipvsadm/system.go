package ipvsadm

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/golvs/lvs/ipvs"
)

// SystemResolver is the [Resolver] of this host: hosts by the net package, ports by /etc/services. It remembers the names
// of addresses, and reads /etc/services once. Use [NewSystemResolver]. It is safe for concurrent use.
type SystemResolver struct {
	root  fs.FS
	hosts *net.Resolver

	once  sync.Once
	ports *portNames

	mu    sync.Mutex
	names map[netip.Addr]hostName
}

type hostName struct {
	name string
	err  error
}

var _ Resolver = (*SystemResolver)(nil)

// NewSystemResolver returns a resolver that reads etc/services below root, which is the host's tree if nil, and asks for
// hosts with r, which is [net.DefaultResolver] if nil. Without the file no port has a name.
func NewSystemResolver(root fs.FS, r *net.Resolver) *SystemResolver {
	if root == nil {
		root = os.DirFS("/")
	}
	if r == nil {
		r = net.DefaultResolver
	}
	return &SystemResolver{root: root, hosts: r, names: make(map[netip.Addr]hostName)}
}

// LookupHost returns the first IPv4 address of a host.
func (s *SystemResolver) LookupHost(ctx context.Context, name string) (netip.Addr, error) {
	list, err := s.hosts.LookupNetIP(ctx, "ip4", name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ipvsadm: %w", err)
	}
	for _, a := range list {
		if a = a.Unmap(); a.Is4() {
			return a, nil
		}
	}
	return netip.Addr{}, ErrNoName
}

// LookupPort returns the port of a name or alias in /etc/services.
func (s *SystemResolver) LookupPort(_ context.Context, p ipvs.Protocol, name string) (uint16, error) {
	if n, ok := s.services().byName[portName{p, name}]; ok {
		return n, nil
	}
	return 0, ErrNoName
}

// HostName returns the first name of an address. The answer, and that there is none, is remembered.
func (s *SystemResolver) HostName(ctx context.Context, addr netip.Addr) (string, error) {
	s.mu.Lock()
	known, ok := s.names[addr]
	s.mu.Unlock()
	if ok {
		return known.name, known.err
	}
	list, err := s.hosts.LookupAddr(ctx, addr.String())
	var h hostName
	switch {
	case err != nil:
		h.err = fmt.Errorf("ipvsadm: %w", err)
	case len(list) == 0 || list[0] == "":
		h.err = ErrNoName
	default:
		h.name = strings.TrimSuffix(list[0], ".")
	}
	if ctx.Err() == nil {
		s.mu.Lock()
		s.names[addr] = h
		s.mu.Unlock()
	}
	return h.name, h.err
}

// PortName returns the name of a port in /etc/services.
func (s *SystemResolver) PortName(_ context.Context, p ipvs.Protocol, port uint16) (string, error) {
	if name, ok := s.services().byPort[portNumber{p, port}]; ok {
		return name, nil
	}
	return "", ErrNoName
}

type (
	portName struct {
		proto ipvs.Protocol
		name  string
	}
	portNumber struct {
		proto ipvs.Protocol
		port  uint16
	}
)

// portNames is what /etc/services says.
type portNames struct {
	byName map[portName]uint16
	byPort map[portNumber]string
}

func (s *SystemResolver) services() *portNames {
	s.once.Do(func() {
		s.ports = &portNames{}
		f, err := s.root.Open("etc/services")
		if err != nil {
			return
		}
		defer func() { _ = f.Close() }()
		s.ports = readPortNames(f)
	})
	return s.ports
}

// readPortNames reads services(5): a name, a port with a protocol, aliases, and comments. The first of several entries
// counts. Lines of another form are passed over, as the C library does.
func readPortNames(r io.Reader) *portNames {
	p := &portNames{byName: make(map[portName]uint16), byPort: make(map[portNumber]string)}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		number, word, _ := strings.Cut(words[1], "/")
		n, err := strconv.ParseUint(number, 10, 16)
		proto, ok := protocolOf(word)
		if err != nil || !ok {
			continue
		}
		if key := (portNumber{proto, uint16(n)}); p.byPort[key] == "" {
			p.byPort[key] = words[0]
		}
		for i, name := range words {
			if i == 1 {
				continue
			}
			if key := (portName{proto, name}); p.byName[key] == 0 {
				p.byName[key] = uint16(n)
			}
		}
	}
	return p
}

func protocolOf(word string) (ipvs.Protocol, bool) {
	switch word {
	case "tcp":
		return ipvs.TCP, true
	case "udp":
		return ipvs.UDP, true
	case "sctp":
		return ipvs.SCTP, true
	}
	return 0, false
}
