package sysctl

import (
	"errors"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each parameter in the registry has a field and each field a parameter.
func TestValuesCoverRegistry(t *testing.T) {
	var fields, rows []string
	var v Values
	for name := range v.fields() {
		fields = append(fields, name)
	}
	for _, tun := range Tunables() {
		if name, ok := strings.CutPrefix(string(tun.Key), ipvsDir); ok {
			rows = append(rows, name)
		}
	}
	if diff := cmp.Diff(rows, fields); diff != "" {
		t.Errorf("registry and fields, in order of their names (-registry +fields):\n%s", diff)
	}
}

// values61 and values612 are what a fresh namespace of those kernels holds.
func defaults() Values {
	return Values{
		AMDropRate: new(int32(10)), AMemThresh: new(int32(1024)), BackupOnly: new(false), CacheBypass: new(false),
		ConnReuseMode: new(int32(1)), ConnTrack: new(false), DropEntry: new(DefenceOff), DropPacket: new(DefenceOff),
		EstCPUList: new("0-1"), EstNice: new(int32(0)), ExpireNoDestConn: new(false), ExpireQuiescentTemplate: new(false),
		IgnoreTunneled: new(false), NATICMPSend: new(false), PMTUDisc: new(true), RunEstimation: new(true),
		ScheduleICMP: new(false), SecureTCP: new(DefenceOff), SloppySCTP: new(false), SloppyTCP: new(false),
		SNATReroute: new(true), SyncPersistMode: new(false), SyncPorts: new(int32(1)), SyncQLenMax: new(uint64(7207)),
		SyncRefreshPeriod: new(time.Duration(0)), SyncRetries: new(int32(0)), SyncSockSize: new(int32(0)),
		SyncThreshold: &SyncThreshold{3, 50}, SyncVersion: new(int32(1)),
	}
}

func TestReadIPVS(t *testing.T) {
	got, err := newHost(t, fixture(t, "6.12")).IPVS()
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("6.12 (-want +got):\n%s", diff)
	}
	want.EstCPUList, want.EstNice, want.SyncQLenMax = nil, nil, new(uint64(7248))
	if got, err = newHost(t, fixture(t, "6.1")).IPVS(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("6.1 (-want +got):\n%s", diff)
	}

	// The kernel keeps any number in a switch.
	m := fixture(t, "6.12")
	m.Set(IPVS("conntrack").Path(), "-1\n")
	if got, err = newHost(t, m).IPVS(); err != nil || !*got.ConnTrack {
		t.Errorf("conntrack -1: %v, %v", got.ConnTrack, err)
	}
	for _, bad := range []string{"", "x\n", "1 2\n", "99999999999\n"} {
		m.Set(IPVS("drop_entry").Path(), bad)
		if _, err = newHost(t, m).IPVS(); err == nil || !strings.Contains(err.Error(), "drop_entry") {
			t.Errorf("drop_entry %q: %v", bad, err)
		}
	}
	m.FailRead(IPVS("am_droprate").Path(), fs.ErrPermission)
	if _, err = newHost(t, m).IPVS(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("unreadable: %v", err)
	}
}

func TestWriteIPVS(t *testing.T) {
	want := Values{
		AMDropRate: new(int32(-1)), AMemThresh: new(int32(4096)), BackupOnly: new(true), CacheBypass: new(true),
		ConnReuseMode: new(int32(3)), ConnTrack: new(true), DropEntry: new(DefenceAlways), DropPacket: new(DefenceAutomatic),
		EstCPUList: new("1,3-4"), EstNice: new(int32(-20)), ExpireNoDestConn: new(true), ExpireQuiescentTemplate: new(true),
		IgnoreTunneled: new(true), NATICMPSend: new(true), PMTUDisc: new(false), RunEstimation: new(false),
		ScheduleICMP: new(true), SecureTCP: new(DefenceAutomatic), SloppySCTP: new(true), SloppyTCP: new(true),
		SNATReroute: new(false), SyncPersistMode: new(true), SyncPorts: new(int32(64)), SyncQLenMax: new(uint64(math.MaxUint64)),
		SyncRefreshPeriod: new(10 * time.Second), SyncRetries: new(int32(3)), SyncSockSize: new(int32(1 << 20)),
		SyncThreshold: &SyncThreshold{0, 1}, SyncVersion: new(int32(0)),
	}
	list, err := want.Settings("test")
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, fixture(t, "6.12"))
	if _, err := h.Apply(t.Context(), mustPlan(t, h, list), nil); err != nil {
		t.Fatal(err)
	}
	got, err := h.IPVS()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("written and read back (-want +got):\n%s", diff)
	}
	if list, err := (Values{}).Settings(""); err != nil || len(list) != 0 {
		t.Errorf("nothing to set: %v, %v", list, err)
	}
	for name, bad := range map[string]Values{
		"range":    {SyncRetries: new(int32(4))},
		"active":   {DropEntry: new(DefenceActive)},
		"fraction": {SyncRefreshPeriod: new(1500 * time.Millisecond)},
		"negative": {SyncRefreshPeriod: new(-time.Second)},
		"list":     {EstCPUList: new("all of them")},
		"rule":     {SyncThreshold: &SyncThreshold{5, 5}},
	} {
		if list, err := bad.Settings(""); !errors.Is(err, fs.ErrInvalid) || list != nil {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
}

func TestNames(t *testing.T) {
	got := []string{
		DefenceOff.String(), DefenceAlways.String(), DefenceMode(9).String(), Int.String(), Kind(99).String(), HostWide.String(),
		Scope(9).String(), Write.String(), Action(77).String(), Fine.String(), Verdict(88).String(), RestoreDone.String(),
		Outcome(66).String(), DirectorDR.String(), Profile(55).String(), Kernel{}.String(), Kernel{6, 12}.String(),
	}
	want := []string{
		"off", "always", "defence(9)", "int", "kind(99)", "host", "scope(9)", "write", "action(77)", "fine", "verdict(88)",
		"restored", "outcome(66)", "director-dr", "profile(55)", "unknown", "6.12",
	}
	if !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
}
