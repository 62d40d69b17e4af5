//go:build linux && amd64

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/golvs/lvs/ipvs"
)

// A method does one row's work in one way.
type method struct {
	row, name string
	table     table
	filled    bool // the table is there before
	wanted    bool // the table is there afterwards

	// prepare returns the work to be measured and, optionally, what checks its result.
	prepare func(b *bench) (work, check func() error, err error)
}

// times is how often a method is run. Go's scheduler watches system calls, and acts on those of some lists and not on those
// of the next run: these differ by several per cent.
func (m *method) times() int {
	if m.filled && m.wanted {
		return 6
	}
	return 2
}

// bench is what a method may use.
type bench struct {
	ctx       context.Context
	table     table
	settle    time.Duration
	once      bool
	dir       string // for files
	ipvsadm   string // paths of the programs
	ours      string
	floor     *floor
	client    *ipvs.Client
	requests  [][]byte // lists the destinations of each service
	services  []byte   // lists the services
	handle    *moby.Handle
	mobyTable []mobyService
}

type mobyService struct {
	service *moby.Service
	dests   []*moby.Destination
}

// Rows of the printed table, and the title of each.
var rows = []struct{ name, title string }{
	{"create", "create 1,000 services × 10 destinations"},
	{"list", "list them with all counters"},
	{"long", "list one service of 10,000 destinations"},
	{"delete", "delete everything"},
	{"equal", "find out that nothing is to be done"},
	{"restore", "restore a rule file"},
	{"print", "print the table"},
}

var methods = []method{
	{"create", "floor", standard, false, true, createFloor},
	{"create", "floor, bare system calls", standard, false, true, bare(createFloor)},
	{"create", "lvs: Do", standard, false, true, createDo},
	{"create", "lvs: Apply to an empty table", standard, false, true, createApply},
	{"create", "moby/ipvs", standard, false, true, createMoby},

	{"list", "floor", standard, true, true, listFloor},
	{"list", "floor, bare system calls", standard, true, true, bare(listFloor)},
	{"list", "lvs: Services, Destinations", standard, true, true, listPlain},
	{"list", "lvs: Snapshot", standard, true, true, listSnapshot},
	{"list", "lvs: SnapshotInto", standard, true, true, listAgain},
	{"list", "moby/ipvs", standard, true, true, listMoby},

	{"long", "floor", longList, true, true, listFloor},
	{"long", "lvs: Destinations", longList, true, true, listPlain},
	{"long", "lvs: DestinationsInto", longList, true, true, listLongAgain},
	{"long", "moby/ipvs", longList, true, true, listMoby},

	{"delete", "floor", standard, true, false, deleteFloor},
	{"delete", "lvs: Flush", standard, true, false, deleteFlush},
	{"delete", "moby/ipvs", standard, true, false, deleteMoby},
	{"delete", "ipvsadm -C", standard, true, false, runs(false, "", "-C")},
	{"delete", "examples/ipvsadm -C", standard, true, false, runs(true, "", "-C")},

	{"equal", "floor: list", standard, true, true, listFloor},
	{"equal", "lvs: Apply", standard, true, true, equalApply},
	{"equal", "moby/ipvs: list and compare", standard, true, true, equalMoby},

	{"restore", "floor", standard, false, true, createFloor},
	{"restore", "examples/ipvsadm -R", standard, false, true, runs(true, "rules", "-R")},
	{"restore", "ipvsadm -R", standard, false, true, runs(false, "rules", "-R")},

	{"print", "floor", standard, true, true, listFloor},
	{"print", "examples/ipvsadm -Ln", standard, true, true, runs(true, "", "-Ln")},
	{"print", "ipvsadm -Ln", standard, true, true, runs(false, "", "-Ln")},
}

func createFloor(b *bench) (work, check func() error, err error) {
	batches, err := b.floor.batches(b.table)
	return func() error { return b.floor.create(batches) }, nil, err
}

func createDo(b *bench) (work, check func() error, err error) {
	changes := b.table.changes()
	return func() error {
		_, err := b.client.Do(b.ctx, changes)
		return err
	}, nil, nil
}

func createApply(b *bench) (work, check func() error, err error) {
	want := b.table.ruleset()
	return func() error {
		_, err := b.client.Apply(b.ctx, want, nil)
		return err
	}, nil, nil
}

func bare(prepare func(*bench) (work, check func() error, err error)) func(*bench) (work, check func() error, err error) {
	return func(b *bench) (work, check func() error, err error) {
		b.floor.bare = true
		return prepare(b)
	}
}

func listFloor(b *bench) (work, check func() error, err error) {
	receives := 0
	return func() error {
			n, err := b.floor.list(b.services)
			receives += n
			for _, r := range b.requests {
				if err != nil {
					return err
				}
				n, err = b.floor.list(r)
				receives += n
			}
			return err
		}, func() error {
			if receives <= len(b.requests) {
				return errors.New("lists without content")
			}
			return nil
		}, nil
}

