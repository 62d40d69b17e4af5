package ipvstest

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// What an error of a client can match.
var meanings = map[string]error{
	"ErrNoService": ipvs.ErrNoService, "ErrServiceExists": ipvs.ErrServiceExists, "ErrNoDestination": ipvs.ErrNoDestination,
	"ErrDestinationExists": ipvs.ErrDestinationExists, "ErrScheduler": ipvs.ErrScheduler,
	"ErrPersistenceEngine": ipvs.ErrPersistenceEngine, "ErrDaemonRuns": ipvs.ErrDaemonRuns, "ErrNoDaemon": ipvs.ErrNoDaemon,
	"ErrInterface": ipvs.ErrInterface, "ErrModule": ipvs.ErrModule, "fs.ErrExist": fs.ErrExist, "fs.ErrNotExist": fs.ErrNotExist,
	"fs.ErrInvalid": fs.ErrInvalid, "fs.ErrPermission": fs.ErrPermission, "errors.ErrUnsupported": errors.ErrUnsupported,
	"os.ErrClosed": os.ErrClosed, "context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded,
}

// means checks the number and everything that an error matches, and that it matches nothing else.
func (b *bench) means(what string, err error, number errno, want ...string) {
	b.Helper()
	oe, ok := errors.AsType[*ipvs.OpError](err)
	if !ok {
		b.Errorf("%s: %v is no *ipvs.OpError", what, err)
		return
	}
	equal(b, what+": errno", number, errno(oe.Errno))
	if number != 0 && !errors.Is(err, syscall.Errno(number)) {
		b.Errorf("%s: %v does not match its errno %v", what, err, number)
	}
	var got []string
	for name, target := range meanings {
		if errors.Is(err, target) {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	equal(b, what+": "+err.Error(), want, got)
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// Objects of the typed cases.
var (
	webID   = ipvs.ServiceID{Protocol: ipvs.TCP, Addr: addrPort("192.0.2.10:80")}
	otherID = ipvs.ServiceID{Protocol: ipvs.TCP, Addr: addrPort("192.0.2.99:80")}
	webSvc  = ipvs.Service{ID: webID, Scheduler: "rr"}
	webDest = ipvs.Destination{Addr: addrPort(rip), Forward: ipvs.Route, Weight: 1}
	mixed   = ipvs.Destination{Addr: addrPort(rip6), Forward: ipvs.Tunnel, Weight: 1}
)

// meaningCases are what the errors of the typed client mean, for each command and errno that it can get.
var meaningCases = []testCase{
	{name: "services", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		none(b, c.AddService(ctx, webSvc))
		b.means("add again", c.AddService(ctx, webSvc), eEXIST, "ErrServiceExists", "fs.ErrExist")
		bad := ipvs.Service{ID: otherID, Scheduler: "what"}
		b.means("add, unknown scheduler", c.AddService(ctx, bad), eNOENT, "ErrScheduler")
		bad.PE = "sip"
		b.means("add, unknown scheduler, engine", c.AddService(ctx, bad), eNOENT, "ErrScheduler", "ErrPersistenceEngine")
		bad.Scheduler, bad.PE = "rr", "what"
		b.means("add, unknown engine", c.AddService(ctx, bad), eNOENT, "ErrScheduler", "ErrPersistenceEngine")
		edit := webSvc
		edit.Scheduler = "what"
		b.means("set, unknown scheduler", c.SetService(ctx, edit), eNOENT, "ErrScheduler")
		edit.PE = "what"
		b.means("set, unknown engine", c.SetService(ctx, edit), eNOENT, "ErrScheduler", "ErrPersistenceEngine")
		edit.ID = otherID
		b.means("set missing", c.SetService(ctx, edit), eSRCH, "ErrNoService", "fs.ErrNotExist")
		b.means("delete missing", c.DeleteService(ctx, otherID), eSRCH, "ErrNoService", "fs.ErrNotExist")
		b.means("zero missing", c.Zero(ctx, otherID), eSRCH, "ErrNoService", "fs.ErrNotExist")
		_, err := c.Service(ctx, otherID)
		b.means("get missing", err, eSRCH, "ErrNoService", "fs.ErrNotExist")
		_, err = c.Destinations(ctx, otherID)
		b.means("destinations of missing", err, eSRCH, "ErrNoService", "fs.ErrNotExist")
		none(b, c.DeleteService(ctx, webID))
		b.means("delete again", c.DeleteService(ctx, webID), eSRCH, "ErrNoService", "fs.ErrNotExist")
	}},
	{name: "destinations", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		none(b, c.AddService(ctx, webSvc))
		none(b, c.AddDestination(ctx, webID, webDest))
		away := webDest
		away.Addr = addrPort(newRIP)
		gone := []string{"ErrNoService", "fs.ErrNotExist"}
		b.means("add again", c.AddDestination(ctx, webID, webDest), eEXIST, "ErrDestinationExists", "fs.ErrExist")
		b.means("add to missing", c.AddDestination(ctx, otherID, webDest), eSRCH, gone...)
		b.means("set of missing service", c.SetDestination(ctx, otherID, webDest), eSRCH, gone...)
		b.means("delete of missing service", c.DeleteDestination(ctx, otherID, webDest.Addr), eSRCH, gone...)
		_, err := c.Destination(ctx, otherID, webDest.Addr)
		b.means("get of missing service", err, eSRCH, gone...)
		_, err = c.Quiesce(ctx, otherID, webDest.Addr)
		b.means("quiesce of missing service", err, eSRCH, gone...)
		gone = []string{"ErrNoDestination", "fs.ErrNotExist"}
		b.means("set missing", c.SetDestination(ctx, webID, away), eNOENT, gone...)
		b.means("delete missing", c.DeleteDestination(ctx, webID, away.Addr), eNOENT, gone...)
		_, err = c.Destination(ctx, webID, away.Addr)
		b.means("get missing", err, 0, gone...)
		_, err = c.Quiesce(ctx, webID, away.Addr)
		b.means("quiesce missing", err, 0, gone...)
		away.Addr = addrPort("224.0.0.1:80")
		b.means("add multicast", c.AddDestination(ctx, webID, away), eINVAL, "fs.ErrInvalid")
	}},
	{name: "mixed families", run: func(b *bench) {
		b.device("dm0", 1500)
		c, ctx := b.client(), b.ctx()
		none(b, c.AddService(ctx, webSvc))
		none(b, c.AddDestination(ctx, webID, mixed))
		daemon := ipvs.Daemon{State: ipvs.Backup, Interface: "dm0"}
		b.means("daemon", c.StartDaemon(ctx, daemon), eINVAL, "fs.ErrInvalid")
		none(b, c.DeleteDestination(ctx, webID, mixed.Addr))
		none(b, c.StartDaemon(ctx, daemon))
		b.means("add", c.AddDestination(ctx, webID, mixed), eINVAL, "fs.ErrInvalid")
		b.means("set", c.SetDestination(ctx, webID, mixed), eINVAL, "fs.ErrInvalid")
	}},
	{name: "daemons", run: func(b *bench) {
		b.device("dm0", 1500)
		b.device("dm1", 1500)
		b.link("dm1", false)
		c, ctx := b.client(), b.ctx()
		b.means("stop missing", c.StopDaemon(ctx, ipvs.Master), eSRCH, "ErrNoDaemon", "fs.ErrNotExist")
		b.means("unknown device", c.StartDaemon(ctx, ipvs.Daemon{State: ipvs.Master, Interface: "nope"}), eNODEV, "ErrInterface")
		b.means("device that is down", c.StartDaemon(ctx, ipvs.Daemon{State: ipvs.Master, Interface: "dm1"}), eNETUNREACH)
		none(b, c.StartDaemon(ctx, ipvs.Daemon{State: ipvs.Master, Interface: "dm0"}))
		b.means("start again", c.StartDaemon(ctx, ipvs.Daemon{State: ipvs.Master, Interface: "dm0"}), eEXIST, "ErrDaemonRuns", "fs.ErrExist")
		none(b, c.StopDaemon(ctx, ipvs.Master))
		b.means("stop again", c.StopDaemon(ctx, ipvs.Master), eSRCH, "ErrNoDaemon", "fs.ErrNotExist")
	}},
	{name: "timeouts", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		limit := time.Duration(uint32(1<<31-1)/b.ticks()) * time.Second
		none(b, c.SetTimeouts(ctx, ipvs.Timeouts{UDP: limit}))
		b.means("too large", c.SetTimeouts(ctx, ipvs.Timeouts{TCP: 5 * time.Second, UDP: limit + time.Second}), eINVAL, "fs.ErrInvalid")
		got, err := c.Timeouts(ctx)
		none(b, err)
		equal(b, "timeouts", ipvs.Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: limit}, got)
	}},
	{name: "without privilege", run: func(b *bench) {
		if b.env.Unprivileged == nil {
			b.Skip("the setup has no unprivileged socket")
		}
		c, ctx := b.clientOn(b.env.Unprivileged), b.ctx()
		for name, f := range everyMethod(c, ctx) {
			b.means(name, f(), ePERM, "fs.ErrPermission")
		}
	}},
	{name: "a context that has ended", run: func(b *bench) {
		c := b.client()
		ctx, cancel := context.WithCancel(b.ctx())
		cancel()
		for name, f := range everyMethod(c, ctx) {
			b.means(name, f(), 0, "context.Canceled")
		}
		_, err := c.Info(b.ctx())
		none(b, err)
	}},
	{name: "a closed client", run: func(b *bench) {
		c := b.client()
		none(b, c.Close())
		for name, f := range everyMethod(c, b.ctx()) {
			b.means(name, f(), 0, "os.ErrClosed")
		}
	}},
	{name: "what is not sent", run: func(b *bench) {
		c, ctx := b.client(), b.ctx()
		none(b, c.AddService(ctx, webSvc))
		before := b.state()
		for name, s := range map[string]ipvs.Service{
			"no scheduler":       {ID: otherID},
			"long scheduler":     {ID: otherID, Scheduler: "abcdefghijklmnop"},
			"long engine":        {ID: otherID, Scheduler: "rr", PE: "abcdefghijklmnopq"},
			"mark 0":             {ID: ipvs.Mark(0, ipvs.IPv4), Scheduler: "rr"},
			"no family":          {ID: ipvs.ServiceID{FWMark: 5}, Scheduler: "rr"},
			"zone":               {ID: ipvs.ServiceID{Protocol: ipvs.TCP, Addr: addrPort("[fe80::1%lo]:80")}, Scheduler: "rr"},
			"ICMP":               {ID: ipvs.ServiceID{Protocol: 1, Addr: otherID.Addr}, Scheduler: "rr"},
			"half a second":      {ID: otherID, Scheduler: "rr", Timeout: time.Second / 2},
			"a timeout too long": {ID: otherID, Scheduler: "rr", Timeout: 4294968 * time.Second},
			"negative":           {ID: otherID, Scheduler: "rr", Timeout: -time.Second},
			"IPv6 mask":          {ID: otherID, Scheduler: "rr", Netmask: ipvs.MaskBits(ipvs.IPv6, 64)},
			"mask with holes":    {ID: ipvs.Mark(5, ipvs.IPv6), Scheduler: "rr", Netmask: netip.MustParseAddr("ffff:0:ffff::")},
		} {
			b.means(name, c.AddService(ctx, s), 0, "fs.ErrInvalid")
		}
		for name, d := range map[string]ipvs.Destination{
			"no address":      {},
			"another family":  {Addr: addrPort(rip6)},
			"method":          {Addr: addrPort(rip), Forward: 8},
			"weight":          {Addr: addrPort(rip), Weight: 1 << 31},
			"upper threshold": {Addr: addrPort(rip), UpperThreshold: 1 << 31},
			"lower threshold": {Addr: addrPort(rip), UpperThreshold: 5, LowerThreshold: 6},
			"GUE port":        {Addr: addrPort(rip), Tunnel: ipvs.TunnelOptions{Type: ipvs.GUE}},
		} {
			b.means(name, c.AddDestination(ctx, webID, d), 0, "fs.ErrInvalid")
			b.means(name, c.SetDestination(ctx, webID, d), 0, "fs.ErrInvalid")
		}
		equal(b, "state", before, b.state())
	}},
}

