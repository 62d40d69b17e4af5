package arp

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/golvs/lvs/sysctl"
)

// Exposure says what the neighbours on one device learn from this machine about a virtual address.
type Exposure struct {
	VIP    netip.Addr
	Device string

	// Local says that the machine takes packets for the address, as a real server must.
	Local bool

	// Answers says that it answers an ARP request or neighbour solicitation for the address that comes in by the device.
	Answers bool
	// AnswersCause is what decides that.
	AnswersCause Cause

	// Announces says that ARP requests of its own that leave by the device name the address as their sender when the
	// machine sends from it, which makes neighbours believe that the address is here.
	Announces bool
	// AnnouncesCause is what decides that.
	AnnouncesCause Cause
}

// Hidden says whether the neighbours do not learn of the address: what a real server wants.
func (e Exposure) Hidden() bool { return !e.Answers && !e.Announces }

// Cause is a reason for something.
type Cause struct {
	// Setting is the parameter that decides, of the two that make up the value in force the larger one. Empty if it is
	// not a parameter that decides.
	Setting sysctl.Key

	Value int    // of the setting
	Text  string // in words, without a full stop
}

// String returns the setting with its value, if there is one, and the words.
func (c Cause) String() string {
	if c.Setting == "" {
		return c.Text
	}
	return fmt.Sprintf("%v = %d: %s", c.Setting, c.Value, c.Text)
}

// Check says whether this machine would answer for a virtual address on a device, and whether it would announce it, and
// what decides. It is computed from the settings: nothing is sent. The asker is the address of whoever asks; it matters
// for the value 2 of arp_ignore only, and invalid means one in the same subnet. With strict return path filtering
// (rp_filter 1) the kernel also ignores an asker whom it would not reach by the device; that is not computed. See
// [Host.Probe] for asking really.
//
// The error matches fs.ErrNotExist if there is no such device, fs.ErrInvalid for an impossible address, and is
// otherwise that of [Host.State].
func (h *Host) Check(ctx context.Context, vip netip.Addr, device string, asker netip.Addr) (Exposure, error) {
	s, err := h.State(ctx)
	if err != nil {
		return Exposure{}, err
	}
	return s.Check(vip, device, asker)
}

// Check is [Host.Check] for a state that was read before.
func (s State) Check(vip netip.Addr, device string, asker netip.Addr) (Exposure, error) {
	plain, err := checkVIP(vip)
	if err != nil {
		return Exposure{}, &OpError{Op: "check", Device: device, Address: vip, Err: err}
	}
	link, ok := s.Link(device)
	if !ok {
		return Exposure{}, &OpError{Op: "check", Device: device, Address: vip, Err: meaning{"no such device", fs.ErrNotExist}}
	}
	e := Exposure{VIP: plain, Device: device}
	_, e.Local = s.isLocal(plain)
	switch {
	case !link.Up():
		e.AnswersCause = Cause{Text: "the device is down"}
		e.AnnouncesCause = e.AnswersCause
	case !link.Resolves():
		e.AnswersCause = Cause{Text: "the device does not use ARP or neighbour discovery"}
		e.AnnouncesCause = e.AnswersCause
	case plain.Is6():
		e.Answers, e.AnswersCause = s.solicited(plain, device)
		e.Announces, e.AnnouncesCause = s.solicits(plain, device)
	default:
		e.Answers, e.AnswersCause = s.asked(plain, device, asker.Unmap(), e.Local)
		e.Announces, e.AnnouncesCause = s.asks(plain, device, e.Local)
	}
	return e, nil
}

// onDevice returns the address vip of a device.
func (s State) onDevice(vip netip.Addr, device string) (Address, bool) {
	for _, a := range s.Addresses {
		if a.Device == device && a.Addr() == vip {
			return a, true
		}
	}
	return Address{}, false
}

