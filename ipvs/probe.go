package ipvs

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
)

// Support says whether the kernel has something.
type Support uint8

// Answers of [Probe].
const (
	Unknown Support = iota // could not be found out
	Missing
	Available
)

var supportNames = [...]string{Unknown: "unknown", Missing: "missing", Available: "available"}

// String returns "unknown", "missing" or "available".
func (s Support) String() string {
	if int(s) < len(supportNames) {
		return supportNames[s]
	}
	return "support(" + strconv.Itoa(int(s)) + ")"
}

// MarshalText returns the form of String.
func (s Support) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Capabilities is what [Probe] finds out.
type Capabilities struct {
	// IPVS is whether the kernel has it, or could load its module.
	IPVS Support `json:"ipvs"`

	// Privilege is whether this process may use it: Available or Missing, Unknown if there is no IPVS.
	Privilege Support `json:"privilege"`

	// Info is the version and the table size; zero without the privilege.
	Info Info `json:"info"`

	// Schedulers and Engines say for each scheduler and persistence engine that Linux has had whether it can be used
	// here.
	Schedulers map[string]Support `json:"schedulers"`
	Engines    map[string]Support `json:"engines"`
}

var (
	knownSchedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"}
	knownEngines    = []string{"sip"}
)

// Probe finds out what this host can do. It changes nothing in the namespace that cfg chooses.
//
// Only adding a service makes the kernel load a scheduler's module, so that is what Probe does, in a namespace of its
// own that goes away when it returns; the modules stay loaded. Making a namespace needs CAP_SYS_ADMIN: without it the
// schedulers and engines are Unknown.
//
// A host without IPVS, or a process without the privilege, is an answer and not an error.
func Probe(ctx context.Context, cfg *Config) (Capabilities, error) {
	c, err := Dial(ctx, cfg)
	if errors.Is(err, ErrModule) {
		p := unknownCapabilities()
		p.IPVS = Missing
		return p, nil
	}
	if err != nil {
		return unknownCapabilities(), err
	}
	defer func() { _ = c.Close() }()
	return probe(ctx, c, func() (*Client, error) {
		conn, err := dialScratch()
		if err != nil {
			return nil, err
		}
		s, err := NewClient(conn, &Config{Root: emptyFS{}})
		if err != nil {
			_ = conn.Close()
		}
		return s, err
	})
}

func unknownCapabilities() Capabilities {
	p := Capabilities{Schedulers: make(map[string]Support), Engines: make(map[string]Support)}
	for _, name := range knownSchedulers {
		p.Schedulers[name] = Unknown
	}
	for _, name := range knownEngines {
		p.Engines[name] = Unknown
	}
	return p
}

// probe asks c what needs no change, and a client of a namespace that nobody uses for the rest.
func probe(ctx context.Context, c *Client, scratch func() (*Client, error)) (Capabilities, error) {
	p := unknownCapabilities()
	p.IPVS = Available
	info, err := c.Info(ctx)
	switch {
	case errors.Is(err, fs.ErrPermission):
		p.Privilege = Missing
		return p, nil
	case errors.Is(err, ErrModule): // went away after the lookup
		p.IPVS = Missing
		return p, nil
	case err != nil:
		return p, err
	}
	p.Privilege, p.Info = Available, info

	s, err := scratch()
	if err != nil {
		return p, ctx.Err() // no namespace, no answer
	}
	defer func() { _ = s.Close() }()
	mark := uint32(0)
	try := func(scheduler, engine string) (Support, error) {
		mark++
		err := s.AddService(ctx, Service{ID: Mark(mark, IPv4), Scheduler: scheduler, PE: engine})
		switch {
		case err == nil:
			return Available, nil
		case errors.Is(err, ErrScheduler), errors.Is(err, ErrPersistenceEngine):
			return Missing, nil
		}
		return Unknown, ctx.Err()
	}
	for _, name := range knownSchedulers {
		if p.Schedulers[name], err = try(name, ""); err != nil {
			return p, err
		}
	}
	for _, name := range knownEngines {
		if p.Engines[name], err = try("none", name); err != nil {
			return p, err
		}
	}
	return p, nil
}

// emptyFS is the tree of a client that reads no files.
type emptyFS struct{}

// Open finds nothing.
func (emptyFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
