package main

// guestConfig tells pid 1 what to do. It travels in the initramfs as guestConfigPath.
type guestConfig struct {
	Probe         bool              // only say hello
	Args          []string          // program, an absolute path, and its arguments
	Dir           string            // working directory
	Env           []string          // environment
	Folders       []string          // folders to make
	Files         []string          // files to send back at the end
	OneStream     bool              // standard output and error are one
	Transport     []module          // modules to load first
	Load          []module          // modules to load
	ModuleOptions map[string]string // options by module name
	Autoload      bool              // let the kernel load modules
}

const (
	guestConfigPath  = "/etc/vm.json"
	guestModulesPath = "/etc/vm-modules.json" // what modprobe can load: []module, each after its dependencies
)