func listPlain(b *bench) (work, check func() error, err error) {
	var services []ipvs.ServiceStatus
	var dests [][]ipvs.DestinationStatus
	return func() error {
			var err error
			if services, err = b.client.Services(b.ctx); err != nil {
				return err
			}
			dests = dests[:0]
			for i := range services {
				list, err := b.client.Destinations(b.ctx, services[i].ID)
				if err != nil {
					return err
				}
				dests = append(dests, list)
			}
			return nil
		}, func() error {
			var s ipvs.Snapshot
			for i := range services {
				s.Services = append(s.Services, ipvs.ServiceSnapshot{ServiceStatus: services[i], Destinations: dests[i]})
			}
			return b.same(s)
		}, nil
}

func listSnapshot(b *bench) (work, check func() error, err error) {
	var s ipvs.Snapshot
	return func() (err error) {
		s, err = b.client.Snapshot(b.ctx)
		return err
	}, func() error { return b.same(s) }, nil
}

func listAgain(b *bench) (work, check func() error, err error) {
	var s ipvs.Snapshot
	if err := b.client.SnapshotInto(b.ctx, &s); err != nil {
		return nil, nil, err
	}
	return func() error { return b.client.SnapshotInto(b.ctx, &s) }, func() error { return b.same(s) }, nil
}

func listLongAgain(b *bench) (work, check func() error, err error) {
	services, err := b.client.Services(b.ctx)
	if err != nil {
		return nil, nil, err
	}
	var list []ipvs.DestinationStatus
	if err := b.client.DestinationsInto(b.ctx, services[0].ID, &list); err != nil {
		return nil, nil, err
	}
	return func() error { return b.client.DestinationsInto(b.ctx, services[0].ID, &list) }, func() error {
		return b.same(ipvs.Snapshot{Services: []ipvs.ServiceSnapshot{{ServiceStatus: services[0], Destinations: list}}})
	}, nil
}

// same compares a list with the table.
func (b *bench) same(s ipvs.Snapshot) error {
	have := ipvs.Ruleset{Services: s.Ruleset().Services}
	if !have.Equal(b.table.ruleset()) {
		return fmt.Errorf("the list of %d services is not the table", len(have.Services))
	}
	return nil
}

func deleteFloor(b *bench) (work, check func() error, err error) {
	request, err := message(b.floor.family, flagRequest|flagAck, cmdFlush, nil)
	return func() error {
		if err := b.floor.send(request); err != nil {
			return err
		}
		return b.floor.answer()
	}, nil, err
}

func deleteFlush(b *bench) (work, check func() error, err error) {
	return func() error { return b.client.Flush(b.ctx) }, nil, nil
}

func deleteMoby(b *bench) (work, check func() error, err error) {
	return b.handle.Flush, nil, nil
}

func equalApply(b *bench) (work, check func() error, err error) {
	want := b.table.ruleset()
	var r ipvs.Report
	return func() (err error) {
			r, err = b.client.Apply(b.ctx, want, nil)
			return err
		}, func() error {
			if len(r.Changes) != 0 {
				return fmt.Errorf("%d changes", len(r.Changes))
			}
			return nil
		}, nil
}

func (b *bench) mobyValues() {
	for i := range b.table.services {
		vip := b.table.service(i).Addr
		s := mobyService{service: &moby.Service{
			Address: net.IP(vip.Addr().AsSlice()), Protocol: unix.IPPROTO_TCP, Port: vip.Port(), SchedName: "wlc",
			Netmask: 0xffffffff, AddressFamily: unix.AF_INET,
		}}
		for j := range b.table.dests {
			d := b.table.destination(i, j)
			s.dests = append(s.dests, &moby.Destination{
				Address: net.IP(d.Addr.Addr().AsSlice()), Port: d.Addr.Port(), Weight: int(d.Weight),
				ConnectionFlags: uint32(d.Forward), AddressFamily: unix.AF_INET,
			})
		}
		b.mobyTable = append(b.mobyTable, s)
	}
}

func createMoby(b *bench) (work, check func() error, err error) {
	return func() error {
		for _, s := range b.mobyTable {
			if err := b.handle.NewService(s.service); err != nil {
				return err
			}
			for _, d := range s.dests {
				if err := b.handle.NewDestination(s.service, d); err != nil {
					return err
				}
			}
		}
		return nil
	}, nil, nil
}

func (b *bench) mobyList() (list []mobyService, err error) {
	services, err := b.handle.GetServices()
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		dests, err := b.handle.GetDestinations(s)
		if err != nil {
			return nil, err
		}
		list = append(list, mobyService{s, dests})
	}
	return list, nil
}

func listMoby(b *bench) (work, check func() error, err error) {
	var list []mobyService
	return func() (err error) {
			list, err = b.mobyList()
			return err
		}, func() error {
			if changes := b.mobyDiff(list); changes != 0 {
				return fmt.Errorf("%d differences", changes)
			}
			return nil
		}, nil
}

