package setup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// record is what a service was before the first start, and what starts have made of it since. The zero value is one that was
// not there.
type record struct {
	Existed      bool                  `json:"existed"`
	Service      ipvs.Service          `json:"service,omitzero"` // before, if a start has set it
	Set          []ipvs.Service        `json:"set,omitempty"`    // by starts
	Destinations []recordedDestination `json:"destinations,omitempty"`
}

// recordedDestination is a real server that starts have added or set.
type recordedDestination struct {
	Existed bool               `json:"existed"`
	Before  ipvs.Destination   `json:"before"` // nothing but the address if it did not exist
	Set     []ipvs.Destination `json:"set"`    // by starts
}

// TableRecord is the name of the record of a service, for [Table]. An in-memory kernel has none.
func TableRecord(e *Env, netns string, id ipvs.ServiceID) (string, error) {
	if e.Kernel != "" {
		return "", nil
	}
	ns, err := namespaceID(netns)
	return fmt.Sprintf("/run/lvs/table-%s-%s.json", ns, strings.ReplaceAll(id.String(), " ", "-")), err
}

// readRecord reports fs.ErrNotExist if there is none.
func readRecord(name string) (r record, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return record{}, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// WriteRecord writes a value as JSON to a file that one run leaves for the next. It replaces the file at once: a reader sees
// the old or the new content.
func WriteRecord(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

func removeRecord(name string) error {
	if name == "" {
		return nil // an in-memory kernel has none
	}
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// remember writes down what steps are about to change. The function takes that back.
func remember(name string, steps []step) (forget func() error, err error) {
	if name == "" || len(steps) == 0 {
		return func() error { return nil }, nil
	}
	old, err := readRecord(name)
	known := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	r := old.clone()
	r.Existed = r.Existed || !known
	for _, s := range steps {
		r.note(s)
	}
	return func() error {
		if !known {
			return removeRecord(name)
		}
		return WriteRecord(name, old)
	}, WriteRecord(name, r)
}

func (r record) clone() record {
	r.Set, r.Destinations = slices.Clone(r.Set), slices.Clone(r.Destinations)
	for i := range r.Destinations {
		r.Destinations[i].Set = slices.Clone(r.Destinations[i].Set)
	}
	return r
}

// note adds a step. What a start finds that no start has made is somebody else's, and becomes what was before.
func (r *record) note(s step) {
	switch s.do.Command {
	case ipvsadm.AddService:
		*r = record{}
	case ipvsadm.SetService:
		if !slices.Contains(r.Set, s.undo.Service) {
			r.Service = s.undo.Service
		}
		r.Set = append(r.Set, s.do.Service)
	case ipvsadm.AddDestination, ipvsadm.SetDestination:
		existed, found := s.do.Command == ipvsadm.SetDestination, s.undo.Destination
		i := slices.IndexFunc(r.Destinations, func(d recordedDestination) bool { return d.Before.Addr == found.Addr })
		if i < 0 {
			i = len(r.Destinations)
			r.Destinations = append(r.Destinations, recordedDestination{})
		}
		d := &r.Destinations[i]
		if !existed || !slices.Contains(d.Set, found) {
			d.Existed, d.Before = existed, found
		}
		d.Set = append(d.Set, s.do.Destination)
	}
}

// restore returns what brings a service that existed back to what it was before the first start. What somebody else has
// changed since stays, and is named.
func (r record) restore(now ipvs.ServiceSnapshot) (ops []ipvsadm.Operation, kept string) {
	id := ipvs.Service{ID: now.ID}
	for _, d := range slices.Backward(r.Destinations) {
		i := slices.IndexFunc(now.Destinations, func(n ipvs.DestinationStatus) bool { return n.Addr == d.Before.Addr })
		if i < 0 || d.Existed && now.Destinations[i].Destination == d.Before {
			continue
		}
		switch have := now.Destinations[i].Destination; {
		case !d.Existed && slices.ContainsFunc(d.Set, func(set ipvs.Destination) bool {
			set.Weight = have.Weight // which many change, and whose server it is does not depend on that
			return set == have
		}):
			ops = append(ops, ipvsadm.Operation{Command: ipvsadm.DeleteDestination, Service: id, Destination: ipvs.Destination{Addr: have.Addr}})
		case d.Existed && slices.Contains(d.Set, have):
			ops = append(ops, ipvsadm.Operation{Command: ipvsadm.SetDestination, Service: id, Destination: d.Before})
		default:
			kept += fmt.Sprintf("%v stays as it is, as somebody else has changed it since start\n", have.Addr)
		}
	}
	switch {
	case len(r.Set) == 0 || now.Service == r.Service:
	case slices.Contains(r.Set, now.Service):
		ops = append(ops, ipvsadm.Operation{Command: ipvsadm.SetService, Service: r.Service})
	default:
		kept += fmt.Sprintf("%v stays as it is, as somebody else has changed it since start\n", now.ID)
	}
	return ops, kept
}
