package arp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/golvs/lvs/internal/hostfs"
	"github.com/golvs/lvs/sysctl"
)

// journal records what was done, oldest first, so that any process can take it back. A step is recorded before it is
// done: taking back one that was not done is harmless.
type journal struct {
	// Boot identifies the time since the machine was started; what was done before is gone, unless there are files that
	// do it again at each boot.
	Boot  string `json:"boot"`
	Steps []Step `json:"steps"`
}

// merge returns the journal with the steps of a setup.
func (j journal) merge(steps []Step) journal {
	j.Steps = slices.Clone(j.Steps)
	for _, s := range steps {
		i := slices.IndexFunc(j.Steps, s.same)
		switch {
		case i < 0 && s.Keep:
			// As wanted without us, so it stays when we go.
		case i < 0:
			j.Steps = append(j.Steps, s)
		default:
			old := j.Steps[i]
			if old.For = union(old.For, s.For); old.Orphan {
				old.For, old.Orphan = s.For, false
			}
			if !s.Keep {
				past := append(slices.Clone(old.Past), old.New)
				if (s.Op == SetSetting || s.Op == WriteFile) && !slices.ContainsFunc(past, func(v string) bool { return s.means(v, s.Old) }) {
					old.Old, old.OldAbsent = s.Old, s.OldAbsent // someone else has changed it since
					past = nil
				}
				past = slices.DeleteFunc(past, func(v string) bool { return s.means(v, s.New) })
				old.New, old.NewAbsent, old.Past = s.New, s.NewAbsent, slices.Clip(past)
				if len(past) == 0 {
					old.Past = nil // as it is read back
				}
			}
			j.Steps[i] = old
		}
	}
	return j
}

// settle returns the journal for when all of its steps have been done: nothing of the past is in force.
func (j journal) settle() journal {
	j.Steps = slices.Clone(j.Steps)
	for i := range j.Steps {
		j.Steps[i].Past = nil
	}
	return j
}

// means says whether two values of the step's setting, or two contents of its file, are the same.
func (s Step) means(a, b string) bool {
	return a == b || s.Op == SetSetting && equalValue(a, b)
}

// made says whether a value or content is one that this step, or one before it, has brought about; s takes it back.
func (s Step) made(now string) bool {
	return s.means(now, s.Old) || slices.ContainsFunc(s.Past, func(v string) bool { return s.means(now, v) })
}

// forget returns the journal without what the steps of a release have taken back, and with what is left of others.
func (j journal) forget(steps []Step) journal {
	j.Steps = slices.Clone(j.Steps)
	for _, s := range steps {
		i := slices.IndexFunc(j.Steps, s.inverse().same)
		switch {
		case i < 0:
		case s.Keep:
			j.Steps[i].For, j.Steps[i].Orphan = s.For, s.Orphan
		default:
			j.Steps = slices.Delete(j.Steps, i, i+1)
		}
	}
	return j
}

func (j journal) equal(other journal) bool {
	return len(j.Steps) == len(other.Steps) && (len(j.Steps) == 0 || reflect.DeepEqual(j.Steps, other.Steps))
}

func union(a, b []netip.Addr) []netip.Addr {
	if len(a) == 0 || len(b) == 0 {
		return nil // needed for everything
	}
	a = slices.Clone(a)
	for _, addr := range b {
		if !slices.Contains(a, addr) {
			a = append(a, addr)
		}
	}
	return a
}

// defaultJournal is completed with the namespace's identity.
const defaultJournal = "run/lvs/arp-%s.json"

func (h *Host) journalName(k kernel) (string, error) {
	if h.journal != "" {
		return h.journal, nil
	}
	id, err := k.identity()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(defaultJournal, id), nil
}

// bootID is empty where it cannot be known.
func (h *Host) bootID() string {
	data, err := fs.ReadFile(h.root, "proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func (h *Host) loadJournal(name string) (journal, error) {
	boot := h.bootID()
	data, err := fs.ReadFile(h.root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return journal{Boot: boot}, nil
	}
	if err != nil {
		return journal{}, fmt.Errorf("arp: journal: %w", err)
	}
	j, err := parseJournal(data)
	if err != nil {
		return journal{}, fmt.Errorf("arp: journal /%s: %w", name, err)
	}
	if j.Boot != boot {
		j.Boot = boot
		if !slices.ContainsFunc(j.Steps, func(s Step) bool { return s.Op == WriteFile }) {
			j.Steps = nil // else the files have brought the rest about again
		}
	}
	return j, nil
}

// parseJournal reads a journal and refuses one whose steps this package would not have recorded, as they are carried out
// with privileges.
func parseJournal(data []byte) (journal, error) {
	var j journal
	if err := json.Unmarshal(data, &j); err != nil {
		return journal{}, err
	}
	for i, s := range j.Steps {
		if err := s.valid(); err != nil {
			return journal{}, fmt.Errorf("step %d, %v: %w", i+1, s.Op, err)
		}
	}
	return j, nil
}

// valid says whether a step can be one of a setup.
func (s Step) valid() error {
	errKind := fmt.Errorf("incomplete or unknown: %w", fs.ErrInvalid)
	switch s.Op {
	case SetSetting:
		if !slices.ContainsFunc(parameters[:], func(name string) bool {
			return s.Setting == sysctl.IPv4("all", name) || isDeviceKey(s.Setting, name)
		}) {
			return errKind
		}
		return s.Setting.Valid()
	case AddLink:
		if s.Tunnel != nil {
			if t, err := s.Tunnel.canonical(); err != nil {
				return err
			} else if t != *s.Tunnel || t.Name != s.Device {
				return errKind
			}
		}
		return checkName(s.Device)
	case SetUp:
		return checkName(s.Device)
	case AddFOU:
		if s.FOU == nil {
			return errKind
		}
		return s.FOU.valid()
	case AddAddress:
		if s.Address == nil || s.Address.Device != s.Device || !s.Address.host() {
			return errKind
		}
		if _, err := checkVIP(s.Address.Addr()); err != nil {
			return err
		}
		return checkName(s.Device)
	case WriteFile:
		if !isBootFile(s.File) {
			return errKind
		}
		return nil
	}
	return errKind
}

// isDeviceKey says whether a key is that of a parameter of some device.
func isDeviceKey(k sysctl.Key, name string) bool {
	dev, ok := strings.CutPrefix(string(k), "net/ipv4/conf/")
	if !ok {
		return false
	}
	dev, ok = strings.CutSuffix(dev, "/"+name)
	return ok && checkName(dev) == nil
}

func (h *Host) saveJournal(name string, j journal) error {
	root, ok := h.root.(hostfs.WriteFS)
	if !ok {
		return fmt.Errorf("arp: journal: %w", errors.ErrUnsupported)
	}
	if len(j.Steps) == 0 {
		if err := hostfs.Remove(h.root, name); err != nil {
			return fmt.Errorf("arp: journal: %w", err)
		}
		return nil
	}
	data, err := json.MarshalIndent(j, "", "\t")
	if err != nil {
		return fmt.Errorf("arp: journal: %w", err)
	}
	if err := makeDir(h.root, path.Dir(name)); err != nil {
		return fmt.Errorf("arp: journal: %w", err)
	}
	// Readable by all, so that plans can be made without privilege.
	if err := hostfs.ReplaceFile(root, name, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("arp: journal: %w", err)
	}
	return nil
}

func makeDir(root fs.FS, name string) error {
	if m, ok := root.(interface {
		MkdirAll(name string, perm fs.FileMode) error
	}); ok {
		return m.MkdirAll(name, 0o755)
	}
	return nil
}
