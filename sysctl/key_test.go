package sysctl

import (
	"errors"
	"io/fs"
	"testing"
)

func TestParseKey(t *testing.T) {
	tests := map[string]Key{
		"net.ipv4.conf.enp3s0/200.forwarding": "net/ipv4/conf/enp3s0.200/forwarding",
		"net/ipv4/conf/enp3s0.200/forwarding": "net/ipv4/conf/enp3s0.200/forwarding",
		"kernel.domainname":                   "kernel/domainname",
		"kernel/domainname":                   "kernel/domainname",
		"net.ipv4.vs.conn_reuse_mode":         "net/ipv4/vs/conn_reuse_mode",
		"net.ipv4.conf.*.rp_filter":           "net/ipv4/conf/*/rp_filter",
		"":                                    "",
		"/net/ipv4":                           "",
		"net..ipv4":                           "",
		"net/../etc":                          "",
		"net/./x":                             "",
		"net.ipv4.":                           "",
		"net.ipv4\n":                          "",
		"net ipv4":                            "",
		"net\x00":                             "",
		"net/\xff":                            "",
		".net":                                "",
		"a.b/c.d":                             "a/b.c/d",
	}
	for text, want := range tests {
		got, err := ParseKey(text)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ParseKey(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	if got := Key("net/ipv4/conf/dum0.5/rp_filter").String(); got != "net.ipv4.conf.dum0/5.rp_filter" {
		t.Errorf("String = %q", got)
	}
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"net.ipv4.ip_forward", "net/ipv4/conf/eth0.100/rp_filter", "net.ipv4.conf.eth0/100.rp_filter", "a", "..", "a.b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKey(s)
		if (err == nil) != (k != "") {
			t.Fatalf("ParseKey(%q) = %q, %v", s, k, err)
		}
		if err != nil {
			return
		}
		if !fs.ValidPath(k.Path()) {
			t.Fatalf("ParseKey(%q): %q is no path", s, k.Path())
		}
		back, err := ParseKey(k.String())
		if err != nil || back != k {
			t.Fatalf("ParseKey(%q) = %q, printed %q, read again %q, %v", s, k, k.String(), back, err)
		}
	})
}

func TestParseKernel(t *testing.T) {
	for text, want := range map[string]Kernel{
		"6.12.43+deb13-amd64\n": {6, 12}, "6.1.0-56-cloud-amd64": {6, 1}, "7.0-rc1": {7, 0}, "5.10": {5, 10},
		"": {}, "6": {}, "6.": {}, "x.1": {}, ".1": {}, "0.1": {}, "-1.2": {},
	} {
		got, err := ParseKernel(text)
		if got != want || (err != nil) != (want == Kernel{}) {
			t.Errorf("ParseKernel(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	if !(Kernel{6, 1}).Before(Kernel{6, 12}) || (Kernel{6, 12}).Before(Kernel{6, 1}) || (Kernel{}).Before(Kernel{6, 1}) || (Kernel{6, 1}).Before(Kernel{}) || !(Kernel{5, 19}).Before(Kernel{6, 0}) {
		t.Error("Before is wrong")
	}
}
