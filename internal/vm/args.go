package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaultTimeout limits a run whose program has no time limit of its own.
const defaultTimeout = 10 * time.Minute

// timeoutGrace is how much longer than the test binary's own limit the machine may run.
const timeoutGrace = time.Minute

// errHelp is returned by parseArgs when the usage was asked for.
var errHelp = flag.ErrHelp

// options is a parsed command line.
type options struct {
	Kernel        string            // name of the kernel, empty for the newest
	Modules       []string          // modules to load
	Required      bool              // whether a module that does not exist is a mistake, because the user named it
	ModuleOptions map[string]string // options by module name
	Autoload      bool              // put module files and modprobe into the guest
	Programs      []string          // host programs to bring along
	Copies        []string          // host files and folders to bring along
	Env           []string          // additional environment, K=V
	ICount        bool              // instruction-counted time
	CPUs          int               // number of processors
	Memory        int               // MiB
	NICs          []string          // models of network cards
	NVMe          bool              // an empty disk whose interrupts the kernel places
	Timeout       time.Duration     // limit of the program's run on the host's clock, 0 for none
	Verbose       bool              // show the kernel's console
	List, Fetch   bool              // the verbs -kernels and -fetch
	Command       []string          // program and arguments
}

// stringList is a flag that may be repeated.
type stringList []string

func (l *stringList) String() string     { return strings.Join(*l, " ") }
func (l *stringList) Set(s string) error { *l = append(*l, s); return nil }

// parseArgs reads a command line without the program's name. Usage goes to help if it is asked for; the error is then errHelp.
func parseArgs(args []string, help io.Writer) (options, error) {
	var (
		o                          options
		modules, timeout           string
		moduleOptions              stringList
		programs, copies, environs stringList
		nics                       stringList
	)
	fs := flag.NewFlagSet("vm", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.StringVar(&o.Kernel, "kernel", "", "`name` of the kernel, such as 6.12 (default the newest)")
	fs.StringVar(&modules, "modules", "", "modules to load: `a,b`, or +a,b for these besides the usual ones, or none")
	fs.Var(&moduleOptions, "module-options", "module options, such as `ip_vs.conn_tab_bits=16`; separated by spaces, repeatable")
	fs.BoolVar(&o.Autoload, "autoload", false, "put module files and modprobe into the machine, so that the kernel can load modules itself")
	fs.Var(&programs, "program", "`name` of a host program to bring along with its libraries; repeatable")
	fs.Var(&copies, "copy", "`path` of a host file or folder to bring along at the same place; repeatable")
	fs.Var(&environs, "env", "`K=V` to add to the environment; repeatable")
	fs.BoolVar(&o.ICount, "icount", false, "count instructions instead of time; implies -smp 1 and no KVM")
	fs.IntVar(&o.CPUs, "smp", 2, "`number` of processors, 1 to 64")
	fs.IntVar(&o.Memory, "mem", 1024, "memory in `MiB`, at least 128")
	fs.Var(&nics, "nic", "network card of this `model`, virtio-net-pci or vmxnet3, on a cable with the others and nothing else; repeatable")
	fs.BoolVar(&o.NVMe, "nvme", false, "an empty NVMe disk")
	fs.StringVar(&timeout, "timeout", "", "`duration` after which the program is stopped, 0 for never (default 10m, or -test.timeout and 1m)")
	fs.BoolVar(&o.Verbose, "v", false, "show the kernel's console on standard error")
	fs.BoolVar(&o.List, "kernels", false, "print the names of the kernels that can be had here, one a line")
	fs.BoolVar(&o.Fetch, "fetch", false, "download all of these kernels, the newest builds")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(help, "usage: vm [flags] program [arguments]\n       vm -kernels | -fetch | -h\n\n"+
				"Runs a program, such as a Go test binary, on a Linux kernel in a QEMU machine of its own.\n\n")
			fs.SetOutput(help)
			fs.PrintDefaults()
			return options{}, errHelp
		}
		return options{}, err
	}

	o.Programs, o.Copies, o.Env, o.Command = programs, copies, environs, fs.Args()
	o.Modules, o.Required = moduleNames(modules)
	o.NICs = nics
	devices, err := deviceModules(o)
	if err != nil {
		return options{}, err
	}
	o.Modules = append(o.Modules, devices...)
	if o.ICount {
		smpSet := false
		fs.Visit(func(f *flag.Flag) { smpSet = smpSet || f.Name == "smp" })
		if smpSet && o.CPUs != 1 {
			return options{}, errors.New("-icount works with one processor: leave -smp out")
		}
		o.CPUs = 1
	}
	if o.CPUs < 1 || o.CPUs > 64 {
		return options{}, fmt.Errorf("-smp %d: want 1 to 64", o.CPUs)
	}
	if o.Memory < 128 {
		return options{}, fmt.Errorf("-mem %d: want at least 128 MiB", o.Memory)
	}
	for _, kv := range o.Env {
		if i := strings.IndexByte(kv, '='); i < 1 {
			return options{}, fmt.Errorf("-env %q: want K=V", kv)
		}
	}
	if o.ModuleOptions, err = parseModuleOptions(moduleOptions); err != nil {
		return options{}, err
	}
	if o.List || o.Fetch {
		if o.List && o.Fetch {
			return options{}, errors.New("-kernels and -fetch exclude each other")
		}
		if len(o.Command) > 0 {
			return options{}, fmt.Errorf("unexpected argument %q", o.Command[0])
		}
		return o, nil
	}
	if len(o.Command) == 0 {
		return options{}, errors.New("no program given; see vm -h")
	}
	if o.Timeout, err = runLimit(timeout, o.Command[1:], o.ICount); err != nil {
		return options{}, err
	}
	return o, nil
}

