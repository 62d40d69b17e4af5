package ipvs

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// ChangeKind says what a [Change] does.
type ChangeKind uint8

// Kinds of changes. The zero kind does nothing and is refused.
const (
	ServiceAdd ChangeKind = iota + 1
	ServiceSet
	ServiceDelete
	DestinationAdd
	DestinationSet
	DestinationDelete
	TimeoutsSet
	DaemonStart
	DaemonStop
)

var changeNames = [...]string{
	"none", ServiceAdd: opAddService, ServiceSet: opSetService, ServiceDelete: opDeleteService,
	DestinationAdd: opAddDestination, DestinationSet: opSetDestination, DestinationDelete: opDeleteDestination,
	TimeoutsSet: opSetTimeouts, DaemonStart: opStartDaemon, DaemonStop: opStopDaemon,
}

// String returns the operation's name as in the field Op of [OpError].
func (k ChangeKind) String() string { return enumString(changeNames[:], "change", uint8(k)) }

// MarshalText returns the form of String.
func (k ChangeKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the form of String.
func (k *ChangeKind) UnmarshalText(b []byte) error {
	n, err := enumParse(changeNames[:], "change", string(b))
	*k = ChangeKind(n)
	return err
}

// Change is one request to change the kernel's table, as a value: [Diff] makes them, [Client.Do] and [Client.Apply] carry
// them out. Fields that its kind does not need are zero.
type Change struct {
	Kind ChangeKind `json:"kind"`

	// Service is the whole configuration for ServiceAdd and ServiceSet; the other kinds that are about a service need
	// its ID only.
	Service Service `json:"service,omitzero"`

	// Destination is the whole configuration for DestinationAdd and DestinationSet; DestinationDelete needs its Addr
	// only.
	Destination Destination `json:"destination,omitzero"`

	Timeouts Timeouts `json:"timeouts,omitzero"` // for TimeoutsSet; a zero value is left as it is
	Daemon   Daemon   `json:"daemon,omitzero"`   // for DaemonStart; DaemonStop needs its State only
}

// String describes the change in one line, such as "set destination TCP 192.0.2.1:80 -> 10.0.0.2:80 Route weight 0".
func (c Change) String() string {
	var b strings.Builder
	b.WriteString(c.Kind.String())
	switch c.Kind {
	case ServiceAdd, ServiceSet:
		s := c.Service
		b.WriteString(" " + s.ID.String() + " " + s.Scheduler)
		if s.Flags != 0 {
			b.WriteString(" " + s.Flags.String())
		}
		if s.Flags&Persistent != 0 {
			b.WriteString(" " + s.Timeout.String())
			if s.Netmask.IsValid() {
				b.WriteString(" mask " + s.Netmask.String())
			}
		}
		if s.PE != "" {
			b.WriteString(" engine " + s.PE)
		}
	case ServiceDelete:
		b.WriteString(" " + c.Service.ID.String())
	case DestinationAdd, DestinationSet:
		d := c.Destination
		fmt.Fprintf(&b, " %v -> %v %v weight %d", c.Service.ID, d.Addr, d.Forward, d.Weight)
		if d.UpperThreshold != 0 || d.LowerThreshold != 0 {
			fmt.Fprintf(&b, " thresholds %d/%d", d.UpperThreshold, d.LowerThreshold)
		}
		if d.Tunnel != (TunnelOptions{}) {
			b.WriteString(" " + d.Tunnel.Type.String())
			if d.Tunnel.Port != 0 {
				b.WriteString(" port " + strconv.Itoa(int(d.Tunnel.Port)))
			}
			if d.Tunnel.Flags != 0 {
				b.WriteString(" " + d.Tunnel.Flags.String())
			}
		}
	case DestinationDelete:
		fmt.Fprintf(&b, " %v -> %v", c.Service.ID, c.Destination.Addr)
	case TimeoutsSet:
		fmt.Fprintf(&b, " tcp %v tcpfin %v udp %v", c.Timeouts.TCP, c.Timeouts.TCPFin, c.Timeouts.UDP)
	case DaemonStart:
		fmt.Fprintf(&b, " %v on %s syncid %d", c.Daemon.State, c.Daemon.Interface, c.Daemon.SyncID)
	case DaemonStop:
		b.WriteString(" " + c.Daemon.State.String())
	}
	return b.String()
}

// operation returns what an error about the change says.
func (c *Change) operation() operation {
	o := operation{name: c.Kind.String(), cmd: c.command(), service: c.Service.ID}
	switch c.Kind {
	case ServiceAdd, ServiceSet:
		o.withPE = c.Service.PE != ""
	case DestinationAdd, DestinationSet, DestinationDelete:
		o.dest = c.Destination.Addr
	}
	return o
}

var changeCommands = [...]uint8{
	ServiceAdd: cmdNewService, ServiceSet: cmdSetService, ServiceDelete: cmdDelService,
	DestinationAdd: cmdNewDest, DestinationSet: cmdSetDest, DestinationDelete: cmdDelDest,
	TimeoutsSet: cmdSetConfig, DaemonStart: cmdNewDaemon, DaemonStop: cmdDelDaemon,
}

// command returns the command that makes the change.
func (c *Change) command() uint8 {
	if int(c.Kind) < len(changeCommands) {
		return changeCommands[c.Kind]
	}
	return 0
}

// lastService is the service that the change before was about: many changes that follow one another are about the
// destinations of one. Its zero value has none.
type lastService struct {
	given   ServiceID // as the change has it
	known   bool
	service ServiceID // in canonical form
	family  Family

	// What is made of it when it is first needed, see name.
	named bool
	nest  []byte // names the service in a request

	// usual is the request that sets a destination of an IPv4 service by address: all but what differs from one to the
	// next. It is this service's if complete is true; built says that only the service's part of it has to be replaced.
	usual           [usualSize]byte
	complete, built bool
}

// use checks the identity of a change's service.
func (l *lastService) use(id *ServiceID) error {
	if l.known && l.given == *id {
		return nil
	}
	l.known = false
	c, err := id.canonical()
	if err != nil {
		return prefixField("ID", err)
	}
	l.given, l.known, l.service = *id, true, c
	l.family = c.AddrFamily()
	l.named = false
	return nil
}

// name makes what names the service that is in use.
func (l *lastService) name() {
	if l.named {
		return
	}
	l.named = true
	l.nest = appendServiceID(l.nest[:0], l.service)
	l.complete = l.family == IPv4 && len(l.nest) == serviceIDSize
	switch {
	case !l.complete:
	case l.built:
		copy(l.usual[nlmHdrLen+genlHdrLen:], l.nest)
	default:
		b := beginMessage(l.usual[:0], 0, flagRequest, 0, 0)
		b = appendDestination(append(b, l.nest...), &Destination{}, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
		finishMessage(b, 0)
		l.built = true
	}
}

// usual returns whether the change sets a destination of the usual kind, all of whose fields are in their ranges: an IPv4
// address without tunnel options.
func (c *Change) usual() bool {
	d := &c.Destination
	return (c.Kind == DestinationAdd || c.Kind == DestinationSet) && d.Addr.Addr().Is4() && d.Forward <= 7 &&
		d.Weight <= math.MaxInt32 && d.UpperThreshold <= math.MaxInt32 && d.LowerThreshold <= d.UpperThreshold &&
		d.Tunnel == TunnelOptions{}
}

// Where the fields of a usual request are.
const (
	usualNest = nlmHdrLen + genlHdrLen + serviceIDSize
	usualSize = usualNest + destinationSize
)

// appendUsual appends the whole request that makes a change, if that and its service are of the usual kind.
func (l *lastService) appendUsual(b []byte, typ uint16, seq uint32, c *Change) ([]byte, bool) {
	if !c.usual() || l.use(&c.Service.ID) != nil {
		return b, false
	}
	if l.name(); !l.complete {
		return b, false
	}
	b = extend(b, usualSize)
	p := (*[usualSize]byte)(b[len(b)-usualSize:])
	*p = l.usual
	host.PutUint16(p[4:], typ)
	host.PutUint32(p[8:], seq)
	p[nlmHdrLen] = c.command()
	d := (*[destinationSize]byte)(p[usualNest:])
	*(*[4]byte)(d[8:]) = c.Destination.Addr.Addr().As4()
	binary.BigEndian.PutUint16(d[28:], c.Destination.Addr.Port())
	host.PutUint32(d[36:], uint32(c.Destination.Forward))
	host.PutUint32(d[44:], c.Destination.Weight)
	host.PutUint32(d[52:], c.Destination.UpperThreshold)
	host.PutUint32(d[60:], c.Destination.LowerThreshold)
	return b, true
}

// check says whether the change is well formed.
func (c *Change) check(last *lastService) error {
	switch c.Kind {
	case DestinationAdd, DestinationSet:
		if err := last.use(&c.Service.ID); err != nil {
			return err
		}
		if last.family == IPv4 && c.usual() {
			return nil
		}
		_, err := c.Destination.checked(last.family)
		return err
	case DestinationDelete:
		if err := last.use(&c.Service.ID); err != nil {
			return err
		}
		_, err := canonicalAddr("Addr", c.Destination.Addr)
		return err
	case ServiceAdd, ServiceSet:
		_, err := c.Service.canonical(c.Kind == ServiceAdd)
		return err
	case ServiceDelete:
		_, err := c.Service.ID.canonical()
		return err
	}
	_, err := c.appendRequest(nil, last)
	return err
}

// appendRequest checks the change and appends its attributes to a request.
func (c *Change) appendRequest(b []byte, last *lastService) ([]byte, error) {
	switch c.Kind {
	case ServiceAdd, ServiceSet:
		s, err := c.Service.canonical(c.Kind == ServiceAdd)
		if err != nil {
			return b, err
		}
		return appendService(b, &s), nil
	case ServiceDelete:
		id, err := c.Service.ID.canonical()
		if err != nil {
			return b, err
		}
		return appendServiceID(b, id), nil
	case DestinationAdd, DestinationSet:
		if err := last.use(&c.Service.ID); err != nil {
			return b, err
		}
		addr, err := c.Destination.checked(last.family)
		if err != nil {
			return b, err
		}
		last.name()
		return appendDestination(append(b, last.nest...), &c.Destination, addr), nil
	case DestinationDelete:
		if err := last.use(&c.Service.ID); err != nil {
			return b, err
		}
		addr, err := canonicalAddr("Addr", c.Destination.Addr)
		if err != nil {
			return b, err
		}
		last.name()
		return appendDestinationID(append(b, last.nest...), addr), nil
	case TimeoutsSet:
		s, err := c.Timeouts.seconds()
		if err != nil {
			return b, err
		}
		attrs, err := encodeTimeouts(s)
		return append(b, attrs...), err
	case DaemonStart:
		d, err := c.Daemon.canonical()
		if err != nil {
			return b, err
		}
		attrs, err := encodeDaemon(d)
		return append(b, attrs...), err
	case DaemonStop:
		if s := c.Daemon.State; s != Master && s != Backup {
			return b, fieldErrorf("State", "%v is neither master nor backup", s)
		}
		attrs, err := encodeDaemonState(c.Daemon.State)
		return append(b, attrs...), err
	}
	return b, fieldErrorf("Kind", "%v", c.Kind)
}
