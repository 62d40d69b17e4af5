package ipvs

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Version is the version of IPVS in the kernel, 8 bits each for major, minor and patch level: 0x010201 since Linux
// 2.6.
type Version uint32

// String returns the usual form, such as "1.2.1".
func (v Version) String() string {
	return strconv.Itoa(int(v>>16&0xff)) + "." + strconv.Itoa(int(v>>8&0xff)) + "." + strconv.Itoa(int(v&0xff))
}

// MarshalText returns the form of String.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// ParseVersion is the inverse of [Version.String].
func ParseVersion(s string) (Version, error) {
	var v uint64
	words := strings.Split(s, ".")
	for _, word := range words {
		n, err := strconv.ParseUint(word, 10, 8)
		if err != nil || len(words) != 3 {
			return 0, fmt.Errorf("ipvs: version %q is not of the form \"1.2.1\"", s)
		}
		v = v<<8 | n
	}
	return Version(v), nil
}

// UnmarshalText reads the form of String.
func (v *Version) UnmarshalText(b []byte) (err error) {
	*v, err = ParseVersion(string(b))
	return err
}

// Info is what the kernel says about itself.
type Info struct {
	Version Version `json:"version"`

	// ConnTabSize is the number of buckets of the connection hash table, 4096 unless the module parameter
	// conn_tab_bits says otherwise. It does not limit the number of connections.
	ConnTabSize uint32 `json:"connTabSize"`
}

// Timeouts are the times after which an idle connection is forgotten, per namespace, in whole seconds. A change acts
// on a connection when its next packet arrives.
//
// In [Client.SetTimeouts] zero leaves a value as it is. The kernel's limit is 2147483647 clock ticks: 8589934 s on a
// kernel with 250 ticks a second.
type Timeouts struct {
	TCP    time.Duration `json:"tcp"`    // established TCP connections; kernel default 900 s
	TCPFin time.Duration `json:"tcpFin"` // TCP connections after a FIN; kernel default 120 s
	UDP    time.Duration `json:"udp"`    // UDP "connections"; kernel default 300 s
}

func (t Timeouts) seconds() (s [3]uint32, err error) {
	for i, f := range [...]struct {
		name string
		d    time.Duration
	}{{"TCP", t.TCP}, {"TCPFin", t.TCPFin}, {"UDP", t.UDP}} {
		if s[i], err = seconds(f.name, f.d, math.MaxInt32*time.Second); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Daemon is the configuration of a connection synchronisation daemon. [Client.Daemons] returns the values that the
// kernel uses in place of those left zero.
type Daemon struct {
	// State is the role, [Master] or [Backup].
	State DaemonState `json:"state"`

	// Interface is the device that multicasts are sent and received on, 1 to 15 bytes. A master's must be up.
	Interface string `json:"interface"`

	// SyncID tells clusters apart that share a network: 0 to 255, as only 8 bits travel. A backup with 0 accepts every
	// master.
	SyncID uint32 `json:"syncID"`

	// MaxLen is the UDP payload of a synchronisation packet in bytes. Zero is the kernel's default: 1472 for an IPv4
	// group, 1452 for an IPv6 group, and for a backup on a device with a larger MTU what fits it. Other values are
	// moved into the range 1 to 65507 for a master, 1024 to 65507 for a backup (65487 with an IPv6 group).
	MaxLen uint16 `json:"maxLen,omitzero"`

	// Group is the multicast address of either family. The zero value is the kernel's default 224.0.0.81.
	Group netip.Addr `json:"group,omitzero"`

	// Port is the first UDP port; zero is the kernel's default 8848.
	Port uint16 `json:"port,omitzero"`

	// TTL is the time to live of a master's packets; zero is the kernel's default 1.
	TTL uint8 `json:"ttl,omitzero"`
}

func (d Daemon) canonical() (Daemon, error) {
	switch {
	case d.State != Master && d.State != Backup:
		return d, fieldErrorf("State", "%v is neither master nor backup", d.State)
	case d.Interface == "":
		return d, fieldErrorf("Interface", "empty")
	case d.SyncID > 255:
		return d, fieldErrorf("SyncID", "%d is above 255", d.SyncID)
	case d.Group.Zone() != "":
		return d, fieldErrorf("Group", "%v has a zone", d.Group)
	}
	d.Group = d.Group.Unmap()
	if d.Group.IsValid() && !d.Group.IsMulticast() {
		return d, fieldErrorf("Group", "%v is not a multicast address", d.Group)
	}
	return d, checkName("Interface", d.Interface, maxInterfaceName)
}
