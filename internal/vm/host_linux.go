package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits on the host's clock.
const (
	probeTimeout = 8 * time.Second // a boot with KVM
	bootTimeout  = 3 * time.Minute // from start to the program, on a busy host
	dumpTimeout  = 5 * time.Second // from SIGQUIT to the program's end
)

// hostMain runs a command line and returns the exit status.
func hostMain(args []string) int {
	runtime.LockOSThread() // see startMachine
	o, err := parseArgs(args, os.Stdout)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "vm: %v\n", err)
		return exitUsage
	}
	status, err := run(o)
	if err != nil {
		fmt.Fprintf(os.Stderr, "vm: %v\n", err)
		status = exitMachine
		if e, ok := errors.AsType[*exitError](err); ok {
			status = e.status
		}
	}
	return status
}

func run(o options) (int, error) {
	if runtime.GOARCH != "amd64" {
		return 0, fmt.Errorf("needs Linux on amd64, this is %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	c, err := openCache()
	if err != nil {
		return 0, err
	}
	a := &apt{cache: c, log: os.Stderr, root: os.Geteuid() == 0}
	switch {
	case o.List:
		names, err := a.names()
		if err != nil {
			return 0, err
		}
		fmt.Println(strings.Join(names, "\n"))
		return 0, nil
	case o.Fetch:
		return 0, a.fetchAll()
	}

	if _, err := findQEMU(); err != nil {
		return 0, err // before anything is downloaded
	}
	stop := watch()
	k, err := a.chooseKernel(o.Kernel)
	if err != nil {
		return 0, err
	}
	set, err := c.modules(k, o)
	if err != nil {
		return 0, err
	}
	if o.Required && len(set.Missing) > 0 {
		return 0, usageError("kernel %s has no module %s", k.Release, strings.Join(set.Missing, ", "))
	}
	accel := accelTCG
	if !o.ICount {
		if accel, err = c.accel(k); err != nil {
			return 0, err
		}
	}
	initrd, cfg, err := buildInitrd(o, set)
	if err != nil {
		return 0, err
	}
	defer initrd.Close()

	about := fmt.Sprintf("vm: Linux %s (%s), %s, %d CPUs, %d MiB", k.Release, k.Build, accel, o.CPUs, o.Memory)
	if o.ICount {
		about += ", counting instructions"
	}
	if len(set.Missing) > 0 {
		about += "; without the modules " + strings.Join(set.Missing, ", ")
	}
	fmt.Fprintln(os.Stderr, about)

	for try := 1; ; try++ {
		status, started, err := attempt(o, k, accel, initrd, cfg, stop)
		if err != nil && !started && try == 1 {
			if _, ok := errors.AsType[*exitError](err); !ok {
				fmt.Fprintf(os.Stderr, "vm: %v; starting it once more\n", err)
				continue
			}
		}
		return status, err
	}
}

// stopRequest is why vm has to end before the program does.
type stopRequest struct {
	signal unix.Signal
	reason string
}

// watch looks out for signals and for the death of the process that started vm, which nothing else would tell.
func watch() <-chan stopRequest {
	requests := make(chan stopRequest, 1)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	parent := os.Getppid()
	go func() {
		tick := time.NewTicker(250 * time.Millisecond)
		for {
			select {
			case s := <-signals:
				requests <- stopRequest{signal: s.(unix.Signal), reason: s.String()}
			case <-tick.C:
				if os.Getppid() != parent {
					// Nobody is left to read a message, and writing one could block.
					requests <- stopRequest{signal: unix.SIGHUP}
					return
				}
			}
		}
	}()
	return requests
}

// attempt boots the machine and runs the program; started says whether that was begun.
func attempt(o options, k kernel, accel string, initrd *os.File, cfg guestConfig, stop <-chan stopRequest) (status int, started bool, err error) {
	con := &console{}
	if o.Verbose {
		con.copy = os.Stderr
	}
	m, err := startMachine(o, k.Image, accel, initrd, con, os.Stdout, os.Stderr)
	if err != nil {
		return 0, false, &exitError{exitMachine, err}
	}
	defer m.stop()

	timer := time.NewTimer(bootTimeout)
	defer timer.Stop()
	stopping := false
	for {
		select {
		case e := <-m.events:
			switch e.kind {
			case frameStart:
				started = true
				timer.Stop()
				if o.Timeout > 0 {
					timer.Reset(o.Timeout)
				}
			case frameLog:
				fmt.Fprintf(os.Stderr, "vm: %s\n", e.payload)
			case frameFile:
				if err := saveFile(cfg.Files, e.payload); err != nil {
					fmt.Fprintf(os.Stderr, "vm: %v\n", err)
				}
			case frameExit:
				if stopping {
					return exitMachine, started, nil
				}
				if len(e.payload) != 1 {
					return 0, started, errors.New("the guest sent no exit status")
				}
				return int(e.payload[0]), started, nil
			}
		case <-m.exited:
			return 0, started, m.failure("the machine ended by itself")
		case <-timer.C:
			switch {
			case !started:
				return 0, started, m.failure("the machine did not get ready in %v", bootTimeout)
			case stopping:
				return 0, started, m.failure("the guest does not answer")
			}
			fmt.Fprintf(os.Stderr, "vm: stopping %s after %v\n", filepath.Base(cfg.Args[0]), o.Timeout)
			stopping = true
			m.interrupt()
			timer.Reset(dumpTimeout)
		case r := <-stop:
			if r.signal == unix.SIGQUIT && started {
				m.interrupt()
				continue
			}
			if r.reason == "" {
				return 128 + int(r.signal), started, nil
			}
			return 0, started, &exitError{128 + int(r.signal), errors.New(r.reason)}
		}
	}
}

// failure describes a machine that broke, with what its console and QEMU said last.
func (m *machine) failure(format string, args ...any) error {
	m.stop()
	var b strings.Builder
	fmt.Fprintf(&b, format, args...)
	if said := strings.TrimSpace(m.stderr.String()); said != "" {
		fmt.Fprintf(&b, "\nqemu: %s", said)
	}
	if m.console.copy == nil {
		if lines := m.console.lines(); len(lines) > 0 {
			b.WriteString("\nlast lines of the console:\n" + strings.TrimSuffix(strings.Join(lines, ""), "\n"))
		} else {
			b.WriteString("\nthe console is empty")
		}
	}
	return errors.New(b.String())
}

// saveFile appends a piece of one of the files that the program was told to write.
func saveFile(files []string, payload []byte) error {
	path, data, ok := bytes.Cut(payload, []byte{0})
	if !ok || !slices.Contains(files, string(path)) {
		return fmt.Errorf("the guest sent a file %q, which nobody asked for", path)
	}
	f, err := os.OpenFile(string(path), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// moduleSet is what a guest gets of a kernel's modules.
type moduleSet struct {
	Modules []module // with the guest's paths, each after its dependencies
	Missing []string // asked for, but not there
	archive string   // cpio file with them
}

// pick returns the modules named with their dependencies, in the order to load them.
func (s *moduleSet) pick(names []string) ([]module, error) {
	order, _, err := closure(names, func(name string) (module, error) {
		if i := slices.IndexFunc(s.Modules, func(m module) bool { return m.Name == name }); i >= 0 {
			return s.Modules[i], nil
		}
		return module{}, nil // built in, or missing, which was found out before
	})
	return order, err
}

// modules returns the modules for a guest from the cache, where they are decompressed in an archive.
func (c *cache) modules(k kernel, o options) (*moduleSet, error) {
	tree, err := scanModules(k.Modules)
	if err != nil {
		return nil, err
	}
	names := slices.Clone(o.Modules)
	if o.Autoload {
		names = append(names, defaultModules...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	key, err := tree.key(k.Release, names)
	if err != nil {
		return nil, err
	}
	base := c.path("modules", k.Release+"-"+key)

	unlock, err := c.lock("modules")
	if err != nil {
		return nil, err
	}
	defer unlock()
	set := &moduleSet{archive: base + ".cpio"}
	data, err := os.ReadFile(base + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		data, err = c.makeModules(tree, k.Release, names, base)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, set); err != nil {
		return nil, fmt.Errorf("%s: %w", base+".json", err)
	}
	if o.Autoload { // what is there besides the wanted is not missed
		set.Missing = slices.DeleteFunc(set.Missing, func(name string) bool { return !slices.Contains(o.Modules, name) })
	}
	return set, nil
}

// key identifies an archive of modules by all that goes into it.
func (t *moduleTree) key(release string, names []string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "1", release, names) // the number changes with the format
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		info, err := os.Stat(t.files[name])
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, t.files[name], info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// makeModules writes an archive and, after it, its description.
func (c *cache) makeModules(tree *moduleTree, release string, names []string, base string) ([]byte, error) {
	order, _, err := tree.closure(transportModules)
	if err != nil {
		return nil, err
	}
	more, missing, err := tree.closure(names)
	if err != nil {
		return nil, err
	}
	for _, m := range more {
		if !slices.ContainsFunc(order, func(o module) bool { return o.Name == m.Name }) {
			order = append(order, m)
		}
	}
	err = c.writeFile(base+".cpio", func(w io.Writer) error {
		a := newArchive(w)
		for i, m := range order {
			_, data, err := readModule(m.Path)
			if err != nil {
				return err
			}
			order[i].Path = "/usr/lib/modules/" + release + "/" + m.Name + ".ko"
			if err := a.file(order[i].Path, 0o644, data); err != nil {
				return err
			}
		}
		return a.close()
	})
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(moduleSet{Modules: order, Missing: missing})
	if err != nil {
		return nil, err
	}
	return data, c.writeFile(base+".json", func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// buildInitrd makes the initramfs of a run.
func buildInitrd(o options, set *moduleSet) (*os.File, guestConfig, error) {
	cfg := guestConfig{ModuleOptions: o.ModuleOptions, Autoload: o.Autoload, OneStream: sameFile(os.Stdout, os.Stderr)}
	path, err := findProgram(o.Command[0])
	if err != nil {
		return nil, cfg, &exitError{exitUsage, err}
	}
	if _, err := os.Stat(path); err != nil {
		return nil, cfg, &exitError{exitUsage, err}
	}
	if cfg.Dir, err = os.Getwd(); err != nil {
		return nil, cfg, err
	}
	cfg.Args = append([]string{path}, o.Command[1:]...)
	cfg.Env = append(guestEnv(os.Environ(), o.Env), "PWD="+cfg.Dir)
	cfg.Files, cfg.Folders = testFiles(o.Command[1:], cfg.Dir)
	if cfg.Transport, err = set.pick(transportModules); err != nil {
		return nil, cfg, err
	}
	if cfg.Load, err = set.pick(o.Modules); err != nil {
		return nil, cfg, err
	}
	initrd, err := newInitrd()
	if err != nil {
		return nil, cfg, err
	}
	if err := writeInitrd(initrd, o, set, cfg); err != nil {
		initrd.Close()
		return nil, cfg, err
	}
	return initrd, cfg, nil
}

func writeInitrd(w io.Writer, o options, set *moduleSet, cfg guestConfig) error {
	a := newArchive(w)
	if err := a.skeleton(); err != nil {
		return err
	}
	if err := a.init(cfg); err != nil {
		return err
	}
	if o.Autoload {
		data, err := json.Marshal(set.Modules)
		if err != nil {
			return err
		}
		if err := a.file(guestModulesPath, 0o644, data); err != nil {
			return err
		}
	}
	l, err := newLinker("")
	if err != nil {
		return err
	}
	if err := a.program(l, cfg.Args[0]); err != nil {
		return err
	}
	for _, name := range o.Programs {
		if name == "modprobe" {
			continue // the guest's own
		}
		path, err := findProgram(name)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		if err := a.program(l, path); err != nil {
			return err
		}
	}
	if strings.HasSuffix(cfg.Args[0], ".test") {
		if err := a.packageFolder(cfg.Dir); err != nil {
			return err
		}
	}
	for _, path := range o.Copies {
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
		if err := a.hostTree(path); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	if err := a.close(); err != nil {
		return err
	}
	f, err := os.Open(set.archive)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// init adds this program as the first process and as modprobe, and what it is to do.
func (a *archive) init(cfg guestConfig) error {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer f.Close()
	self, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if err := a.file("/init", 0o755, self); err != nil {
		return err
	}
	if err := a.symlink("/sbin/modprobe", "/init"); err != nil {
		return err
	}
	data, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	return a.file(guestConfigPath, 0o644, data)
}

// sameFile reports whether two open files are one, as standard output and error are under go test.
func sameFile(a, b *os.File) bool {
	var sa, sb unix.Stat_t
	return unix.Fstat(int(a.Fd()), &sa) == nil && unix.Fstat(int(b.Fd()), &sb) == nil &&
		sa.Dev == sb.Dev && sa.Ino == sb.Ino && sa.Mode == sb.Mode && sa.Rdev == sb.Rdev
}
