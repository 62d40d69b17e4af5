package sysctl_test

import (
	"fmt"
	"os"
	"strings"
	"testing/fstest"

	"github.com/golvs/lvs/sysctl"
)

// root is a host with a few parameters; nil instead of it is the machine itself.
var root = fstest.MapFS{
	"proc/sys/kernel/osrelease":               {Data: []byte("6.12.43\n")},
	"proc/sys/net/ipv4/vs/conn_reuse_mode":    {Data: []byte("1\n")},
	"proc/sys/net/ipv4/vs/expire_nodest_conn": {Data: []byte("0\n")},
}

func ExampleHost_Plan() {
	h, err := sysctl.New(&sysctl.Config{Root: root})
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := h.Plan(sysctl.DirectorDR.Settings(sysctl.Options{}))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range plan.Changes {
		if c.Action == sysctl.Write {
			fmt.Printf("%v: %s -> %s\n", c.Key, c.Old, c.New)
		}
	}
	// Output: net.ipv4.vs.expire_nodest_conn: 0 -> 1
}

func ExampleHost_Check() {
	h, err := sysctl.New(&sysctl.Config{Root: root})
	if err != nil {
		fmt.Println(err)
		return
	}
	findings, err := h.Check(strings.NewReader(`
net.ipv4.tcp_tw_recycle = 1
net.ipv4.vs.conn_reuse_mode = 1
net.ipv4.vs.sync_retries = 4
`), sysctl.DirectorDR)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range findings {
		fmt.Printf("line %d: %v: %v\n", f.Number, f.Key, f.Verdict)
	}
	// Output:
	// line 2: net.ipv4.tcp_tw_recycle: gone
	// line 3: net.ipv4.vs.conn_reuse_mode: default already
	// line 4: net.ipv4.vs.sync_retries: bad value
}

func ExampleFormatList() {
	content, err := sysctl.FormatList("example", []sysctl.Setting{
		{Key: sysctl.IPVS("expire_nodest_conn"), Value: "1", Reason: "connections of a removed server end at once"},
		{Key: sysctl.IPv4("eth0.100", "rp_filter"), Value: "2"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	os.Stdout.Write(content)
	// Output:
	// # Written by example.
	// net/ipv4/conf/eth0.100/rp_filter = 2
	// # connections of a removed server end at once
	// net.ipv4.vs.expire_nodest_conn = 1
}

func ExampleValues_Settings() {
	_, err := sysctl.Values{SyncRetries: new(int32(4))}.Settings("fewer lost messages")
	fmt.Println(err)
	// Output: sysctl: net.ipv4.vs.sync_retries: value "4": out of range, want 0 to 3
}
