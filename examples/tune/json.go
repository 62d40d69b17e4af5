package main

import (
	"encoding/json"
	"time"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/sysctl"
)

// printJSON prints what show and showFindings print, for a program.
func (t *tuner) printJSON() error {
	type finding struct {
		Line    int            `json:"line"`
		Text    string         `json:"text"`
		Verdict sysctl.Verdict `json:"verdict"`
		Reason  string         `json:"reason"`
		Current string         `json:"current,omitempty"`
	}
	out := struct {
		Findings []finding `json:"findings,omitempty"`
		Plan     *tuning   `json:"plan,omitempty"`
		Warnings []string  `json:"warnings,omitempty"` // what the plan does not cure
		Problem  string    `json:"problem,omitempty"`  // why the plan cannot be applied
	}{}
	for _, f := range t.findings {
		out.Findings = append(out.Findings, finding{f.Number, f.Text, f.Verdict, f.Reason, f.Current})
	}
	if t.plans() {
		out.Plan, out.Warnings = &t.tuning, t.warnings()
		if err := t.tuning.Parameters.Err(); err != nil {
			out.Problem = err.Error()
		}
	}
	return t.writeJSON(out)
}

func (t *tuner) writeJSON(v any) error {
	enc := json.NewEncoder(t.stdout)
	enc.SetIndent("", "\t")
	return enc.Encode(v)
}

// MarshalJSON gives seconds.
func (t timeouts) MarshalJSON() ([]byte, error) {
	type list struct {
		TCP    int64 `json:"tcp"`
		TCPFin int64 `json:"tcp_fin"`
		UDP    int64 `json:"udp"`
	}
	in := func(t ipvs.Timeouts) list {
		return list{int64(t.TCP / time.Second), int64(t.TCPFin / time.Second), int64(t.UDP / time.Second)}
	}
	return json.Marshal(map[string]list{"now": in(t.Old), "wanted": in(t.New)})
}

// MarshalJSON gives the plan's content as a text.
func (t table) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Bits        int      `json:"bits"`
		Connections uint64   `json:"connections"`
		Bytes       uint64   `json:"bytes"`          // of the table
		EntryBytes  uint64   `json:"entry_bytes"`    // of the connections
		Done        bool     `json:"done"`           // in force already
		File        string   `json:"file,omitempty"` // of modprobe.d(5)
		Content     string   `json:"content,omitempty"`
		CommandLine string   `json:"command_line,omitempty"`
		Blockers    []string `json:"blockers,omitempty"` // why the module cannot be loaded again at present
		Expected    int      `json:"expected"`           // what the kernel will make of the bits
	}{
		t.Bits, t.conns, sysctl.TableBytes(t.Bits), sysctl.EntryBytes(t.conns), t.Done, t.File, string(t.Content), t.CommandLine,
		t.Blockers, t.Predicted.Bits,
	})
}
