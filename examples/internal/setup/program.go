package setup

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Exit statuses.
const (
	ExitOK    = 0
	ExitError = 1 // something failed, or status found something wrong
	ExitUsage = 2 // a mistake on the command line
)

// Env is what the run of a program depends on.
type Env struct {
	Name           string // of the program, with which its messages begin
	Stdout, Stderr io.Writer
	Kernel         string // LVS_KERNEL, see ipvstest.Dial

	// Connect limits how long status waits for a real server to accept a connection; 0 is one second.
	Connect time.Duration
}

// Main runs a program and ends the process with the status that it returns. SIGINT and SIGTERM end the context.
func Main(name string, run func(ctx context.Context, e *Env, args []string) int) {
	e := Env{Name: name, Stdout: os.Stdout, Stderr: os.Stderr, Kernel: os.Getenv("LVS_KERNEL")}
	os.Exit(e.Run(run, os.Args[1:]))
}

// Run is Main without the end of the process, which is to come next: SIGINT and SIGTERM stay without effect after it, so that
// the status of the process is that of what was done.
func (e *Env) Run(run func(ctx context.Context, e *Env, args []string) int, args []string) (status int) {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, e, args)
}

// Hold keeps the process from ending between two changes when its terminal or the reader of its output goes away: SIGHUP
// ends the context, unless it is ignored, and after SIGPIPE what is written is lost.
func Hold(ctx context.Context) (context.Context, context.CancelFunc) {
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	stop := func() {}
	if !signal.Ignored(syscall.SIGHUP) {
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
	}
	return ctx, func() {
		stop()
		signal.Stop(pipe)
	}
}

// Verb returns the first word of the command line of a program with the verbs start, stop and status, or that the program is
// over: it was asked for help, or for something else, and the status says so.
func (e *Env) Verb(usage string, args []string) (verb string, status int, over bool) {
	switch verb = args[0]; verb {
	case "start", "stop", "status":
		return verb, ExitOK, false
	case "-h", "-help", "--help", "help":
		fmt.Fprint(e.Stdout, usage)
		return "", ExitOK, true
	}
	return "", e.Mistake("", fmt.Errorf("unknown verb %q; \"%s -h\" shows the verbs", verb, e.Name)), true
}

// Mistake reports a mistake on the command line and returns the exit status for it. The name of a verb may be empty.
func (e *Env) Mistake(verb string, err error) int {
	fmt.Fprintf(e.Stderr, "%s: %v\n", strings.TrimSpace(e.Name+" "+verb), err)
	return ExitUsage
}

// ErrFindings is the result of a look that found something wrong, which is printed already.
var ErrFindings = errors.New("not as it should be")

// Report prints an error, if there is one, with what a person can do about it, and returns the exit status.
func (e *Env) Report(err error) int {
	if err == nil {
		return ExitOK
	}
	fmt.Fprintf(e.Stderr, "%s: %s\n", e.Name, strings.ReplaceAll(err.Error(), "\n", "\n"+e.Name+": "))
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok && h.Hint() != "" {
		fmt.Fprintf(e.Stderr, "%s: %s\n", e.Name, h.Hint())
	}
	return ExitError
}

// Parse parses the flags of a verb, or of a program without verbs. Asked for help it prints the flags to standard output,
// and a mistake it reports on standard error; done then says that the program is to end with the status. The check may be
// nil; it is for what goes wrong with flags that are well-formed. An argument that is no flag is a mistake.
func (e *Env) Parse(verb string, fs *flag.FlagSet, args []string, check func() error) (status int, done bool) {
	var help strings.Builder
	fs.SetOutput(io.Discard)
	fs.Usage = func() {
		fmt.Fprintf(&help, "usage: %s [flags]\n", strings.TrimSpace(e.Name+" "+verb))
		fs.SetOutput(&help)
		fs.PrintDefaults()
		fs.SetOutput(io.Discard)
	}
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(e.Stdout, help.String())
		return ExitOK, true
	}
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err == nil && check != nil {
		err = check()
	}
	if err != nil {
		return e.Mistake(verb, err), true
	}
	return ExitOK, false
}
