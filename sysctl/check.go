package sysctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// Finding is the judgement of one line of a list.
type Finding struct {
	Line
	Judgement
	Current string // what the parameter is on this host, empty if unknown
}

// String returns one line: the line's number, the verdict, the assignment or the line, and the reason.
func (f Finding) String() string {
	what := f.Text
	if f.Key != "" {
		what = fmt.Sprintf("%v = %s", f.Key, f.Value)
	}
	return fmt.Sprintf("%d: %v: %s: %s", f.Number, f.Verdict, what, f.Reason)
}

// Check judges each line of a list of kernel parameters, such as a file of sysctl.d(5), the output of "sysctl -a" or
// what a manual recommends; see [ParseList] for what it reads. The role may be Unspecified. Blank lines and comments
// are passed over. Nothing is changed.
//
// The error is the reader's, or that of finding out the kernel's release.
func (h *Host) Check(list io.Reader, role Profile) ([]Finding, error) {
	if err := h.namespace(); err != nil {
		return nil, err
	}
	kernel, err := h.Kernel()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	findings := []Finding{}
	for line, err := range ParseList(list) {
		if err != nil {
			return findings, err
		}
		f := Finding{Line: line}
		switch {
		case line.Err != nil:
			f.Judgement = Judgement{Malformed, strings.TrimPrefix(line.Err.Error(), "sysctl: ")}
		case line.Key == "":
			f.Judgement = judgeOther(line.Text)
		default:
			f.Judgement, f.Current = h.judge(line, Environment{Kernel: kernel, Role: role})
		}
		findings = append(findings, f)
	}
	return findings, nil
}

// judge judges an assignment, with what this host knows about the parameter.
func (h *Host) judge(line Line, env Environment) (Judgement, string) {
	pattern := strings.Contains(string(line.Key), "*")
	current, err := "", error(nil)
	if !pattern {
		current, err = h.Get(line.Key)
		env.Current = current
	}
	j := Judge(line.Key, line.Value, env)
	switch {
	case j.Verdict == Unknown && err == nil && !pattern:
		j.Reason += "; it exists here with the value " + strconv.Quote(current)
	case j.Verdict == Unknown && errors.Is(err, fs.ErrNotExist):
		j.Reason += ", and does not exist here"
		if base := mistakenDots(line.Key); base != "" && line.Text != "" {
			j.Reason += "; a dot in the name of an interface is written as a slash: " + base
		}
	case (j.Verdict == Fine || j.Verdict == Default) && errors.Is(err, fs.ErrNotExist):
		_, why, _ := strings.Cut(strings.TrimPrefix(err.Error(), "sysctl: "), ": ")
		j.Reason += "; at present not here: " + strings.TrimPrefix(why, "not here: ")
	}
	if line.Comment != "" {
		note := "the file format has no comments after a value, " + strconv.Quote(line.Comment) + " would be written with it"
		if j.Verdict == Fine || j.Verdict == Default {
			j = Judgement{Malformed, note}
		} else {
			j.Reason += "; " + note
		}
	}
	return j, strings.ReplaceAll(current, "\t", " ")
}

// mistakenDots finds net.ipv4.conf.eth0.100.rp_filter, where eth0.100 was meant, and returns the right spelling.
func mistakenDots(k Key) string {
	parts := strings.Split(string(k), "/")
	if len(parts) != 6 || parts[0] != "net" || parts[2] != "conf" {
		return ""
	}
	return Key(strings.Join(append(parts[:3:3], parts[3]+"."+parts[4], parts[5]), "/")).String()
}

// judgeOther says what is known about lines of manuals that are no kernel parameters.
func judgeOther(text string) Judgement {
	words := strings.Fields(text)
	switch {
	case len(words) >= 2 && words[0] == "options" && words[1] == "ip_vs":
		return judgeModuleOption(words[2:])
	case words[0] == "options" || words[0] == "modprobe" && len(words) > 1:
		if words[0] == "modprobe" && words[len(words)-1] == "ip_conntrack" {
			return Judgement{NotSysctl, "a module; ip_conntrack is an old name of nf_conntrack"}
		}
		return Judgement{NotSysctl, "concerns a module, not a kernel parameter"}
	case len(words) == 4 && (words[2] == "nofile" || words[2] == "nproc"):
		return Judgement{NotSysctl, "a limit of limits.conf(5), which services do not get: LimitNOFILE= in the unit of the program that needs it"}
	case strings.Contains(text, "smp_affinity"):
		return Judgement{NotSysctl, "the CPU of an interrupt; the mask depends on the machine's topology and is to be computed, not copied"}
	case strings.HasPrefix(text, "iptables ") && strings.Contains(text, " -F"):
		return Judgement{NotSysctl, "deletes the firewall's rules"}
	}
	return Judgement{NotSysctl, "not a kernel parameter"}
}

func judgeModuleOption(options []string) Judgement {
	for _, o := range options {
		value, ok := strings.CutPrefix(o, "conn_tab_bits=")
		if !ok {
			continue
		}
		bits, err := parseBits(value)
		switch {
		case err != nil:
			return Judgement{BadValue, "module ip_vs refuses to load with it"}
		case bits < MinConnTabBits || bits > MaxConnTabBits:
			return Judgement{BadValue, fmt.Sprintf("outside %d to %d: Linux before 6.5 takes 12 instead, later ones the nearest bound", MinConnTabBits, MaxConnTabBits)}
		}
		return Judgement{Fine, fmt.Sprintf("%d buckets, %s; takes effect when ip_vs is loaded the next time, and may be capped by the memory", 1<<bits, memory(TableBytes(bits)))}
	}
	return Judgement{NotSysctl, "concerns a module, not a kernel parameter"}
}
