package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
)

// moment is when a process began. Keepalived does not wait for a notify script before it starts the next one, so the
// scripts themselves see to it that the last one has the last word.
type moment struct {
	Boot  string `json:"boot,omitempty"` // the kernel's identity of this boot
	Ticks uint64 `json:"ticks"`          // since the boot
	PID   int    `json:"pid"`            // settles ties
}

// birth returns when this process began, as far as the system tells.
func birth() moment {
	m := moment{PID: os.Getpid()}
	if boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		m.Boot = strings.TrimSpace(string(boot))
	}
	if stat, err := os.ReadFile("/proc/self/stat"); err == nil {
		m.Ticks = startTicks(string(stat))
	}
	return m
}

// startTicks returns field 22 of proc_pid_stat(5), or 0. The second field, a name in brackets, may contain anything.
func startTicks(stat string) uint64 {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0
	}
	n, _ := strconv.ParseUint(fields[19], 10, 64)
	return n
}

// after reports whether the process began after another one of the same boot.
func (m moment) after(other moment) bool {
	switch {
	case m.Boot != other.Boot:
		return false
	case m.Ticks != other.Ticks:
		return m.Ticks > other.Ticks
	}
	return m.PID > other.PID
}

// record is what one run tells the next.
type record struct {
	State   string    `json:"state"`             // what keepalived said last
	Since   time.Time `json:"since"`             // when it said so
	Active  bool      `json:"active,omitempty"`  // MASTER, and done with it
	Refused bool      `json:"refused,omitempty"` // this director makes way for somebody else who answers
	Writer  moment    `json:"writer"`
}

// journal is the record's file.
type journal struct{ path string }

func (o *options) journal() journal {
	return journal{filepath.Join(o.dir, "failover-"+o.name+".json")}
}

// read returns the record; the zero value if there is none.
func (j journal) read() (r record, err error) {
	text, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err == nil {
		if err = json.Unmarshal(text, &r); err != nil {
			err = fmt.Errorf("%s: %w", j.path, err)
		}
	}
	return r, err
}

func (j journal) write(r record) error { return setup.WriteRecord(j.path, r) }

// lock waits until no other run changes this machine.
func (j journal) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(j.path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(j.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return setup.LockFile(ctx, f, nil)
}