// moduleNames expands the value of -modules and says whether the user named any of the result.
func moduleNames(value string) (names []string, named bool) {
	switch {
	case value == "":
		return slices.Clone(defaultModules), false
	case value == "none":
		return nil, true
	}
	list, add := strings.CutPrefix(value, "+")
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, moduleName(name))
		}
	}
	if add {
		return append(slices.Clone(defaultModules), names...), false
	}
	return names, true
}

// nicModules are the drivers of the models of network cards.
var nicModules = map[string]string{"virtio-net-pci": "virtio_net", "vmxnet3": "vmxnet3"}

// deviceModules returns the modules that drive the devices.
func deviceModules(o options) (names []string, err error) {
	for _, model := range o.NICs {
		name, ok := nicModules[model]
		if !ok {
			return nil, fmt.Errorf("-nic %q: want %s", model, strings.Join(slices.Sorted(maps.Keys(nicModules)), " or "))
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if o.NVMe {
		names = append(names, "nvme")
	}
	return names, nil
}

// parseModuleOptions reads module.name=value words, as on a kernel's command line, into the option string of each module.
func parseModuleOptions(list []string) (map[string]string, error) {
	options := make(map[string]string)
	for _, words := range list {
		for word := range strings.FieldsSeq(words) {
			module, option, ok := strings.Cut(word, ".")
			if !ok || module == "" || option == "" {
				return nil, fmt.Errorf("-module-options %q: want module.option=value", word)
			}
			module = moduleName(module)
			if options[module] != "" {
				options[module] += " "
			}
			options[module] += option
		}
	}
	return options, nil
}

// runLimit says how long the program may run on the host's clock; 0 is without limit.
func runLimit(timeout string, args []string, icount bool) (time.Duration, error) {
	if timeout != "" {
		d, err := time.ParseDuration(timeout)
		if timeout == "0" {
			d, err = 0, nil
		}
		if err != nil || d < 0 {
			return 0, fmt.Errorf("-timeout %q: want a duration such as 90s", timeout)
		}
		return d, nil
	}
	if icount {
		return defaultTimeout, nil // the test binary's clock is not the host's
	}
	for _, arg := range args {
		value, ok := strings.CutPrefix(arg, "-test.timeout=")
		if !ok {
			continue
		}
		d, err := time.ParseDuration(value)
		switch {
		case err != nil:
			return defaultTimeout, nil // the test binary will say so
		case d == 0:
			return 0, nil
		}
		return d + timeoutGrace, nil
	}
	return defaultTimeout, nil
}

// testFiles returns the files that the flags of a test binary tell it to write and that are worth bringing back, and the
// folders that have to exist for it to start.
func testFiles(args []string, dir string) (files, folders []string) {
	outputDir := dir
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, "-test.outputdir="); ok {
			outputDir = absolute(value, dir)
		}
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || value == "" {
			continue
		}
		switch strings.TrimPrefix(name, "-test.") {
		case "coverprofile", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace":
			path := absolute(value, outputDir)
			files = append(files, path)
			folders = append(folders, filepath.Dir(path))
		case "testlogfile":
			folders = append(folders, filepath.Dir(absolute(value, dir)))
		case "gocoverdir", "outputdir":
			folders = append(folders, absolute(value, dir))
		}
	}
	return files, folders
}

func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// guestEnv is the environment of the program: what the guest always has, then what may pass from the host's, then extra.
func guestEnv(host, extra []string) []string {
	env := []string{
		"HOME=/root",
		"LVS_KERNEL_TEST=1",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"USER=root",
	}
	set := func(kv string) {
		name, _, _ := strings.Cut(kv, "=")
		env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		env = append(env, kv)
	}
	for _, kv := range host {
		name, _, _ := strings.Cut(kv, "=")
		if name != "LVS_KERNEL_TEST" && (strings.HasPrefix(name, "LVS_") || slices.Contains(runtimeEnv, name)) {
			set(kv)
		}
	}
	for _, kv := range extra {
		set(kv)
	}
	return env
}

// runtimeEnv lists what the Go runtime and the testing package read.
var runtimeEnv = []string{"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK"}

// lessVersion orders names of kernels such as 6.1 and 6.12 by their numbers.
func lessVersion(a, b string) bool {
	as, bs := versionNumbers(a), versionNumbers(b)
	if c := slices.Compare(as, bs); c != 0 {
		return c < 0
	}
	return a < b
}

// versionNumbers returns the decimal numbers in s, in order.
func versionNumbers(s string) []int {
	var numbers []int
	for _, field := range strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		if n, err := strconv.Atoi(field); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}
