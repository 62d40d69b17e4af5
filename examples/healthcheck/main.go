// Program healthcheck keeps a director's table in step with its real servers: it asks each of them again and again, takes
// those that fail out of service, and brings them back with the weight that the configuration declares.
//
//	healthcheck -n web.json         checks the configuration and shows what would be done
//	healthcheck -once web.json      asks each server once, and changes the table accordingly
//	healthcheck web.json            goes on until it is stopped
//
// A configuration for a web service by direct routing, whose director says sorry while both servers are down:
//
//	{
//	  "defaults": {"interval": "2s", "timeout": "1s", "rise": 2, "fall": 3},
//	  "services": [{
//	    "service": "TCP 192.0.2.10:80",
//	    "scheduler": "wlc",
//	    "forward": "Route",
//	    "checks": [{"type": "http", "path": "/health", "status": "200", "body": "ok"}],
//	    "sorry": {"addr": "127.0.0.1:80"},
//	    "real": [{"addr": "10.0.0.2:80", "weight": 2}, {"addr": "10.0.0.3:80"}]
//	  }]
//	}
//
// The types of checks are tcp, http, https, udp, dns and command; -h says what each field means. Services that the
// configuration has are kept as it says, whoever changes them, and others are not touched. Real servers that have a check
// in common, in one service or in several, are asked once. The first answer of a server decides, unless it is in service
// already: then it takes as many failures as later.
//
// On SIGHUP the file is read again; what has not changed is not touched, neither in the table nor among the checks. A
// mistake in it is reported, and the old one stays in force. On SIGUSR1 the program prints what it knows as JSON. SIGINT and
// SIGTERM end it, and the table serves on as it is.
//
// Checks go to the real server's own address. Through the virtual address a check can ask one real server of a service that
// forwards by Route or Tunnel, although the director has that address itself: for each such server the program adds a service
// of a firewall mark, and sets accept_local on the device by which the answers come. Both are taken back when it ends. If
// another program takes them away before that, the next check finds out, does not count, and is made again once they are back.
//
// Clients of a persistent service go on to a server of weight 0, new connections too, until their templates expire, unless
// the sysctl expire_quiescent_template is set. The log and the status say so where it matters.
//
// The exit status is 0, after -once if all servers are up; 1 after an error; 2 after a mistake on the command line or in the
// configuration; 3 after -once if a server is down. LVS_KERNEL=memory:FILE uses an in-memory kernel in place of the host's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvstest"
)

// exitDown is the exit status after -once if a server is down.
const exitDown = 3

func main() {
	reload, show := make(chan os.Signal, 1), make(chan os.Signal, 1)
	if len(reloadSignals) > 0 { // none would mean all
		signal.Notify(reload, reloadSignals...)
		signal.Notify(show, statusSignals...)
	}
	setup.Main("healthcheck", func(ctx context.Context, e *setup.Env, args []string) int {
		p := program{Env: e, reload: reload, show: show}
		return p.run(ctx, args)
	})
}

// program is what a run depends on.
type program struct {
	*setup.Env
	reload, show <-chan os.Signal
}

// options are the flags.
type options struct {
	file    string
	dryRun  bool
	check   bool
	once    bool
	json    bool
	jsonLog bool
}

func (p *program) run(ctx context.Context, args []string) int {
	var o options
	fs := flag.NewFlagSet("healthcheck", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&o.dryRun, "n", false, "show what would be done and change nothing; with -once the checks are made")
	fs.BoolVar(&o.check, "check", false, "only check the configuration")
	fs.BoolVar(&o.once, "once", false, "make each check once, change the table accordingly, and end")
	fs.BoolVar(&o.json, "json", false, "with -once: print what was found and done as JSON")
	fs.BoolVar(&o.jsonLog, "log-json", false, "write the log as JSON")
	mistake := func(text string) int { return p.Mistake("", errors.New(text)) }
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		var flags strings.Builder
		fs.SetOutput(&flags)
		fs.PrintDefaults()
		fmt.Fprintf(p.Stdout, help, flags.String(), example)
		return setup.ExitOK
	case err != nil:
		return p.Mistake("", err)
	case fs.NArg() != 1:
		return mistake("one configuration file is needed; \"healthcheck -h\" shows the flags")
	case o.check && (o.once || o.dryRun):
		return mistake("-check goes without -once and -n")
	case o.json && !o.once:
		return mistake("-json goes with -once; on SIGUSR1 a program that goes on prints its status")
	}
	o.file = fs.Arg(0)
	cfg, err := p.read(o.file)
	if errs, ok := errors.AsType[mistakes](err); ok {
		fmt.Fprintln(p.Stderr, errs)
		return setup.ExitUsage
	} else if err != nil {
		return p.Mistake("", err)
	}
	if o.check {
		fmt.Fprintf(p.Stdout, "%s is well formed\n", o.file)
		return setup.ExitOK
	}
	err = p.act(ctx, o, cfg)
	if errors.Is(err, errDown) {
		return exitDown
	}
	return p.Report(err)
}

