package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Values are the parameters of IPVS with their types. Nil means absent on this host when read, and leave alone when
// written. [Tunables] has the effect, unit and range of each.
//
// Numbers that the kernel asks only whether they are 0 are booleans here: any other number reads as true.
type Values struct {
	AMDropRate              *int32         `sysctl:"am_droprate"`
	AMemThresh              *int32         `sysctl:"amemthresh"`
	BackupOnly              *bool          `sysctl:"backup_only"`
	CacheBypass             *bool          `sysctl:"cache_bypass"`
	ConnReuseMode           *int32         `sysctl:"conn_reuse_mode"`
	ConnTrack               *bool          `sysctl:"conntrack"`
	DebugLevel              *int32         `sysctl:"debug_level"`
	DropEntry               *DefenceMode   `sysctl:"drop_entry"`
	DropPacket              *DefenceMode   `sysctl:"drop_packet"`
	EstCPUList              *string        `sysctl:"est_cpulist"` // as the kernel writes it, such as "0-3,8"
	EstNice                 *int32         `sysctl:"est_nice"`
	ExpireNoDestConn        *bool          `sysctl:"expire_nodest_conn"`
	ExpireQuiescentTemplate *bool          `sysctl:"expire_quiescent_template"`
	IgnoreTunneled          *bool          `sysctl:"ignore_tunneled"`
	LBLCExpiration          *time.Duration `sysctl:"lblc_expiration"` // whole seconds, so for all times here
	LBLCRExpiration         *time.Duration `sysctl:"lblcr_expiration"`
	NATICMPSend             *bool          `sysctl:"nat_icmp_send"`
	PMTUDisc                *bool          `sysctl:"pmtu_disc"`
	RunEstimation           *bool          `sysctl:"run_estimation"`
	ScheduleICMP            *bool          `sysctl:"schedule_icmp"`
	SecureTCP               *DefenceMode   `sysctl:"secure_tcp"`
	SloppySCTP              *bool          `sysctl:"sloppy_sctp"`
	SloppyTCP               *bool          `sysctl:"sloppy_tcp"`
	SNATReroute             *bool          `sysctl:"snat_reroute"`
	SyncPersistMode         *bool          `sysctl:"sync_persist_mode"`
	SyncPorts               *int32         `sysctl:"sync_ports"`
	SyncQLenMax             *uint64        `sysctl:"sync_qlen_max"`
	SyncRefreshPeriod       *time.Duration `sysctl:"sync_refresh_period"`
	SyncRetries             *int32         `sysctl:"sync_retries"`
	SyncSockSize            *int32         `sysctl:"sync_sock_size"`
	SyncThreshold           *SyncThreshold `sysctl:"sync_threshold"`
	SyncVersion             *int32         `sysctl:"sync_version"`
}

// DefenceMode says when a defence against memory shortage acts.
type DefenceMode uint8

// Defence modes, with the kernel's values.
const (
	DefenceOff       DefenceMode = 0
	DefenceAutomatic DefenceMode = 1 // acts while memory is short; does not act at present
	DefenceActive    DefenceMode = 2 // automatic, and acts at present; only read, never written
	DefenceAlways    DefenceMode = 3
)

// String returns "off", "automatic", "active" or "always", or "defence(N)".
func (m DefenceMode) String() string {
	if int(m) < len(defenceNames) {
		return defenceNames[m]
	}
	return "defence(" + strconv.Itoa(int(m)) + ")"
}

var defenceNames = [...]string{DefenceOff: "off", DefenceAutomatic: "automatic", DefenceActive: "active", DefenceAlways: "always"}

// SyncThreshold says which packets of a connection make the master send a synchronisation message: those whose number
// modulo Period is Threshold. With Period 0 only packet number Threshold does.
type SyncThreshold struct {
	Threshold int32 // 0 or more, below Period unless that is 0
	Period    int32 // 0 or more
}

// IPVS reads the parameters of IPVS that exist.
//
// The error matches fs.ErrNotExist if the module ip_vs is not loaded.
func (h *Host) IPVS() (Values, error) {
	var v Values
	if _, err := h.IPVSKeys(); err != nil {
		return v, err
	}
	for name, field := range v.fields() {
		text, err := h.Get(IPVS(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return v, err
		}
		value := reflect.New(field.Type().Elem())
		if err := parseValue(value.Interface(), text); err != nil {
			return v, fmt.Errorf("sysctl: read %v: %w", IPVS(name), err)
		}
		field.Set(value)
	}
	return v, nil
}

// Settings returns the settings that give the parameters these values.
//
// The error is a [*ValueError] for the first value out of range.
func (v Values) Settings(reason string) ([]Setting, error) {
	var list []Setting
	for name, field := range v.fields() {
		if field.IsNil() {
			continue
		}
		key := IPVS(name)
		text, err := formatValue(field.Interface())
		if err != nil {
			return nil, &ValueError{Key: key, Value: text, Reason: err.Error()}
		}
		if err := Check(key, text); err != nil {
			return nil, err
		}
		list = append(list, Setting{Key: key, Value: text, Reason: reason})
	}
	return list, nil
}

// fields yields the names of the parameters and the fields for them, in the order of the type.
func (v *Values) fields() func(yield func(string, reflect.Value) bool) {
	return func(yield func(string, reflect.Value) bool) {
		s := reflect.ValueOf(v).Elem()
		for i := range s.NumField() {
			if !yield(s.Type().Field(i).Tag.Get("sysctl"), s.Field(i)) {
				return
			}
		}
	}
}

// parseValue reads a parameter's text into one of the types of Values.
func parseValue(dst any, text string) error {
	text = strings.TrimSpace(text)
	fields := strings.Fields(text)
	want := 1
	switch d := dst.(type) {
	case *string:
		*d = text
		return nil
	case *uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		*d = n
		return err
	case *SyncThreshold:
		want = 2
	}
	if len(fields) != want {
		return fmt.Errorf("%q has %d numbers, want %d", text, len(fields), want)
	}
	var n [2]int64
	for i, field := range fields {
		var err error
		if n[i], err = strconv.ParseInt(field, 10, 32); err != nil {
			return err
		}
	}
	switch d := dst.(type) {
	case *bool:
		*d = n[0] != 0
	case *int32:
		*d = int32(n[0])
	case *DefenceMode:
		if n[0] < 0 || n[0] > 255 {
			return fmt.Errorf("%d is no defence mode", n[0])
		}
		*d = DefenceMode(n[0])
	case *time.Duration:
		*d = time.Duration(n[0]) * time.Second
	case *SyncThreshold:
		*d = SyncThreshold{int32(n[0]), int32(n[1])}
	default:
		return fmt.Errorf("no way to read into %T", dst)
	}
	return nil
}

// formatValue is the inverse of parseValue.
func formatValue(src any) (string, error) {
	switch s := src.(type) {
	case *string:
		return *s, nil
	case *uint64:
		return strconv.FormatUint(*s, 10), nil
	case *bool:
		if *s {
			return "1", nil
		}
		return "0", nil
	case *int32:
		return strconv.Itoa(int(*s)), nil
	case *DefenceMode:
		return strconv.Itoa(int(*s)), nil
	case *time.Duration:
		if *s%time.Second != 0 {
			return s.String(), errors.New("not a whole number of seconds")
		}
		return strconv.FormatInt(int64(*s/time.Second), 10), nil
	case *SyncThreshold:
		return fmt.Sprintf("%d %d", s.Threshold, s.Period), nil
	}
	return "", fmt.Errorf("no way to write %T", src)
}