// everyMethod calls every method of a client that talks to the kernel, with arguments that can be sent.
func everyMethod(c *ipvs.Client, ctx context.Context) map[string]func() error {
	return map[string]func() error{
		"Info":              func() error { _, err := c.Info(ctx); return err },
		"Services":          func() error { _, err := c.Services(ctx); return err },
		"Service":           func() error { _, err := c.Service(ctx, webID); return err },
		"AddService":        func() error { return c.AddService(ctx, webSvc) },
		"SetService":        func() error { return c.SetService(ctx, webSvc) },
		"DeleteService":     func() error { return c.DeleteService(ctx, webID) },
		"Flush":             func() error { return c.Flush(ctx) },
		"Zero":              func() error { return c.Zero(ctx, webID) },
		"ZeroAll":           func() error { return c.ZeroAll(ctx) },
		"Destinations":      func() error { _, err := c.Destinations(ctx, webID); return err },
		"Destination":       func() error { _, err := c.Destination(ctx, webID, webDest.Addr); return err },
		"AddDestination":    func() error { return c.AddDestination(ctx, webID, webDest) },
		"SetDestination":    func() error { return c.SetDestination(ctx, webID, webDest) },
		"DeleteDestination": func() error { return c.DeleteDestination(ctx, webID, webDest.Addr) },
		"Quiesce":           func() error { _, err := c.Quiesce(ctx, webID, webDest.Addr); return err },
		"Timeouts":          func() error { _, err := c.Timeouts(ctx); return err },
		"SetTimeouts":       func() error { return c.SetTimeouts(ctx, ipvs.Timeouts{UDP: time.Second}) },
		"Daemons":           func() error { _, err := c.Daemons(ctx); return err },
		"StartDaemon":       func() error { return c.StartDaemon(ctx, ipvs.Daemon{State: ipvs.Backup, Interface: "lo"}) },
		"StopDaemon":        func() error { return c.StopDaemon(ctx, ipvs.Backup) },
	}
}
