package ipvs

import (
	"errors"
	"io/fs"
	"os"

	"github.com/golvs/lvs/internal/hostfs"
)

// pinNetNS opens the namespace that a Config means. Also the caller's own is held open, so that a later request is not
// at the mercy of the thread that it happens to run on. It is nil on systems without namespaces, if none is asked for.
func pinNetNS(cfg *Config) (*os.File, error) {
	if cfg.NetNS != "" && cfg.NetNSFile != nil {
		return nil, fieldErrorf("NetNSFile", "not together with NetNS")
	}
	pin, err := hostfs.ResolveNetNS(cfg.NetNS, cfg.NetNSFile)
	if errors.Is(err, errors.ErrUnsupported) && cfg.NetNS == "" && cfg.NetNSFile == nil {
		return nil, nil
	}
	return pin, err
}

// openRoot returns the tree for the files of /proc, and what gives it up.
func openRoot(cfg *Config) (fs.FS, func() error, error) {
	if cfg.Root != nil {
		return cfg.Root, func() error { return nil }, nil
	}
	pin, err := pinNetNS(cfg)
	if err != nil {
		return nil, nil, err
	}
	if pin == nil {
		return hostfs.Host(hostfs.NetNS{}), func() error { return nil }, nil
	}
	return hostfs.Host(hostfs.NetNS{File: pin}), pin.Close, nil
}
