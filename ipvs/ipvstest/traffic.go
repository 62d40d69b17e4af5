package ipvstest

import (
	"net/netip"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sched/sim"
)

// Connect lets a client open a connection: it sends the first packet and, if a destination gets it, what follows until the
// connection is established, see [sim.Director.Establish]. The result says which destination that is, and for a packet that no
// destination gets what became of it.
//
// What a connection changes is seen at once by everybody who reads the kernel: the numbers of connections of a destination and
// the list of connections. Counters and rates follow when the estimator comes by, every two seconds of [Kernel.Advance], as in
// a real kernel.
func (n *Namespace) Connect(f sim.Flow) sim.Result {
	var r sim.Result
	n.traffic(func(d *sim.Director) { r = d.Establish(f) })
	return r
}

// Send sends one packet, of a client or of a server, of a connection that there is or that begins with it.
func (n *Namespace) Send(p sim.Packet) sim.Result {
	var r sim.Result
	n.traffic(func(d *sim.Director) { r = d.Packet(p) })
	return r
}

// Disconnect lets a client and its server end a connection in an orderly way, see [sim.Director.Close]. The entry counts as
// inactive then and stays until its timeout, two minutes for TCP. UDP has no end.
func (n *Namespace) Disconnect(f sim.Flow) {
	n.traffic(func(d *sim.Director) { d.Close(f) })
}

func (n *Namespace) traffic(f func(*sim.Director)) {
	_ = n.k.Traffic(n.ns.Name(), f) // it fails without a simulated data path, and there is one always
}

// BeginReport starts the reports of all services anew. Call it before a change to see which clients the change moves.
func (n *Namespace) BeginReport() {
	_ = n.k.Simulate(n.ns.Name(), func(d *sim.Director) error { d.BeginReport(); return nil })
}

// Report says how the connections of a service were shared out since the report began, see [sim.Report]. The error matches
// [fs.ErrNotExist] if there is no such service.
func (n *Namespace) Report(id ipvs.ServiceID) (r sim.Report, err error) {
	err = n.k.Simulate(n.ns.Name(), func(d *sim.Director) (err error) {
		r, err = d.Report(ID(id))
		return err
	})
	return r, err
}

// Unmodelled returns the changes that the kernel made and packets do not follow: services of protocols that are none, and
// values of sysctls that [sim.Director.SetSysctl] has no model of. It is empty in ordinary use.
func (k *Kernel) Unmodelled() []error { return k.k.Unmodelled() }

// ID returns the identity of a service in the words of package sim.
func ID(id ipvs.ServiceID) sim.ServiceID {
	if id.IsMark() {
		return sim.ServiceID{Mark: id.FWMark, IPv6: id.Family == ipvs.IPv6}
	}
	return sim.ServiceID{Protocol: sim.Protocol(id.Protocol), Addr: id.Addr}
}

// Flow returns the connection of a client to a service by address. Of a service by firewall mark protocol and virtual address
// are to be filled in.
func Flow(client netip.AddrPort, id ipvs.ServiceID) sim.Flow {
	return sim.Flow{Protocol: sim.Protocol(id.Protocol), Client: client, Virtual: id.Addr, Mark: id.FWMark}
}
