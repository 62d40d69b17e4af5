package arp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/golvs/lvs/sysctl"
)

// Op is what a step of a plan does.
type Op uint8

// Operations. Each has its inverse beside it; SetSetting and WriteFile are their own.
const (
	SetSetting    Op = iota // writes a kernel parameter
	AddLink                 // makes a dummy or tunnel device
	DeleteLink              // removes one
	SetUp                   // switches a device on
	SetDown                 // switches it off
	AddFOU                  // opens a port for an encapsulation in UDP
	DeleteFOU               // closes it
	AddAddress              // gives a device an address
	DeleteAddress           // takes it away
	WriteFile               // replaces, creates or removes a file for the next boot
)

var opNames = [...]string{
	SetSetting: "set", AddLink: "add link", DeleteLink: "delete link", SetUp: "set up", SetDown: "set down",
	AddFOU: "add fou", DeleteFOU: "delete fou", AddAddress: "add address", DeleteAddress: "delete address",
	WriteFile: "write file",
}

// String returns a word or two for people, or "op(N)".
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// MarshalText returns the form of String.
func (o Op) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (o *Op) UnmarshalText(text []byte) error {
	i := slices.Index(opNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("arp: unknown step %q", text)
	}
	*o = Op(i)
	return nil
}

// inverse returns the operation that takes another one back.
func (o Op) inverse() Op {
	switch o {
	case AddLink, SetUp, AddFOU, AddAddress:
		return o + 1
	case DeleteLink, SetDown, DeleteFOU, DeleteAddress:
		return o - 1
	}
	return o
}

// Step is one change of a plan. Which fields are set depends on Op.
type Step struct {
	Op Op `json:"op"`

	Setting sysctl.Key `json:"setting,omitempty"` // of SetSetting
	Device  string     `json:"device,omitempty"`  // of the operations on devices
	Tunnel  *Tunnel    `json:"tunnel,omitempty"`  // what AddLink makes and DeleteLink removes; nil is a dummy
	FOU     *FOUPort   `json:"fou,omitempty"`
	Address *Address   `json:"address,omitempty"`
	File    string     `json:"file,omitempty"` // of WriteFile, without a leading slash

	// Old and New are the value of a setting or the content of a file, before and after.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`

	// OldAbsent says that the file does not exist before, or that the setting does not, because its device is made by
	// an earlier step; Old is then the setting's likely value. NewAbsent says that the file is to be removed.
	OldAbsent bool `json:"oldAbsent,omitempty"`
	NewAbsent bool `json:"newAbsent,omitempty"`

	// Past are what earlier setups wanted instead of New. It is recorded as long as one of them may still be in force,
	// because the process that wanted New was killed.
	Past []string `json:"past,omitempty"`

	// For are the virtual addresses for which this is done. When the last of them is released, it is taken back.
	For []netip.Addr `json:"for,omitempty"`

	// Orphan says that the last address of For was released, but that someone else still needs this.
	Orphan bool `json:"orphan,omitempty"`

	// Keep says that nothing is done now: the host is as wanted already, or, when releasing, still needed so.
	Keep bool `json:"keep,omitempty"`

	// Reason says in a few words why.
	Reason string `json:"reason,omitempty"`
}

// String returns what is done, on one line without the reason: "set net.ipv4.conf.all.arp_ignore from 0 to 1".
func (s Step) String() string {
	if s.Op == SetSetting {
		return fmt.Sprintf("set %v from %s to %s", s.Setting, s.now(), s.wanted())
	}
	if s.Op == WriteFile {
		return s.verb() + " " + s.object()
	}
	return s.Op.String() + " " + s.object()
}

func (s Step) verb() string {
	switch {
	case s.Op == WriteFile && s.NewAbsent:
		return "remove file"
	case s.Op == WriteFile && s.OldAbsent:
		return "create file"
	case s.Op == WriteFile:
		return "replace file"
	}
	return s.Op.String()
}

// object names what the step is about; two steps about the same thing have the same.
func (s Step) object() string {
	switch {
	case s.Op == SetSetting:
		return s.Setting.String()
	case s.Op == WriteFile:
		return "/" + s.File
	case s.FOU != nil:
		return s.FOU.String()
	case s.Address != nil:
		return s.Address.Prefix.String() + " on " + s.Address.Device
	case s.Tunnel != nil:
		return s.Tunnel.String()
	case s.Op == AddLink || s.Op == DeleteLink:
		return s.Device + " type " + kindDummy
	}
	return s.Device
}

func (s Step) now() string {
	switch {
	case s.Op == SetSetting:
		return s.Old
	case s.Op == WriteFile && !s.OldAbsent:
		return "present"
	case s.Op == DeleteLink || s.Op == DeleteAddress || s.Op == DeleteFOU:
		return "present"
	case s.Op == SetUp:
		return "down"
	case s.Op == SetDown:
		return "up"
	}
	return "absent"
}

func (s Step) wanted() string {
	switch {
	case s.Op == SetSetting:
		return s.New
	case s.Op == WriteFile && s.NewAbsent, s.Op == DeleteLink, s.Op == DeleteAddress, s.Op == DeleteFOU:
		return "absent"
	case s.Op == SetUp:
		return "up"
	case s.Op == SetDown:
		return "down"
	}
	return "present"
}

// same says whether two steps do the same to the same thing, whatever the values.
func (s Step) same(t Step) bool {
	return s.Op == t.Op && s.object() == t.object()
}

// inverse returns the step that takes s back.
func (s Step) inverse() Step {
	s.Op = s.Op.inverse()
	s.Old, s.New = s.New, s.Old
	s.OldAbsent, s.NewAbsent = s.NewAbsent, s.OldAbsent
	return s
}

// Plan is a list of changes to a host, in order. It is made by the Plan methods of [Host] and [State] and carried out
// by [Host.Apply]. Leaving steps out is possible, adding ones is not meant.
type Plan struct {
	Steps []Step

	// Warnings say what the plan does not cure, one sentence each.
	Warnings []string

	release bool
	before  journal // what was recorded when the plan was made
}

// Release says whether the plan takes back what earlier ones did.
func (p Plan) Release() bool { return p.release }

// Empty says whether the plan changes nothing on the host.
func (p Plan) Empty() bool {
	return !slices.ContainsFunc(p.Steps, func(s Step) bool { return !s.Keep })
}

// String returns the plan as a table with the columns do, what, now, wanted and why, one line for each step. Contents of
// files and warnings follow.
func (p Plan) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	if len(p.Steps) > 0 {
		fmt.Fprintln(w, "DO\tWHAT\tNOW\tWANTED\tWHY")
	}
	for _, s := range p.Steps {
		verb, now, wanted := s.verb(), s.now(), s.wanted()
		if s.Keep {
			verb = "keep"
			if p.release {
				wanted = now
			} else {
				now = wanted
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", verb, s.object(), now, wanted, s.Reason)
	}
	w.Flush()
	for _, s := range p.Steps {
		if s.Op != WriteFile || s.Keep || s.NewAbsent {
			continue
		}
		fmt.Fprintf(&b, "/%s:\n", s.File)
		for line := range strings.Lines(s.New) {
			b.WriteString("\t" + line)
		}
	}
	for _, warning := range p.Warnings {
		b.WriteString("warning: " + warning + "\n")
	}
	return b.String()
}
