package arp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var mac = net.HardwareAddr{2, 0, 0, 0, 0, 0xd1}

func goldenFrames(t testing.TB) map[string][]byte {
	t.Helper()
	f, err := os.Open("testdata/frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]byte{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		name, text, ok := strings.Cut(sc.Text(), " | ")
		if !ok {
			continue
		}
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = b
	}
	return all
}

func TestAnnounceFrameGolden(t *testing.T) {
	golden := goldenFrames(t)
	tests := []struct {
		like string
		form Form
		addr netip.Addr
		mac  net.HardwareAddr
	}{
		{"arp_notify=1, link up, 10.0.0.100", RequestForm, vip4, mac},
		{"arping -A 10.0.0.100", ReplyForm, vip4, mac},
		{"keepalived 2.2.7, 10.0.0.100", RequestBroadcastForm, vip4, mac},
		{"keepalived 2.2.7, 2001:db8::100", RequestForm, vip6, mac},
		{"ndisc_notify=1, 2001:db8::2", RequestForm, netip.MustParseAddr("2001:db8::2"), net.HardwareAddr{2, 0, 0, 0, 0, 0xd2}},
	}
	if len(golden) != len(tests) {
		t.Fatalf("%d golden frames", len(golden))
	}
	for _, tt := range tests {
		t.Run(tt.like, func(t *testing.T) {
			got, err := AnnounceFrame(tt.form, tt.addr, tt.mac, false)
			if err != nil {
				t.Fatal(err)
			}
			if want := golden[tt.like]; !bytes.Equal(got, want) {
				t.Errorf("got\n%swant\n%s", rows(got), rows(want))
			}
		})
	}
	// The router flag changes its byte and the checksum by the same amount.
	got, err := AnnounceFrame(RequestForm, vip6, mac, true)
	if err != nil {
		t.Fatal(err)
	}
	if got[58] != 0xa0 || !bytes.Equal(got[56:58], []byte{0x76, 0x5c}) {
		t.Errorf("router: flags %#x, checksum %x", got[58], got[56:58])
	}
}

func TestAnnounceFrameRefuses(t *testing.T) {
	tests := map[string]struct {
		form Form
		addr string
		mac  net.HardwareAddr
	}{
		"multicast":    {RequestForm, "224.0.0.1", mac},
		"loopback":     {RequestForm, "127.0.0.1", mac},
		"unspecified":  {RequestForm, "::", mac},
		"zone":         {RequestForm, "2001:db8::1%eth0", mac},
		"broadcast":    {RequestForm, "255.255.255.255", mac},
		"short MAC":    {RequestForm, "10.0.0.1", mac[:4]},
		"unknown form": {ReplyForm + 1, "10.0.0.1", mac},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if b, err := AnnounceFrame(tt.form, netip.MustParseAddr(tt.addr), tt.mac, false); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%x, %v", b, err)
			}
		})
	}
}

func TestProbeFrame(t *testing.T) {
	dip := netip.MustParseAddr("10.0.0.2")
	tests := map[string]struct {
		sender, target netip.Addr
		want           string
	}{
		"IPv4": {dip, vip4, "ffffffffffff 0200000000d1 0806 0001 0800 06 04 0001 0200000000d1 0a000002 000000000000 0a000064"},
		"DAD":  {netip.IPv4Unspecified(), vip4, "ffffffffffff 0200000000d1 0806 0001 0800 06 04 0001 0200000000d1 00000000 000000000000 0a000064"},
		// The checksum is verified apart.
		"IPv6 DAD": {netip.IPv6Unspecified(), vip6, "3333ff000100 0200000000d1 86dd 60000000 0018 3a ff" + strings.Repeat("00", 16) +
			"ff0200000000000000000001ff000100 8700 0000 00000000 20010db8000000000000000000000100"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			got := probeFrame(mac, tt.sender, tt.target)
			if tt.target.Is6() {
				// Independent of the sum that builds it: all of it, the checksum included, must come to nothing.
				pseudo := append(append([]byte{}, got[22:54]...), 0, 0, 0, byte(len(got)-54), 0, 0, 0, 58)
				if sum := checksum(pseudo, got[54:]); sum != 0 {
					t.Errorf("checksum is off by %#x", sum)
				}
				copy(want[56:58], got[56:58])
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%swant\n%s", rows(got), rows(want))
			}
		})
	}
}

func TestParseReply(t *testing.T) {
	other := net.HardwareAddr{2, 0, 0, 0, 0, 0xa1}
	advert := buildND(icmpAdvertise, 0x60, other, vip6, allNodes, vip6, optionTarget)
	bare := buildND(icmpAdvertise, 0x60, other, vip6, allNodes, vip6, 0)
	tests := map[string]struct {
		frame  []byte
		target netip.Addr
		want   net.HardwareAddr
	}{
		"ARP reply":                      {buildARP(arpReply, other, vip4, mac, vip4), vip4, other},
		"ARP reply with padding":         {append(buildARP(arpReply, other, vip4, mac, vip4), make([]byte, 18)...), vip4, other},
		"ARP reply for another":          {buildARP(arpReply, other, netip.MustParseAddr("10.0.0.1"), mac, vip4), vip4, nil},
		"ARP request":                    {buildARP(arpRequest, other, vip4, mac, vip4), vip4, nil},
		"short":                          {buildARP(arpReply, other, vip4, mac, vip4)[:41], vip4, nil},
		"empty":                          {nil, vip4, nil},
		"advertisement":                  {advert, vip6, other},
		"advertisement without option":   {bare, vip6, other},
		"advertisement for another":      {advert, netip.MustParseAddr("2001:db8::1"), nil},
		"advertisement cut":              {advert[:80], vip6, nil},
		"solicitation":                   {probeFrame(other, netip.MustParseAddr("2001:db8::3"), vip6), vip6, nil},
		"advertisement from a router on": {func() []byte { b := bytes.Clone(advert); b[21] = 64; return b }(), vip6, nil}, // hop limit
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := parseReply(tt.frame, tt.target)
			if ok != (tt.want != nil) || !bytes.Equal(got, tt.want) {
				t.Errorf("got %v, %v, want %v", got, ok, tt.want)
			}
		})
	}
}

