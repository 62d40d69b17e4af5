package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sysctls are those that matter here, by the names below /proc/sys/net/ipv4/vs.
type sysctls struct {
	amDroprate, cacheBypass, connReuseMode, dropPacket, expireNodestConn, expireQuiescentTemplate,
	lblcExpiration, lblcrExpiration, runEstimation, secureTCP, sloppySCTP, sloppyTCP int32

	idle map[string]string // those without effect, as they are read
}

func defaultSysctls() sysctls {
	return sysctls{
		amDroprate: 10, connReuseMode: 1, runEstimation: 1, lblcExpiration: 86400, lblcrExpiration: 86400,
		idle: map[string]string{
			"amemthresh": "1024", "backup_only": "0", "conntrack": "0", "drop_entry": "0", "est_cpulist": "0", "est_nice": "0",
			"ignore_tunneled": "0", "nat_icmp_send": "0", "pmtu_disc": "1", "schedule_icmp": "0", "snat_reroute": "1",
			"sync_persist_mode": "0", "sync_ports": "1", "sync_qlen_max": "7207", "sync_refresh_period": "0", "sync_retries": "0",
			"sync_sock_size": "0", "sync_threshold": "3\t50", "sync_version": "1",
		},
	}
}

// number returns where a sysctl that matters is kept.
func (s *sysctls) number(name string) *int32 {
	switch name {
	case "am_droprate":
		return &s.amDroprate
	case "cache_bypass":
		return &s.cacheBypass
	case "conn_reuse_mode":
		return &s.connReuseMode
	case "drop_packet":
		return &s.dropPacket
	case "expire_nodest_conn":
		return &s.expireNodestConn
	case "expire_quiescent_template":
		return &s.expireQuiescentTemplate
	case "lblc_expiration":
		return &s.lblcExpiration
	case "lblcr_expiration":
		return &s.lblcrExpiration
	case "run_estimation":
		return &s.runEstimation
	case "secure_tcp":
		return &s.secureTCP
	case "sloppy_sctp":
		return &s.sloppySCTP
	case "sloppy_tcp":
		return &s.sloppyTCP
	}
	return nil
}

// Sysctls returns the names that Sysctl and SetSysctl know, sorted.
func (d *Director) Sysctls() []string {
	names := []string{
		"am_droprate", "cache_bypass", "conn_reuse_mode", "drop_packet", "expire_nodest_conn", "expire_quiescent_template",
		"lblc_expiration", "lblcr_expiration", "run_estimation", "secure_tcp", "sloppy_sctp", "sloppy_tcp",
	}
	for name := range d.sysctls.idle {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Sysctl returns the value of an IPVS sysctl as a read of its file does, without the newline.
//
// The error matches ErrSysctl.
func (d *Director) Sysctl(name string) (string, error) {
	if n := d.sysctls.number(name); n != nil {
		return strconv.Itoa(int(*n)), nil
	}
	if v, ok := d.sysctls.idle[name]; ok {
		return v, nil
	}
	return "", &Error{"sysctl", name, ErrSysctl}
}

// SetSysctl writes an IPVS sysctl, in the forms that the kernel reads. Those of synchronisation, ICMP and the like are
// stored without effect.
//
// The error matches ErrSysctl for an unknown name, ErrInvalid for what the kernel would refuse, and ErrNotModelled for a
// value other than 0 of conntrack, or 3 of drop_entry.
func (d *Director) SetSysctl(name, value string) error {
	fail := func(err error) error { return &Error{"sysctl", name + " " + strconv.Quote(value), err} }
	old, known := d.sysctls.idle[name]
	target := d.sysctls.number(name)
	switch {
	case target == nil && !known:
		return fail(ErrSysctl)
	case name == "est_cpulist":
		d.sysctls.idle[name] = strings.TrimSpace(value)
		return nil
	case name == "sync_qlen_max":
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return fail(ErrInvalid)
		}
		d.sysctls.idle[name] = strconv.FormatUint(n, 10)
		return nil
	}
	n, rest, ok := parseNumber(value)
	if !ok {
		return fail(fmt.Errorf("%w: not a number", ErrInvalid))
	}
	if err := checkSysctl(name, n); err != nil {
		return fail(err)
	}
	if name == "drop_packet" || name == "drop_entry" || name == "secure_tcp" {
		if n == 2 {
			n = 1 // there is memory enough
		}
	}
	if name == "sync_threshold" {
		_, second, _ := strings.Cut(old, "\t")
		period, err := strconv.Atoi(second)
		if strings.TrimSpace(rest) != "" {
			p, _, fine := parseNumber(rest)
			period, ok = int(p), fine
		}
		if err != nil || !ok || n < 0 || period < 0 || period != 0 && int(n) >= period {
			return fail(ErrInvalid)
		}
		d.sysctls.idle[name] = fmt.Sprintf("%d\t%d", n, period)
		return nil
	}
	if target == nil {
		d.sysctls.idle[name] = strconv.Itoa(int(n))
		return nil
	}
	for _, s := range d.order {
		s.sched.Advance(d.now) // what is due by the old value
	}
	*target = n
	d.templates.SetExpireQuiescent(d.sysctls.expireQuiescentTemplate != 0)
	for _, s := range d.order {
		d.setCacheExpiration(s)
	}
	return nil
}

// checkSysctl refuses what the kernel, or this package, does not take.
func checkSysctl(name string, n int32) error {
	const maxSeconds = maxTimeout
	ok := true
	switch name {
	case "drop_packet", "drop_entry", "secure_tcp", "sync_retries":
		ok = n >= 0 && n <= 3
		if name == "drop_entry" && n == 3 {
			return fmt.Errorf("%w: the defence deletes random connections", ErrNotModelled)
		}
	case "conntrack":
		if n != 0 {
			return fmt.Errorf("%w: netfilter's connection tracking", ErrNotModelled)
		}
	case "lblc_expiration", "lblcr_expiration", "sync_refresh_period":
		ok = n >= -maxSeconds && n <= maxSeconds
	case "sync_ports":
		ok = n >= 1 && n&(n-1) == 0
	case "sync_version":
		ok = n == 0 || n == 1
	case "est_nice":
		ok = n >= -20 && n <= 19
	}
	if !ok {
		return fmt.Errorf("%w: out of range", ErrInvalid)
	}
	return nil
}

// parseNumber reads a number as the kernel does: decimal, octal or hexadecimal, ended by a blank.
func parseNumber(s string) (n int32, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t\n")
	end := strings.IndexAny(s, " \t\n")
	if end < 0 {
		end = len(s)
	}
	word := s[:end]
	digits := strings.TrimPrefix(word, "-")
	if strings.ContainsAny(digits, "_+-") || strings.HasPrefix(digits, "0b") || strings.HasPrefix(digits, "0B") || strings.HasPrefix(digits, "0o") || strings.HasPrefix(digits, "0O") {
		return 0, "", false
	}
	v, err := strconv.ParseInt(word, 0, 32)
	return int32(v), s[end:], err == nil
}

// setCacheExpiration gives lblc and lblcr their sysctls.
func (d *Director) setCacheExpiration(s *service) {
	switch s.Scheduler {
	case "lblc":
		s.sched.SetCacheExpiration(time.Duration(d.sysctls.lblcExpiration) * time.Second)
	case "lblcr":
		s.sched.SetCacheExpiration(time.Duration(d.sysctls.lblcrExpiration) * time.Second)
	}
}
