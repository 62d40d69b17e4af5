package sysctl

import (
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// Key names a kernel parameter by its file below /proc/sys: "net/ipv4/conf/eth0.100/rp_filter". Keys are comparable.
// Use [ParseKey] for text from people and files.
type Key string

// ParseKey reads a key in either notation of sysctl(8). The first separator decides: after a dot, dots separate the
// components and a slash stands for a dot in one, as in net.ipv4.conf.eth0/100.rp_filter; after a slash the text is
// the file's name below /proc/sys.
//
// The error matches fs.ErrInvalid.
func ParseKey(s string) (Key, error) {
	k := Key(s)
	if i := strings.IndexAny(s, "./"); i >= 0 && s[i] == '.' {
		k = Key(swapSeparators.Replace(s))
	}
	if err := k.Valid(); err != nil {
		return "", fmt.Errorf("sysctl: key %q: %w", s, err)
	}
	return k, nil
}

var swapSeparators = strings.NewReplacer(".", "/", "/", ".")

// errKey is the reason why a key is refused.
type errKey string

func (e errKey) Error() string        { return string(e) }
func (e errKey) Is(target error) bool { return target == fs.ErrInvalid }

// Valid returns an error that matches fs.ErrInvalid unless k can be the name of a parameter.
func (k Key) Valid() error {
	if k == "" {
		return errKey("empty")
	}
	if strings.HasPrefix(string(k), "/") {
		return errKey("starts with a slash; keys are relative to /proc/sys")
	}
	for part := range strings.SplitSeq(string(k), "/") {
		switch part {
		case "":
			return errKey("empty component")
		case ".", "..":
			return errKey("component " + part)
		}
	}
	// Such a key has no dotted form, and no parameter of this kind exists.
	if first, _, _ := strings.Cut(string(k), "/"); strings.Contains(first, ".") {
		return errKey("dot in the first component")
	}
	if !utf8.ValidString(string(k)) || strings.ContainsFunc(string(k), func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return errKey("blank or control character")
	}
	return nil
}

// String returns the dotted form that sysctl(8) prints. It is what ParseKey reads.
func (k Key) String() string { return swapSeparators.Replace(string(k)) }

// Path returns the name of the parameter's file in the host's tree: "proc/sys/net/…".
func (k Key) Path() string { return "proc/sys/" + string(k) }

// MarshalText returns the dotted form.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is ParseKey.
func (k *Key) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKey(string(text))
	return err
}

// IPVS returns the key of a parameter of IPVS: IPVS("drop_entry") is net.ipv4.vs.drop_entry.
func IPVS(name string) Key { return Key(ipvsDir + name) }

const ipvsDir = "net/ipv4/vs/"

// IPv4 returns the key of an interface's IPv4 parameter, such as IPv4("eth0", "arp_ignore"). The interface may also be
// "all" or "default".
func IPv4(iface, name string) Key { return Key("net/ipv4/conf/" + iface + "/" + name) }

// IPv6 returns the key of an interface's IPv6 parameter.
func IPv6(iface, name string) Key { return Key("net/ipv6/conf/" + iface + "/" + name) }

// matches says whether k is what pattern says, where a component * of the pattern stands for any component.
func (k Key) matches(pattern Key) bool {
	if !strings.Contains(string(pattern), "*") {
		return k == pattern
	}
	p, s := string(pattern), string(k)
	for {
		pFirst, pRest, pMore := strings.Cut(p, "/")
		sFirst, sRest, sMore := strings.Cut(s, "/")
		if pFirst != "*" && pFirst != sFirst || pMore != sMore {
			return false
		}
		if !pMore {
			return true
		}
		p, s = pRest, sRest
	}
}
