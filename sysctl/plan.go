package sysctl

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"
)

// Action says what a plan does about a setting.
type Action uint8

// Actions.
const (
	Write   Action = iota // the value differs and is written
	Keep                  // the value is as wanted
	Follows               // the kernel changes the value along with an earlier one of the plan
	Skip                  // an optional setting that this host does not have or does not let be written
	Missing               // a setting that this host does not have: the plan cannot be applied
	Refuse                // a value known to do harm: the plan cannot be applied
)

// String returns the action's name in lower case, or "action(N)".
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// MarshalText returns the form of String.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

var actionNames = [...]string{Write: "write", Keep: "keep", Follows: "follows", Skip: "skip", Missing: "missing", Refuse: "refuse"}

// Change is what a plan does about one parameter.
type Change struct {
	Key    Key    `json:"key"`
	Old    string `json:"old"` // the text at the time of planning; empty if there is none
	New    string `json:"new"` // the text wanted
	Action Action `json:"action"`
	Reason string `json:"reason,omitempty"`

	// Err says why, if Action is Skip, Missing or Refuse.
	Err error `json:"-"`
}

// FileChange is new content for an ordinary file, such as one of sysctl.d(5).
type FileChange struct {
	Name   string `json:"name"` // below the root, without a leading slash
	Old    string `json:"old"`
	New    string `json:"new"`
	Exists bool   `json:"exists"` // the file was there at the time of planning
	Reason string `json:"reason,omitempty"`
}

// Plan is a list of changes in the order in which they are to be made: files after parameters. A zero Plan does
// nothing.
type Plan struct {
	Changes []Change     `json:"changes"`
	Files   []FileChange `json:"files,omitempty"`
}

