// Program failover makes a pair of directors of two machines on which keepalived runs. Keepalived decides by VRRP which of
// them is active and holds the virtual address; this program is its notify script and does the rest: it finds out whether
// somebody else answers for the address, announces it, switches the synchronisation of connections between master and
// backup, and applies the rules on both machines, so that established connections go on after a failover.
//
//	ipvsadm -S -n > /etc/lvs/rules                                         writes the rules, once they are as they should be
//	failover keepalived -vip 192.0.2.10 -dev eth0 -rules /etc/lvs/rules    prints a keepalived.conf for these flags
//	failover status -vip 192.0.2.10 -dev eth0 -rules /etc/lvs/rules        shows this director and says what is wrong
//	failover master -vip 192.0.2.10 -dev eth0 -rules /etc/lvs/rules -n     shows what becoming active would do
//
// Keepalived calls the verbs notify, with the words INSTANCE, NAME, STATE and PRIORITY after the flags, and check. The file
// keepalived.conf beside this program is what the second command prints if it is given -split-brain refuse and
// -log /var/log/lvs-failover.log besides. Both directors have the same file but for router_id and priority (-router-id,
// -priority), the same rules, and this program in /usr/local/sbin:
//
//	CGO_ENABLED=0 go build -o /usr/local/sbin/failover ./examples/failover
//
// What each state does:
//
//	MASTER        asks who else answers for the address, applies the rules, runs the sync daemon as master, announces
//	BACKUP FAULT  applies the rules, runs the sync daemon as backup: a connection that comes without its service is lost
//	STOP          stops the sync daemons; the rules stay
//
// Two active directors answer for one address (split brain) when their VRRP packets get lost. With -split-brain warn, the
// default, the one that takes over says so in the log; with refuse it makes way: it stays backup, and the verb check, which
// keepalived calls every second, fails there until nobody else answers, so that keepalived gives the address up. On the
// director that stays active check announces the address again. Two that take over at the same moment both make way, and
// try again. A real server that does not keep quiet about the address is taken for a director; directors with use_vmac have
// the same hardware address, and are not told apart.
//
// The weights of real servers that are in the table already are left to health checks unless -weights is given. By default
// the kernel sends a connection to the backup with its third packet from the client, and with every fiftieth after that
// (net.ipv4.vs.sync_threshold); net.ipv4.vs.sync_refresh_period brings a backup that was away up to date sooner.
//
// The other director takes over within three to four advertisements: new connections work after 0.7 to 0.9 s by default and
// after 2.9 to 3.2 s with -vrrp 2, as measured on Linux 6.1 and 6.12. What a client sent on an open connection meanwhile comes
// when it sends that again, 0.2, 0.6, 1.4, 3 and 6.2 s after the first time: such a connection pauses for up to twice as long
// as new ones and a little more, 1.5 s and 6.7 s, and nothing is lost.
//
// LVS_KERNEL=memory:FILE uses an in-memory kernel in place of the host's; it has no devices, so that -dev does not go with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/golvs/lvs/arp"
	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

func main() {
	born := birth()
	setup.Main("failover", func(ctx context.Context, e *setup.Env, args []string) int {
		return (&program{Env: e, born: born}).run(ctx, args)
	})
}

// program is what a run depends on.
type program struct {
	*setup.Env
	born    moment
	network network // nil for that of the host
}

const usage = `usage: failover VERB [flags]

  notify      what keepalived calls: failover notify [flags] INSTANCE NAME STATE PRIORITY
  check       what keepalived calls every second with -split-brain refuse: fails while this director has to make way
  master      the same as notify with the state MASTER
  backup      … BACKUP
  fault       … FAULT
  stop        … STOP
  status      shows this director and says what is wrong
  keepalived  prints a keepalived.conf

"failover VERB -h" shows the flags. The exit status is 0, 1 if something failed or was found wrong, or 2 after a mistake
on the command line.
`

var verbs = []string{"notify", "check", "master", "backup", "fault", "stop", "status", "keepalived"}

func (p *program) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		return p.Mistake("", errors.New(`a verb is needed; "failover -h" shows them`))
	}
	verb := args[0]
	switch {
	case verb == "-h" || verb == "-help" || verb == "--help" || verb == "help":
		fmt.Fprint(p.Stdout, usage)
		return setup.ExitOK
	case !slices.Contains(verbs, verb):
		return p.Mistake("", fmt.Errorf("unknown verb %q; \"failover -h\" shows the verbs", verb))
	}
	o := options{verb: verb, kernel: p.Kernel}
	if err := o.parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(p.Stdout, o.help)
		return setup.ExitOK
	} else if err != nil {
		return p.Mistake(verb, err)
	}
	if verb == "keepalived" {
		return p.Report(o.writeConfig(p.Stdout))
	}
	e := *p.Env // for what is reported
	d := director{options: o, born: p.born, network: p.network, out: p.Stdout}
	if o.log != "" && verb != "status" && !o.dryRun { // those do nothing, and answer who asks
		f, err := os.OpenFile(o.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		switch {
		case err == nil:
			defer func() { _ = f.Close() }()
			log := newLog(f, fmt.Sprintf("failover %s[%d]: ", o.name, os.Getpid()))
			d.out = log
			if verb != "check" { // that fails every second
				e.Stderr = log
			}
		case verb == "notify" || verb == "check": // a director without a log is better than none
			fmt.Fprintln(e.Stderr, "failover: warning:", err)
		default:
			return p.Report(err)
		}
	}
	d.err = e.Stderr
	if verb != "status" {
		var stop context.CancelFunc
		ctx, stop = setup.Hold(ctx)
		defer stop()
	}
	err := p.act(ctx, &d)
	if errors.Is(err, setup.ErrFindings) {
		return setup.ExitError // they are printed already
	}
	return e.Report(err)
}

// act carries a verb out that is about this machine.
func (p *program) act(ctx context.Context, d *director) error {
	if d.device != "" && d.network == nil {
		host, err := arp.New(&arp.Config{NetNS: d.netns, Timeout: 10 * time.Second})
		if err != nil {
			return err
		}
		d.network = host
	}
	if d.verb == "check" {
		return d.check(ctx)
	}
	// Keepalived has moved the address already: without the rules the services stay as they are, and the rest is done.
	rules, unread := readRules(ctx, d.rulesFile)
	if unread != nil && (d.verb != "notify" || d.dryRun) {
		return unread
	}
	d.rules = rules
	c, done, err := ipvstest.Dial(ctx, p.Kernel, &ipvs.Config{NetNS: d.netns, Timeout: 10 * time.Second})
	if err != nil {
		return errors.Join(unread, err)
	}
	d.client = c
	if d.verb == "status" {
		err = d.status(ctx)
	} else {
		err = d.become(ctx, d.state)
	}
	return errors.Join(unread, err, done())
}
