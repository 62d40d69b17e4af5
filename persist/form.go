package persist

import "strconv"

// Form says how the connections of a client belong together.
type Form uint8

// Forms of persistence.
const (
	// PPC, persistent port connections: all connections to the service's port.
	PPC Form = iota
	// PCC, persistent client connections: all connections to an address with the same protocol, whatever the port. The
	// service has port 0.
	PCC
	// PNMPP, persistent netfilter-marked packets: all connections with the service's firewall mark, whatever address,
	// protocol and port.
	PNMPP
	// FTP is the rule for services with port 21: control and data connections, and other unprivileged ports. Its
	// templates have the keys of PCC, so that both services of an address share them.
	FTP
)

var formNames = [...]string{PPC: "PPC", PCC: "PCC", PNMPP: "PNMPP", FTP: "FTP"}

// String returns the abbreviation, or "form(N)" for a value this package does not know.
func (f Form) String() string {
	if int(f) < len(formNames) {
		return formNames[f]
	}
	return "form(" + strconv.Itoa(int(f)) + ")"
}
