package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// keepalivedOptions are the flags that only keepalived's configuration needs.
type keepalivedOptions struct {
	router   string
	priority uint
	id       uint
	version  uint
	advert   time.Duration
	program  string
	vrrpDev  string
}

func (k *keepalivedOptions) flags(fs *flag.FlagSet) {
	fs.StringVar(&k.router, "router-id", "director1", "`name` of this machine, another one on each")
	fs.UintVar(&k.priority, "priority", 150, "`number` from 1 to 254, another one on each director: who becomes active if both start at once")
	fs.UintVar(&k.id, "vrid", 51, "virtual router id, a `number` from 1 to 255 that no other pair in the network has")
	fs.UintVar(&k.version, "vrrp", 3, "`version` of VRRP: 2 or 3")
	fs.DurationVar(&k.advert, "advert", 0, "`time` between two advertisements; the other director takes over after three to four (default 250ms, with -vrrp 2 1s)")
	fs.StringVar(&k.program, "program", "/usr/local/sbin/failover", "`path` of this program")
	fs.StringVar(&k.vrrpDev, "vrrp-dev", "", "`device` for VRRP; default that of -dev")
}

func (k *keepalivedOptions) complete(o *options) error {
	if k.vrrpDev == "" {
		k.vrrpDev = o.device
	}
	step := 10 * time.Millisecond
	if k.version == 2 {
		step = time.Second
	}
	if k.advert == 0 {
		k.advert = max(250*time.Millisecond, step)
	}
	switch {
	case o.device == "":
		return errors.New("-dev is required")
	case k.version != 2 && k.version != 3:
		return fmt.Errorf("-vrrp %d is neither 2 nor 3", k.version)
	case k.version == 2 && o.vips[0].Is6():
		return errors.New("-vrrp 2 cannot do IPv6: the first address of -vip is to be an IPv4 one")
	case k.priority < 1 || k.priority > 254:
		return fmt.Errorf("-priority %d is not from 1 to 254", k.priority)
	case len(k.vrrpDev) > 15:
		return fmt.Errorf("-vrrp-dev %q is longer than 15 bytes", k.vrrpDev)
	case k.id < 1 || k.id > 255:
		return fmt.Errorf("-vrid %d is not from 1 to 255", k.id)
	case k.advert < step || k.advert%step != 0 || k.version == 3 && k.advert > 4095*step || k.version == 2 && k.advert > 255*step:
		return fmt.Errorf("-advert %v is not a time that version %d can tell, a multiple of %v", k.advert, k.version, step)
	}
	for _, path := range []string{k.program, o.rulesFile, o.log, o.dir} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("path %q does not begin with a slash, and keepalived has a folder of its own", path)
		}
	}
	for _, word := range append(o.words(true), o.name, k.program, k.router, k.vrrpDev) {
		if word == "" || strings.ContainsAny(word, " \t\n\"'\\#!{}$") {
			return fmt.Errorf("%q cannot be written into keepalived's configuration", word)
		}
	}
	return nil
}

// words are the flags that keepalived is to call this program with, those that are not as by default.
func (o *options) words(notify bool) []string {
	var vips []string
	for _, a := range o.vips {
		vips = append(vips, a.String())
	}
	words := []string{"-vip", strings.Join(vips, ","), "-dev", o.device}
	add := func(differs bool, more ...string) {
		if differs {
			words = append(words, more...)
		}
	}
	add(o.wait != 300*time.Millisecond, "-wait", o.wait.String())
	add(o.dir != "/run/lvs", "-state", o.dir)
	add(o.netns != "", "-netns", o.netns)
	add(o.log != "", "-log", o.log)
	if !notify {
		return words
	}
	add(o.rulesFile != "", "-rules", o.rulesFile)
	add(o.weights, "-weights")
	switch o.syncDev {
	case o.device:
	case "":
		add(true, "-sync-dev", "none")
	default:
		add(true, "-sync-dev", o.syncDev)
	}
	add(o.syncID != 1, "-sync-id", strconv.FormatUint(uint64(o.syncID), 10))
	add(o.conflict != conflictWarn, "-split-brain", o.conflict)
	return words
}

var configTemplate = template.Must(template.New("").Parse(`# keepalived.conf of one of two directors, for the example program failover. The other one has another router_id and priority.
global_defs {
    router_id {{.Router}}
    vrrp_version {{.Version}}
    enable_script_security
    script_user root
    vrrp_garp_master_refresh 30     # neighbours that were told something else learn better
}
{{if .Check}}
# Fails while this director makes way for somebody else who answers for its address.
vrrp_script {{.Name}}_check {
    script "{{.Check}}"
    interval 1
    timeout 5
    fall 1
    rise 1
}
{{end}}
vrrp_instance {{.Name}} {
    state BACKUP                    # on both, with nopreempt: a director that comes back does not disturb the other
    nopreempt
    interface {{.Interface}}
    virtual_router_id {{.ID}}
    priority {{.Priority}}
    advert_int {{.Advert}}
    virtual_ipaddress {
        {{.First}}
    }
{{- if .More}}
    virtual_ipaddress_excluded {
{{- range .More}}
        {{.}}
{{- end}}
    }
{{- end}}
{{- if .Check}}
    track_script {
        {{.Name}}_check
    }
{{- end}}
    notify "{{.Notify}}"
}
`))

// writeConfig prints keepalived's configuration. Only the first address is in the advertisements, which can tell those of
// one family; keepalived moves the others with it.
func (o *options) writeConfig(w io.Writer) error {
	var addrs []string
	for _, a := range o.vips {
		addrs = append(addrs, fmt.Sprintf("%v/%d dev %s", a, a.BitLen(), o.device))
	}
	notify := append([]string{o.vrrp.program, "notify"}, o.words(true)...)
	check := ""
	if o.conflict == conflictRefuse {
		check = strings.Join(append([]string{o.vrrp.program, "check", "-name", o.name}, o.words(false)...), " ")
	}
	return configTemplate.Execute(w, map[string]any{
		"Router": o.vrrp.router, "Version": o.vrrp.version, "Name": o.name, "Interface": o.vrrp.vrrpDev, "ID": o.vrrp.id,
		"Priority": o.vrrp.priority, "Advert": strconv.FormatFloat(o.vrrp.advert.Seconds(), 'f', -1, 64),
		"First": addrs[0], "More": addrs[1:], "Check": check, "Notify": strings.Join(notify, " "),
	})
}