// errDown says that a server is down, which is printed already.
var errDown = errors.New("a server is down")

func (p *program) act(ctx context.Context, o options, cfg *Config) error {
	c, done, err := ipvstest.Dial(ctx, p.Kernel, &ipvs.Config{Timeout: applyTime})
	if err != nil {
		return err
	}
	m := monitor{kernel: c, host: noHost{}, out: p.Stdout, new: newChecker, dryRun: o.dryRun}
	m.log = slog.New(slog.NewTextHandler(p.Stderr, nil))
	if o.jsonLog {
		m.log = slog.New(slog.NewJSONHandler(p.Stderr, nil))
	}
	if p.Kernel == "" {
		if m.host, err = newMachine(o.file); err != nil {
			return errors.Join(err, done())
		}
	}
	switch {
	case o.once:
		err = p.once(ctx, &m, cfg, o.json)
	case o.dryRun:
		m.warn(cfg)
		var text string
		if text, err = m.planText(ctx, cfg); err == nil {
			fmt.Fprint(p.Stdout, text)
		}
	default:
		err = p.watch(ctx, &m, cfg, o.file)
	}
	return errors.Join(err, done())
}

// watch runs the monitor and passes on what the signals ask for.
func (p *program) watch(ctx context.Context, m *monitor, cfg *Config, file string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	configs, dumps := make(chan *Config), make(chan struct{})
	signals := make(chan struct{})
	go func() {
		defer close(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.reload:
				next, err := p.read(file)
				if err != nil {
					m.log.Error("the configuration stays as it was", "error", err.Error())
					continue
				}
				select {
				case configs <- next:
				case <-ctx.Done():
				}
			case <-p.show:
				select {
				case dumps <- struct{}{}:
				case <-ctx.Done():
				}
			}
		}
	}()
	err := m.run(ctx, cfg, configs, dumps)
	cancel()
	<-signals
	return err
}

// once prints what a single round has found and done.
func (p *program) once(ctx context.Context, m *monitor, cfg *Config, asJSON bool) error {
	st, report, err := m.once(ctx, cfg)
	if err != nil && len(report.Changes) == 0 {
		return err
	}
	changes := make([]string, len(report.Changes))
	for i, c := range report.Changes {
		changes[i] = c.String()
		if o := report.Outcomes[i]; o.Err != nil {
			changes[i] += ": " + o.Err.Error()
		}
	}
	if asJSON {
		enc := json.NewEncoder(p.Stdout)
		enc.SetIndent("", "  ")
		if jsonErr := enc.Encode(struct {
			status
			Changes []string `json:"changes"`
		}{st, changes}); err == nil {
			err = jsonErr
		}
	} else {
		st.print(p.Stdout)
		for _, c := range changes {
			fmt.Fprintln(p.Stdout, c)
		}
	}
	if err == nil && st.down() > 0 {
		err = errDown
	}
	return err
}

// print writes the status for people.
func (st status) print(w io.Writer) {
	for _, s := range st.Services {
		fmt.Fprintln(w, s.Service)
		if s.Sorry {
			fmt.Fprintln(w, "  the sorry server has the clients")
		}
		for _, r := range s.Real {
			fmt.Fprintf(w, "  %-8s %v weight %d\n", r.State, r.Addr, r.Weight)
			for _, c := range r.Checks {
				fmt.Fprintf(w, "    %-7s %s  %v  %s\n", c.State, c.Check, time.Duration(c.Millis*float64(time.Millisecond)), c.Error)
			}
		}
	}
	for _, text := range st.Warnings {
		fmt.Fprintln(w, "!", text)
	}
}

// mistakes are those in a configuration file, a line each.
type mistakes struct {
	file string
	list []problem
}

// Error lists them as FILE:LINE: FIELD: REASON.
func (m mistakes) Error() string {
	var text string
	for i, p := range m.list {
		if i > 0 {
			text += "\n"
		}
		text += m.file + ":" + p.String()
	}
	return text
}

// read reads and checks the configuration.
func (p *program) read(file string) (*Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cfg, problems := parseConfig(data)
	if problems != nil {
		return nil, mistakes{file, problems}
	}
	return cfg, nil
}
