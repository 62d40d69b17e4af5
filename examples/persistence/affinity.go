package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
)

// affinity is the part of the status that says which server each client has.
func (o *options) affinity(c *ipvs.Client) setup.Checks {
	return func(ctx context.Context) (setup.Look, error) {
		var conns []ipvs.Connection
		for conn, err := range c.Connections(ctx) {
			if err != nil {
				return setup.Look{}, err
			}
			conns = append(conns, conn)
		}
		v := o.view(conns)
		return setup.Look{Name: "affinity", Text: v.String(), Value: v}, nil
	}
}

// view is which server each client has for which ports, and why.
type view struct {
	Clients   []visit    `json:"clients"`
	Templates []template `json:"templates"`
}

// visit is the server of a port of a client.
type visit struct {
	Client      netip.Addr `json:"client"`
	Port        string     `json:"port"`
	Server      netip.Addr `json:"server"`
	Connections int        `json:"connections"`
}

// template is an entry that pins a client to a server.
type template struct {
	Protocol string         `json:"protocol"`
	Client   netip.Addr     `json:"client"` // its network, if there is a mask
	Virtual  netip.AddrPort `json:"virtual"`
	Mark     uint32         `json:"mark,omitzero"`
	Server   netip.AddrPort `json:"server"`
	Expires  seconds        `json:"expiresSeconds"`
}

// seconds is a time that is a number of seconds in JSON.
type seconds time.Duration

// MarshalJSON returns the number of seconds.
func (s seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

// ours reports whether an entry is one of the services'. What has become of a connection's service is not known to the
// kernel either: its virtual address and port tell.
func (o *options) ours(c ipvs.Connection) bool {
	if c.IsTemplate() {
		mark, marked := c.FWMark()
		return slices.ContainsFunc(o.ids(), func(id ipvs.ServiceID) bool {
			if id.IsMark() || marked {
				return id.IsMark() && marked && id.FWMark == mark && id.AddrFamily() == ipvs.Mark(1, familyOf(c.Client.Addr())).Family
			}
			return id.Protocol.String() == c.Protocol && id.Addr == c.Virtual
		})
	}
	if c.Virtual.Addr() != o.vip {
		return false
	}
	if o.kind == pcc {
		return c.Protocol == o.protocol.String()
	}
	return slices.ContainsFunc(o.ports, func(p port) bool { return p.protocol.String() == c.Protocol && p.number == c.Virtual.Port() })
}

func familyOf(a netip.Addr) ipvs.Family {
	if a.Is4() {
		return ipvs.IPv4
	}
	return ipvs.IPv6
}

// view sums up the entries of a connection table.
func (o *options) view(conns []ipvs.Connection) view {
	v := view{Clients: []visit{}, Templates: []template{}}
	counts := make(map[visit]int)
	for _, c := range conns {
		switch {
		case !o.ours(c):
		case c.IsTemplate():
			mark, _ := c.FWMark()
			v.Templates = append(v.Templates, template{c.Protocol, c.Client.Addr(), c.Virtual, mark, c.Destination, seconds(c.Expires)})
		default:
			protocol, err := ipvs.ParseProtocol(c.Protocol)
			if err != nil {
				continue
			}
			counts[visit{c.Client.Addr(), port{protocol, c.Virtual.Port()}.String(), c.Destination.Addr(), 0}]++
		}
	}
	for one, n := range counts {
		one.Connections = n
		v.Clients = append(v.Clients, one)
	}
	slices.SortFunc(v.Clients, func(a, b visit) int {
		return cmp.Or(a.Client.Compare(b.Client), cmp.Compare(len(a.Port), len(b.Port)), cmp.Compare(a.Port, b.Port), a.Server.Compare(b.Server))
	})
	slices.SortFunc(v.Templates, func(a, b template) int {
		return cmp.Or(a.Client.Compare(b.Client), cmp.Compare(a.Protocol, b.Protocol), a.Virtual.Compare(b.Virtual), a.Server.Compare(b.Server))
	})
	return v
}

// String returns two tables.
func (v view) String() string {
	var b strings.Builder
	line := func(words ...any) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-24s%-10s%-24s%s", words...), " ") + "\n")
	}
	if len(v.Clients) > 0 {
		line("client", "port", "server", "connections")
	}
	for _, c := range v.Clients {
		line(c.Client.String(), c.Port, c.Server.String(), fmt.Sprint(c.Connections))
	}
	if len(v.Templates) > 0 {
		line("template of", "", "for", "server")
	}
	for _, t := range v.Templates {
		key := t.Virtual.String()
		if t.Mark != 0 {
			key = fmt.Sprintf("mark %d", t.Mark)
		}
		line(t.Client.String(), t.Protocol, key, fmt.Sprintf("%-24v %v left", t.Server, time.Duration(t.Expires)))
	}
	return b.String()
}
