package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// States of keepalived.
const (
	stateMaster = "MASTER"
	stateBackup = "BACKUP"
	stateFault  = "FAULT"
	stateStop   = "STOP"
)

// What to do when somebody else answers for the virtual address.
const (
	conflictWarn   = "warn"
	conflictRefuse = "refuse"
	conflictIgnore = "ignore"
)

// options are the flags of all verbs.
type options struct {
	verb   string
	kernel string // LVS_KERNEL

	name      string // of keepalived's instance
	state     string // to change to
	vips      []netip.Addr
	device    string // of the virtual addresses, empty for none
	rulesFile string
	weights   bool
	syncDev   string // empty: the daemons are left alone
	syncID    uint32
	conflict  string
	wait      time.Duration
	dir       string
	netns     string
	log       string
	dryRun    bool
	json      bool

	vrrp keepalivedOptions
	help string // filled by parse
}

// parse reads the flags of the verb. Flags that have no use for a verb are accepted where that lets keepalived's two lines,
// and what a person types, have the same flags.
func (o *options) parse(args []string) error {
	fs := flag.NewFlagSet("failover "+o.verb, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {
		var help strings.Builder
		fmt.Fprintf(&help, "usage: failover %s [flags]%s\n", o.verb, map[string]string{"notify": " TYPE NAME STATE [PRIORITY]"}[o.verb])
		fs.SetOutput(&help)
		fs.PrintDefaults()
		o.help = help.String()
	}
	if o.verb != "notify" {
		fs.StringVar(&o.name, "name", "lvs", "`name` of keepalived's vrrp_instance")
	}
	fs.Func("vip", "virtual IP `addresses`, separated by commas (required)", o.addVIPs)
	fs.StringVar(&o.device, "dev", "", "`device` of the virtual addresses (required)")
	fs.StringVar(&o.rulesFile, "rules", "", "`file` with the rules, as ipvsadm -S -n writes them; the services in it are made equal, others are left alone")
	fs.BoolVar(&o.weights, "weights", false, "set the weights of real servers that are in the table already too")
	fs.StringVar(&o.syncDev, "sync-dev", "", "`device` for the synchronisation of connections, or none; default that of -dev")
	o.syncID = 1
	fs.Func("sync-id", "`number` from 0 to 255 that both directors have, and no other pair in the network (default 1)", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 8)
		if err != nil {
			return errors.New("a sync id is a number from 0 to 255")
		}
		o.syncID = uint32(n)
		return nil
	})
	fs.StringVar(&o.conflict, "split-brain", conflictWarn, "`what` to do if somebody else answers for the address: warn, refuse, or ignore (do not ask)")
	fs.DurationVar(&o.wait, "wait", 300*time.Millisecond, "`time` to wait for such answers")
	fs.StringVar(&o.dir, "state", "", "`folder` for what one run tells the next (default /run/lvs)")
	fs.StringVar(&o.log, "log", "", "append what is done to this `file`, as keepalived throws it away")
	fs.StringVar(&o.netns, "netns", "", "network namespace, a `name` or a path; default this one")
	switch o.verb {
	case "status":
		fs.BoolVar(&o.json, "json", false, "print JSON")
	case "check":
	case "keepalived":
		o.vrrp.flags(fs)
	default:
		fs.BoolVar(&o.dryRun, "n", false, "only show what would be done")
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	words := fs.Args()
	switch o.verb {
	case "notify":
		if len(words) != 3 && len(words) != 4 {
			return fmt.Errorf("%d words and not TYPE NAME STATE [PRIORITY]", len(words))
		}
		if words[0] != "INSTANCE" && words[0] != "GROUP" {
			return fmt.Errorf("type %q is neither INSTANCE nor GROUP", words[0])
		}
		o.name, o.state = words[1], words[2]
		if o.state == "DELETED" {
			o.state = stateStop
		}
		if !slices.Contains([]string{stateMaster, stateBackup, stateFault, stateStop}, o.state) {
			return fmt.Errorf("unknown state %q", o.state)
		}
	default:
		if len(words) > 0 {
			return fmt.Errorf("unexpected argument %q", words[0])
		}
		o.state = strings.ToUpper(o.verb)
	}
	return o.complete()
}

// complete judges the flags together and fills in defaults that depend on others.
func (o *options) complete() error {
	memory := strings.HasPrefix(o.kernel, "memory:")
	switch {
	case o.name == "" || strings.ContainsAny(o.name, "/ \t\n\"") || o.name[0] == '.':
		return fmt.Errorf("name %q cannot be that of a file", o.name)
	case len(o.vips) == 0:
		return errors.New("-vip is required")
	case memory && o.device != "":
		return fmt.Errorf("LVS_KERNEL=%s has no devices for -dev", o.kernel)
	case !memory && o.device == "":
		return errors.New("-dev is required")
	case len(o.device) > 15:
		return fmt.Errorf("-dev %q is longer than 15 bytes", o.device)
	case !slices.Contains([]string{conflictWarn, conflictRefuse, conflictIgnore}, o.conflict):
		return fmt.Errorf("-split-brain %q is neither warn nor refuse nor ignore", o.conflict)
	case o.wait <= 0:
		return fmt.Errorf("-wait %v is not above 0", o.wait)
	}
	switch o.syncDev {
	case "":
		o.syncDev = o.device
	case "none":
		o.syncDev = ""
	}
	if len(o.syncDev) > 15 {
		return fmt.Errorf("-sync-dev %q is longer than 15 bytes", o.syncDev)
	}
	if o.dir == "" {
		o.dir = "/run/lvs"
		if file := strings.TrimPrefix(o.kernel, "memory:"); memory && file != "" {
			o.dir = filepath.Dir(file)
		}
	}
	if o.verb == "keepalived" {
		return o.vrrp.complete(o)
	}
	return nil
}

func (o *options) addVIPs(list string) error {
	for word := range strings.SplitSeq(list, ",") {
		addr, err := netip.ParseAddr(word)
		if err != nil || addr.Zone() != "" {
			return fmt.Errorf("%q is not an address", word)
		}
		if addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() {
			return fmt.Errorf("%q is not an address that one of two directors can have", word)
		}
		if addr = addr.Unmap(); slices.Contains(o.vips, addr) {
			return fmt.Errorf("%v is there twice", addr)
		}
		o.vips = append(o.vips, addr)
	}
	return nil
}