// mobyDiff counts what would have to be changed, as a program that compares would.
func (b *bench) mobyDiff(have []mobyService) (changes int) {
	type key struct {
		addr string
		port uint16
	}
	old := make(map[key]*mobyService, len(have))
	for i := range have {
		old[key{string(have[i].service.Address), have[i].service.Port}] = &have[i]
	}
	for _, w := range b.mobyTable {
		k := key{string(w.service.Address), w.service.Port}
		h := old[k]
		if h == nil || h.service.SchedName != w.service.SchedName || h.service.Timeout != w.service.Timeout {
			changes++
			continue
		}
		delete(old, k)
		for _, d := range w.dests {
			i := slices.IndexFunc(h.dests, func(e *moby.Destination) bool { return e.Port == d.Port && e.Address.Equal(d.Address) })
			if i < 0 || h.dests[i].Weight != d.Weight || h.dests[i].ConnectionFlags != d.ConnectionFlags {
				changes++
			}
		}
		changes += max(0, len(h.dests)-len(w.dests))
	}
	return changes + len(old)
}

func equalMoby(b *bench) (work, check func() error, err error) {
	changes := -1
	return func() error {
			list, err := b.mobyList()
			changes = b.mobyDiff(list)
			return err
		}, func() error {
			if changes != 0 {
				return fmt.Errorf("%d differences", changes)
			}
			return nil
		}, nil
}

// runs returns a method that runs one of the programs, with the rule file as its input if there is one.
func runs(ours bool, input string, args ...string) func(*bench) (work, check func() error, err error) {
	return func(b *bench) (work, check func() error, err error) {
		path := b.ipvsadm
		if ours {
			path = b.ours
		}
		stdin, err := os.Open(os.DevNull)
		if input != "" {
			name := filepath.Join(b.dir, input)
			if err := os.WriteFile(name, []byte(b.table.rules()), 0o600); err != nil {
				return nil, nil, err
			}
			stdin, err = os.Open(name)
		}
		if err != nil {
			return nil, nil, err
		}
		stdout, err := os.Create(filepath.Join(b.dir, "stdout"))
		if err != nil {
			return nil, nil, err
		}
		return func() error {
				if err := stdout.Truncate(0); err != nil {
					return err
				}
				if _, err := stdout.Seek(0, io.SeekStart); err != nil {
					return err
				}
				cmd := exec.Command(path, args...)
				cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, os.Stderr
				return cmd.Run()
			}, func() error {
				text, err := os.ReadFile(stdout.Name())
				if err != nil || args[0] != "-Ln" {
					return err
				}
				if n := strings.Count(string(text), "\n"); n != 3+b.table.objects() {
					return fmt.Errorf("%d lines for %d objects", n, b.table.objects())
				}
				return nil
			}, nil
	}
}

// What only reads is done so often in a run. A single one differs more from the next: it has more system calls, and Go's
// scheduler acts on some of them.
const repeat = 3

// measurement is what one run of a method cost.
type measurement struct {
	Nanoseconds int64 `json:"ns"`
	Allocations int64 `json:"allocations"` // of this process, not of a program it runs
}

// measure runs a method in this process.
func (b *bench) measure(m *method) (r measurement, err error) {
	b.table = m.table
	if err := b.open(m); err != nil {
		return r, err
	}
	work, check, err := m.prepare(b)
	if err != nil {
		return r, err
	}
	time.Sleep(b.settle)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	times := int64(1)
	if m.filled && m.wanted && !b.once {
		times = repeat
	}
	mark(markBegin)
	start := time.Now()
	for i := int64(0); i < times && err == nil; i++ {
		err = work()
	}
	r.Nanoseconds = time.Since(start).Nanoseconds() / times
	mark(markEnd)
	runtime.ReadMemStats(&after)
	r.Allocations = int64(after.Mallocs-before.Mallocs) / times
	if err == nil && check != nil {
		err = check()
	}
	if err != nil {
		return r, err
	}
	have, err := b.client.Ruleset(b.ctx)
	if err != nil {
		return r, err
	}
	want := table{}.ruleset()
	if m.wanted {
		want = m.table.ruleset()
	}
	if have = (ipvs.Ruleset{Services: have.Services}); !have.Equal(want) {
		return r, fmt.Errorf("the table that is left has %d services, or others than it should", len(have.Services))
	}
	return r, nil
}

// open makes the connections and, if the method begins with one, the table.
func (b *bench) open(m *method) (err error) {
	if err := loopbackUp(); err != nil {
		return err
	}
	if b.floor, err = newFloor(); err != nil {
		return err
	}
	if b.client, err = ipvs.Dial(b.ctx, nil); err != nil {
		return err
	}
	if strings.HasPrefix(m.name, "moby") {
		if b.handle, err = moby.New(""); err != nil {
			return err
		}
		b.mobyValues()
	}
	if b.services, err = message(b.floor.family, flagRequest|flagDump, cmdGetService, nil); err != nil {
		return err
	}
	for i := range b.table.services {
		request, err := b.floor.listDests(b.table.service(i))
		if err != nil {
			return err
		}
		b.requests = append(b.requests, request)
	}
	if !m.filled {
		return nil
	}
	batches, err := b.floor.batches(b.table)
	if err != nil {
		return err
	}
	return b.floor.create(batches)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}
