package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// modprobe is /sbin/modprobe of the guest: it loads modules by name or alias, with what they depend on, or unloads them
// (-r). It knows the options that the kernel and network tools use; its exit status is 1 if something failed.
func modprobe(args []string, stderr io.Writer) int {
	req, err := parseModprobe(args)
	if err != nil {
		fmt.Fprintf(stderr, "modprobe: %v\n", err)
		return 1
	}
	modules, options, err := guestModules()
	if err != nil {
		fmt.Fprintf(stderr, "modprobe: %v\n", err)
		return 1
	}
	for _, name := range req.names {
		if req.remove {
			err = unloadModule(moduleName(name))
		} else {
			err = loadByName(modules, options, name, req.options)
		}
		if err != nil {
			if !req.quiet {
				fmt.Fprintf(stderr, "modprobe: %v\n", err)
			}
			return 1
		}
	}
	return 0
}

// modprobeRequest is a command line of modprobe.
type modprobeRequest struct {
	quiet, remove bool
	names         []string
	options       string // for the one module named
}

func parseModprobe(args []string) (modprobeRequest, error) {
	var r modprobeRequest
	all := false
	for i, arg := range args {
		if arg == "--" {
			r.names = append(r.names, args[i+1:]...)
			break
		}
		switch {
		case arg == "--quiet":
			r.quiet = true
		case arg == "--remove":
			r.remove = true
		case arg == "--all":
			all = true
		case strings.HasPrefix(arg, "--"):
			return r, fmt.Errorf("unknown option %s", arg)
		case strings.HasPrefix(arg, "-"):
			for _, c := range arg[1:] {
				switch c {
				case 'q', 's':
					r.quiet = true
				case 'r':
					r.remove = true
				case 'a':
					all = true
				case 'b', 'v', 'f', 'w':
				default:
					return r, fmt.Errorf("unknown option -%c", c)
				}
			}
		default:
			r.names = append(r.names, arg)
		}
	}
	if len(r.names) == 0 {
		return r, errors.New("no module named")
	}
	if !r.remove && !all {
		r.names, r.options = r.names[:1], strings.Join(r.names[1:], " ")
	}
	return r, nil
}

// guestModules returns the modules that can be loaded, each after its dependencies, and the options set for them.
func guestModules() ([]module, map[string]string, error) {
	var modules []module
	var cfg guestConfig
	for path, v := range map[string]any{guestModulesPath: &modules, guestConfigPath: &cfg} {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if err := json.Unmarshal(data, v); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return modules, cfg.ModuleOptions, nil
}

// loadByName loads what request means; options are for that module only.
func loadByName(modules []module, options map[string]string, request, extra string) error {
	names := resolve(modules, request)
	if len(names) == 0 {
		if _, err := os.Stat("/sys/module/" + moduleName(request)); err == nil {
			return nil // loaded or built in
		}
		return fmt.Errorf("module %s not found", request)
	}
	order, _, err := closure(names, func(name string) (module, error) {
		i := slices.IndexFunc(modules, func(m module) bool { return m.Name == name })
		if i < 0 {
			return module{}, nil // built in
		}
		return modules[i], nil
	})
	if err != nil {
		return err
	}
	for _, m := range order {
		option := options[m.Name]
		if slices.Contains(names, m.Name) {
			option = strings.TrimSpace(option + " " + extra)
		}
		if err := loadModule(m.Path, option); err != nil {
			return fmt.Errorf("module %s: %w", m.Name, err)
		}
	}
	return nil
}

func unloadModule(name string) error {
	if err := unix.DeleteModule(name, unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	return nil
}
