package setup

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/golvs/lvs/ipvs"
)

// Listening checks that a program of this machine serves a port of an address: its own, or every one.
func Listening(netns string, protocol ipvs.Protocol, addr netip.AddrPort) Checks {
	return func(context.Context) (Look, error) {
		l := Look{Name: "listening"}
		name, listens := "tcp", uint64(0x0a)
		switch protocol {
		case ipvs.TCP:
		case ipvs.UDP:
			name, listens = "udp", 0x07
		default:
			return l, nil // there is no such list
		}
		var sockets []netip.AddrPort
		err := Inside(netns, func() error {
			for _, file := range []string{name, name + "6"} {
				f, err := os.Open("/proc/thread-self/net/" + file)
				if errors.Is(err, fs.ErrNotExist) {
					continue // no IPv6
				} else if err != nil {
					return err
				}
				list, err := parseSockets(f, listens)
				if err := errors.Join(err, f.Close()); err != nil {
					return fmt.Errorf("%s: %w", f.Name(), err)
				}
				sockets = append(sockets, list...)
			}
			return nil
		})
		if err != nil {
			return l, err
		}
		serves := slices.ContainsFunc(sockets, func(s netip.AddrPort) bool {
			return s.Port() == addr.Port() && (s.Addr() == addr.Addr() || s.Addr().IsUnspecified() && (s.Addr().Is6() || addr.Addr().Is4()))
		})
		if l.Value = serves; serves {
			l.Text = fmt.Sprintf("%s port %d is served\n", name, addr.Port())
			return l, nil
		}
		l.Findings = append(l.Findings, Finding{
			fmt.Sprintf("nothing serves %s port %d of %v", name, addr.Port(), addr.Addr()),
			fmt.Sprintf("start the service, on %v or on every address", addr.Addr()),
		})
		return l, nil
	}
}

// parseSockets reads /proc/net/tcp or the like and returns the local addresses of the sockets in a state. The words of an
// address are in the machine's byte order.
func parseSockets(r io.Reader, state uint64) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[0] == "sl" {
			continue
		}
		if got, err := strconv.ParseUint(fields[3], 16, 8); err != nil {
			return nil, err
		} else if got != state {
			continue
		}
		text, port, _ := strings.Cut(fields[1], ":")
		raw, err := hex.DecodeString(text)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			return nil, err
		}
		hostOrder(raw)
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return nil, fmt.Errorf("%q is not an address", text)
		}
		list = append(list, netip.AddrPortFrom(addr.Unmap(), uint16(n)))
	}
	return list, lines.Err()
}

// hostOrder turns words that were printed as numbers into their bytes in memory.
func hostOrder(b []byte) {
	for w := range slices.Chunk(b, 4) {
		if len(w) == 4 {
			binary.NativeEndian.PutUint32(w, binary.BigEndian.Uint32(w))
		}
	}
}