// Plan compares settings with the host and returns what would have to be done. Nothing is written; no privilege is
// needed, as parameters can be read by everybody with few exceptions.
//
// Parameters that the kernel changes along with another one, as forwarding of the interfaces with ip_forward, are in
// the plan as well, so that they can be shown and come back when it is undone.
//
// The error matches fs.ErrInvalid for an impossible key or value, or two different values for a key, and fs.ErrNotExist
// for a network namespace that does not exist. What this host lacks is not an error here but in the plan.
func (h *Host) Plan(settings []Setting) (Plan, error) {
	if err := h.namespace(); err != nil {
		return Plan{}, err
	}
	var p Plan
	var errs []error
	at := map[Key]int{}
	explicit := map[Key]bool{}
	for _, s := range settings {
		explicit[s.Key] = true
	}
	for _, s := range settings {
		if err := s.valid(); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := h.possible(s); err != nil {
			errs = append(errs, err)
			continue
		}
		keys, err := h.Expand(s.Key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, key := range keys {
			if key != s.Key && explicit[key] {
				continue // a key by itself wins over a pattern, as in sysctl.d(5)
			}
			c := h.change(key, s)
			i, dup := at[key]
			switch {
			case !dup:
				at[key] = len(p.Changes)
				p.Changes = append(p.Changes, c)
			case Same(key, p.Changes[i].New, c.New):
			case key == s.Key:
				errs = append(errs, fmt.Errorf("sysctl: %v: %q and %q: %w", key, p.Changes[i].New, c.New, errConflict))
			default: // the later of two patterns
				p.Changes[i] = c
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Plan{}, err
	}
	slices.SortStableFunc(p.Changes, func(a, b Change) int { return cmp.Compare(a.rank(), b.rank()) })
	implied, err := h.implied(p.Changes)
	if err != nil {
		return Plan{}, err
	}
	p.Changes = implied
	return p, nil
}

func (h *Host) change(key Key, s Setting) Change {
	c := Change{Key: key, New: strings.Join(strings.Fields(s.Value), " "), Reason: s.Reason}
	if t, _ := Lookup(key); t.Kind == Text {
		c.New = strings.TrimSpace(s.Value)
	}
	old, err := h.Get(key)
	switch {
	case err == nil:
		c.Old = old
		if took(key, c.New, old) {
			c.Action = Keep
			return c
		}
		if j := Judge(key, c.New, Environment{Current: old}); j.Verdict == Harmful {
			c.Action, c.Err = Refuse, errors.New(j.Reason)
			return c
		}
		if info, statErr := fs.Stat(h.root, key.Path()); statErr == nil && info.Mode()&0o666 == info.Mode()&0o444 && info.Mode()&0o444 != 0 { // a fixture may have no mode
			c.Action, c.Err = Missing, fmt.Errorf("sysctl: %v is read-only here: %w", key, fs.ErrPermission)
		}
	case errors.Is(err, fs.ErrPermission): // write-only
	default:
		c.Action, c.Err = Missing, err
	}
	if c.Action == Missing && s.Optional {
		c.Action = Skip
	}
	return c
}

// possible refuses CPUs that this machine cannot have; the kernel would as well.
func (h *Host) possible(s Setting) error {
	if t, _ := Lookup(s.Key); t.Kind != CPUs {
		return nil
	}
	data, err := fs.ReadFile(h.root, "sys/devices/system/cpu/possible")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sysctl: %w", err)
	}
	have, err := cpus(string(data))
	if err != nil {
		return fmt.Errorf("sysctl: sys/devices/system/cpu/possible: %w", err)
	}
	want, err := cpus(s.Value)
	if err != nil {
		return err
	}
	for _, cpu := range want {
		if !slices.Contains(have, cpu) {
			return &ValueError{Key: s.Key, Value: s.Value, Reason: fmt.Sprintf("there is no CPU %d, want some of %s", cpu, strings.TrimSpace(string(data)))}
		}
	}
	return nil
}

// rank orders changes so that none is undone or hindered by a later one.
func (c Change) rank() int {
	raise := func() bool {
		o, okO := number(strings.TrimSpace(c.Old))
		n, okN := number(c.New)
		return okO && okN && n.Cmp(o) > 0
	}
	switch key := string(c.Key); {
	case forwardsAll(c.Key): // sets every interface
		return 0
	case strings.HasSuffix(key, "/default/forwarding"):
		return 1
	case strings.HasSuffix(key, "/forwarding"):
		return 2
	case key == "net/core/rmem_max", key == "net/core/wmem_max":
		return 3
	case strings.HasSuffix(key, "/nf_conntrack_buckets"):
		if raise() {
			return 3
		}
		return 6
	case strings.HasSuffix(key, "nf_conntrack_max"):
		if raise() {
			return 5
		}
		return 4
	}
	return 4
}

// forwardsAll says whether writing the key sets forwarding of every interface.
func forwardsAll(k Key) bool {
	return k == "net/ipv4/ip_forward" || k == IPv4("all", "forwarding") || k == IPv6("all", "forwarding")
}

// followsFrom says whether the kernel changes key when it is given cause, and to what. Observed on Linux 6.1 and 6.12.
func followsFrom(cause Change, key Key) (string, bool) {
	switch {
	case cause.Action != Write || !forwardsAll(cause.Key) || key == cause.Key:
		return "", false
	case strings.HasPrefix(string(cause.Key), "net/ipv6/"):
		return cause.New, key.matches(IPv6("*", "forwarding"))
	case key == IPv4("all", "accept_redirects"):
		if cause.New == "0" {
			return "1", true
		}
		return "0", true
	}
	return cause.New, key == "net/ipv4/ip_forward" || key.matches(IPv4("*", "forwarding"))
}

// implied adds what the kernel changes along with a change, and looks again at the settings that it changes so.
func (h *Host) implied(changes []Change) ([]Change, error) {
	var all []Change
	added := map[Key]bool{}
	for _, c := range changes {
		added[c.Key] = true
	}
	for _, c := range changes {
		for _, cause := range all {
			if value, ok := followsFrom(cause, c.Key); ok && (c.Action == Keep || c.Action == Write) {
				if c.Action = Write; Same(c.Key, value, c.New) {
					c.Action = Follows
				}
			}
		}
		all = append(all, c)
		if c.Action != Write || !forwardsAll(c.Key) {
			continue
		}
		candidates := []Key{"net/ipv4/ip_forward", IPv4("all", "accept_redirects")}
		for _, pattern := range [...]Key{IPv4("*", "forwarding"), IPv6("*", "forwarding")} {
			keys, err := h.Expand(pattern)
			if err != nil {
				return nil, err
			}
			candidates = append(candidates, keys...)
		}
		for _, k := range candidates {
			value, ok := followsFrom(c, k)
			if !ok || added[k] {
				continue
			}
			old, err := h.Get(k)
			if err != nil {
				continue
			}
			// One that has the value already is recorded too: it changes when the cause is taken back.
			added[k] = true
			all = append(all, Change{Key: k, Old: old, New: value, Action: Follows, Reason: "follows " + c.Key.String()})
		}
	}
	return all, nil
}

// AddFile adds new content for an ordinary file to the plan, unless the file has it already.
func (h *Host) AddFile(p *Plan, name string, content []byte, reason string) error {
	if !fs.ValidPath(name) || strings.HasPrefix(name, "proc/") || strings.HasPrefix(name, "sys/") {
		return fmt.Errorf("sysctl: file %q: %w", name, fs.ErrInvalid)
	}
	f := FileChange{Name: name, New: string(content), Reason: reason}
	old, err := fs.ReadFile(h.root, name)
	switch {
	case err == nil:
		f.Old, f.Exists = string(old), true
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("sysctl: %w", err)
	}
	if !f.Exists || f.Old != f.New {
		p.Files = append(p.Files, f)
	}
	return nil
}

// Empty says whether nothing would be written.
func (p Plan) Empty() bool {
	return len(p.Files) == 0 && !slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Action == Write })
}

