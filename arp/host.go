package arp

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/golvs/lvs/sysctl"
)

// Config says which host is meant. The zero value is this machine in the calling thread's network namespace.
type Config struct {
	// NetNS is a network namespace by its name in ip-netns(8), or by its path if there is a slash in it. It is looked up
	// for each operation. Empty is the calling thread's at the time of the operation.
	NetNS string

	// NetNSFile is an open network namespace; it must stay open as long as the Host is used. Only one of NetNS and
	// NetNSFile may be set.
	NetNSFile *os.File

	// Journal is the name of the file, without a leading slash, that records what was done and what was there before.
	// Empty is one below run/lvs for each network namespace, which is gone after a boot, as the addresses and settings
	// are. With [Setup.Boot] choose one that stays, such as "var/lib/lvs/arp.json", to be able to remove the files after
	// a boot. Two namespaces must not share one. While it is used there is an empty file beside it, with .lock at the end
	// of its name.
	Journal string

	// Timeout bounds an operation whose context has no deadline. It does not bound Announce and Probe, which wait on
	// purpose. Zero means no bound.
	Timeout time.Duration
}

// Host reads and changes the virtual addresses of a host and what belongs to them. Use [New]. It is safe for concurrent
// use. Programs that change the same host wait for each other.
type Host struct {
	ns       hostfs.NetNS
	root     fs.FS
	settings *sysctl.Host
	journal  string
	timeout  time.Duration

	connect func(context.Context) (kernel, error)
}

// New returns the host that cfg describes, nil for this one. Nothing is opened yet.
//
// The error matches fs.ErrInvalid.
func New(cfg *Config) (*Host, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	settings, err := sysctl.New(&sysctl.Config{NetNS: cfg.NetNS, NetNSFile: cfg.NetNSFile})
	if err != nil {
		return nil, fmt.Errorf("arp: %w", err)
	}
	if cfg.Journal != "" && !fs.ValidPath(cfg.Journal) {
		return nil, fmt.Errorf("arp: journal %q: %w", cfg.Journal, fs.ErrInvalid)
	}
	ns := hostfs.NetNS{Name: cfg.NetNS, File: cfg.NetNSFile}
	return &Host{
		ns: ns, root: hostfs.Host(ns), settings: settings, journal: cfg.Journal, timeout: cfg.Timeout,
		connect: func(ctx context.Context) (kernel, error) { return openKernel(ctx, ns) },
	}, nil
}

// session is a kernel with the context that bounds its use.
type session struct {
	kernel
	cancel context.CancelFunc
}

func (s session) close() error {
	err := s.kernel.close()
	s.cancel()
	return err
}

func (h *Host) open(ctx context.Context) (kernel, error) {
	cancel := func() {}
	if _, bounded := ctx.Deadline(); h.timeout > 0 && !bounded {
		ctx, cancel = context.WithTimeout(ctx, h.timeout)
	}
	k, err := h.connect(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	return session{k, cancel}, nil
}