// solicited is about IPv6: only what is assigned to the device itself is answered for.
func (s State) solicited(vip netip.Addr, device string) (bool, Cause) {
	if a, ok := s.onDevice(vip, device); ok {
		if a.Flags&(AddressTentative|AddressDADFailed) != 0 {
			return false, Cause{Text: "the address is on the device but not in use: " + a.Flags.String()}
		}
		return true, Cause{Text: "the address is on the device itself"}
	}
	for _, p := range s.Proxies {
		if p.Addr == vip && p.Device == device {
			return true, Cause{Text: "a proxy entry for the address on the device, if proxy_ndp is on"}
		}
	}
	return false, Cause{Text: "IPv6 answers only for addresses of the device itself"}
}

func (s State) solicits(vip netip.Addr, device string) (bool, Cause) {
	if _, ok := s.onDevice(vip, device); ok {
		return true, Cause{Text: "the address is on the device itself"}
	}
	return false, Cause{Text: "neighbour solicitations carry an address of the device itself"}
}

// asked is about an ARP request that comes in by a device. Observed on Linux 6.1 and 6.12.
func (s State) asked(vip netip.Addr, device string, asker netip.Addr, local bool) (bool, Cause) {
	if !local {
		for _, p := range s.Proxies {
			if p.Addr == vip && p.Device == device {
				return true, Cause{Text: "a proxy entry for the address on the device"}
			}
		}
		if v, key := s.effective(device, "proxy_arp"); v != 0 {
			return false, Cause{key, v, "not an address of this machine; it answers if it would route the address out by another device"}
		}
		return false, Cause{Text: "not an address of this machine"}
	}
	v, key := s.effective(device, "arp_ignore")
	_, onDevice := s.onDevice(vip, device)
	switch v {
	case 1:
		if onDevice {
			return true, Cause{key, v, "answers for addresses of the device itself, and the address is one"}
		}
		return false, Cause{key, v, "answers only for addresses of the device itself"}
	case 2:
		if !onDevice {
			return false, Cause{key, v, "answers only for addresses of the device itself"}
		}
		shared := slices.ContainsFunc(s.addressesOf(device, true), func(a Address) bool {
			return a.Prefix.Contains(vip) && a.Prefix.Contains(asker)
		})
		if asker.IsValid() && !shared {
			return false, Cause{key, v, fmt.Sprintf("answers only those in the same subnet of the device, and %v is in none with %v", asker, vip)}
		}
		return true, Cause{key, v, "answers for addresses of the device itself to those in the same subnet"}
	case 3:
		for _, a := range s.Addresses {
			if a.Addr() == vip && a.Scope < ScopeHost {
				return true, Cause{key, v, "answers for all addresses but those of scope host"}
			}
		}
		return false, Cause{key, v, "answers only for addresses with a larger scope than host"}
	case 8:
		return false, Cause{key, v, "answers for nothing, not even the machine's own address"}
	case 0:
		return true, Cause{key, v, "answers for every address of this machine, on whatever device it is"}
	}
	return true, Cause{key, v, "acts like 0: answers for every address of this machine"}
}

// asks is about the sender that ARP requests of this machine name. Observed on Linux 6.1 and 6.12.
func (s State) asks(vip netip.Addr, device string, local bool) (bool, Cause) {
	if !local {
		return false, Cause{Text: "not an address of this machine"}
	}
	v, key := s.effective(device, "arp_announce")
	if _, ok := s.onDevice(vip, device); ok {
		return true, Cause{Text: "the address is on the device itself"}
	}
	if v != 1 && v != 2 {
		text := "names the sender of the packet"
		if v != 0 {
			text = "acts like 0: " + text
		}
		return true, Cause{key, v, text}
	}
	own := s.addressesOf(device, true)
	if v == 1 {
		for _, a := range own {
			if a.Prefix.Contains(vip) {
				return true, Cause{key, v, fmt.Sprintf("names the sender of the packet if it is in a subnet of the device, as it is in %v", a.Prefix.Masked())}
			}
		}
	}
	if len(own) > 0 {
		return false, Cause{key, v, "names an address of the device itself"}
	}
	for _, a := range s.Addresses {
		if a.Addr() == vip && a.Scope == ScopeHost {
			return false, Cause{key, v, "the device has no IPv4 address, and the scope of this one is host"}
		}
	}
	return true, Cause{key, v, "the device has no IPv4 address of its own, so that of another device is named"}
}