// Err returns why the plan cannot be applied on this host, nil if it can: all settings that are missing or refused. It
// matches what they match, see [Host.Get].
func (p Plan) Err() error {
	var errs []error
	for _, c := range p.Changes {
		switch c.Action {
		case Missing:
			errs = append(errs, c.Err)
		case Refuse:
			errs = append(errs, fmt.Errorf("sysctl: %v = %s is refused: %w", c.Key, c.New, c.Err))
		}
	}
	return errors.Join(errs...)
}

// String returns the plan as a table with the columns setting, now, wanted, action and why, one line each, without what
// follows another setting and has its value already. The files follow with their new content indented.
func (p Plan) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	if len(p.Changes) > 0 {
		fmt.Fprintln(w, "SETTING\tNOW\tWANTED\tACTION\tWHY")
	}
	for _, c := range p.Changes {
		if c.Action == Follows && Same(c.Key, c.Old, c.New) {
			continue
		}
		why, old := c.Reason, c.Old
		if c.Err != nil {
			why = strings.TrimPrefix(strings.TrimPrefix(c.Err.Error(), "sysctl: "), "read "+c.Key.String()+": ")
		}
		if old == "" {
			old = "-"
		}
		fmt.Fprintf(w, "%v\t%s\t%s\t%v\t%s\n", c.Key, strings.ReplaceAll(old, "\t", " "), c.New, c.Action, why)
	}
	w.Flush()
	for _, f := range p.Files {
		verb := "create"
		if f.Exists {
			verb = "replace"
		}
		fmt.Fprintf(&b, "%s /%s", verb, f.Name)
		if f.Reason != "" {
			fmt.Fprintf(&b, " (%s)", f.Reason)
		}
		b.WriteString(":\n")
		for line := range strings.Lines(f.New) {
			b.WriteString("\t" + line)
		}
	}
	return b.String()
}