func FuzzParseReply(f *testing.F) {
	for _, b := range goldenFrames(f) {
		f.Add(b)
	}
	f.Add(buildARP(arpReply, mac, vip4, mac, vip4))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, target := range []netip.Addr{vip4, vip6} {
			got, ok := parseReply(b, target)
			if ok != (len(got) == 6) {
				t.Fatalf("%v, %v", got, ok)
			}
			if !ok {
				continue
			}
			// The target must be in it, and the answer be of its family.
			if !bytes.Contains(b, target.AsSlice()) {
				t.Fatalf("an answer without %v", target)
			}
		}
	})
}

func TestForms(t *testing.T) {
	for f := RequestForm; f <= ReplyForm; f++ {
		if back, err := ParseForm(f.String()); err != nil || back != f {
			t.Errorf("%v came back as %v, %v", f, back, err)
		}
	}
	if _, err := ParseForm("shout"); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
	if got := Form(9).String(); got != "form(9)" {
		t.Error(got)
	}
}

func TestSchedule(t *testing.T) {
	tests := map[string]struct {
		opt    *AnnounceOptions
		frames int
		want   []time.Duration
	}{
		"default":    {nil, 1, []time.Duration{0, 1 * time.Second, 2 * time.Second, 7 * time.Second, 8 * time.Second, 9 * time.Second}},
		"one round":  {&AnnounceOptions{Count: 2, Rounds: 1, Interval: 2 * time.Second}, 1, []time.Duration{0, 2 * time.Second}},
		"two frames": {&AnnounceOptions{Count: 1, Rounds: 1}, 2, []time.Duration{0, time.Millisecond}},
		"refresh":    {&AnnounceOptions{Count: 1, Rounds: 3, RoundInterval: time.Minute}, 1, []time.Duration{0, time.Minute, 2 * time.Minute}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opt, err := tt.opt.canonical()
				if err != nil {
					t.Fatal(err)
				}
				var got []time.Duration
				start := time.Now()
				err = schedule(t.Context(), opt, make([][]byte, tt.frames), func([]byte) error {
					got = append(got, time.Since(start))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("times (-want +got):\n%s", diff)
				}
			})
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			opt, _ := (*AnnounceOptions)(nil).canonical()
			sent := 0
			err := schedule(ctx, opt, make([][]byte, 1), func([]byte) error { sent++; return nil })
			if !errors.Is(err, context.DeadlineExceeded) || sent != 3 {
				t.Errorf("%d frames, %v", sent, err)
			}
		})
	})
	t.Run("failure", func(t *testing.T) {
		opt, _ := (*AnnounceOptions)(nil).canonical()
		sent := 0
		if err := schedule(t.Context(), opt, make([][]byte, 1), func([]byte) error { sent++; return ErrDown }); !errors.Is(err, ErrDown) || sent != 1 {
			t.Errorf("%d frames, %v", sent, err)
		}
	})
}

func TestEthernet(t *testing.T) {
	s := State{Links: []Link{
		{Name: "eth0", Type: 1, HardwareAddr: mac, Flags: LinkUp | LinkBroadcast | LinkLowerUp},
		{Name: "off0", Type: 1, HardwareAddr: mac, Flags: LinkBroadcast},
		{Name: "dark0", Type: 1, HardwareAddr: mac, Flags: LinkUp | LinkBroadcast},
		{Name: "dummy0", Type: 1, HardwareAddr: mac, Flags: LinkUp | LinkNoARP | LinkLowerUp},
		{Name: "tunl0", Type: 768, HardwareAddr: make(net.HardwareAddr, 4), Flags: LinkUp | LinkNoARP},
		{Name: "lo", Type: 772, HardwareAddr: make(net.HardwareAddr, 6), Flags: LinkUp | LinkLoopback | LinkLowerUp},
	}}
	tests := map[string]error{
		"eth0": nil, "off0": ErrDown, "dark0": ErrNoCarrier, "dummy0": ErrNoNeighbours, "tunl0": ErrNoHardwareAddress,
		"lo": ErrNoNeighbours, "eth1": fs.ErrNotExist, "eth0:1": fs.ErrNotExist,
	}
	for name, want := range tests {
		l, err := s.ethernet("announce", name, false)
		if !errors.Is(err, want) || err == nil && l.Name != name {
			t.Errorf("%s: %v, %v", name, l.Name, err)
		}
		if err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in %q", name, err)
		}
	}
	if _, err := s.ethernet("announce", "dark0", true); err != nil {
		t.Error(err)
	}
}
