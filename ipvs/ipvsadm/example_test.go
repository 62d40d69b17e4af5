package ipvsadm_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/golvs/lvs/ipvs"
	"github.com/golvs/lvs/ipvs/ipvsadm"
)

func ExampleParseLine() {
	op, err := ipvsadm.ParseLine("-a -t 192.0.2.1:80 -r 10.0.0.2:8080 -m")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(op.Command, op.Service.ID, op.Destination.Addr, op.Destination.Forward)
	fmt.Println(op)

	_, err = ipvsadm.ParseLine("-a -t 192.0.2.1:80 -r 10.0.0.2:8080 -w many")
	fmt.Println(err)
	// Output:
	// add-server TCP 192.0.2.1:80 10.0.0.2:8080 Masq
	// -a -t 192.0.2.1:80 -r 10.0.0.2:8080 -m -w 1
	// column 40: illegal weight specified
}

func ExampleParser_Rules() {
	const rules = "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.2\n-A -u 192.0.2.1:0\n"
	p := &ipvsadm.Parser{}
	for rule, err := range p.Rules(context.Background(), strings.NewReader(rules)) {
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(rule.Line, rule.Operation)
	}
	// Output:
	// 1 -A -t 192.0.2.1:80 -s rr
	// 2 -a -t 192.0.2.1:80 -r 10.0.0.2:80 -g -w 1
	// line 3, column 4: Zero port specified for non-persistent service
}

func ExampleListing_WriteTable() {
	var s ipvs.ServiceSnapshot
	s.ID = ipvs.ServiceID{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	s.Scheduler = "rr"
	s.Stats = ipvs.Stats{Connections: 1234567890, InPackets: 99}
	listing := ipvsadm.Listing{View: ipvsadm.Stats}
	_ = listing.WriteTable(context.Background(), os.Stdout, ipvsadm.Table{Services: []ipvs.ServiceSnapshot{s}}, nil)
	// Output:
	// Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
	//   -> RemoteAddress:Port
	// TCP  192.0.2.1:80                    1234M       99        0        0        0
}
