package main

import (
	"context"
	"net/netip"

	"github.com/golvs/lvs/examples/internal/setup"
	"github.com/golvs/lvs/ipvs"
)

// demo shows a director with clients, without packets.
func demo(ctx context.Context, e *setup.Env) error {
	return setup.Demo{
		Intro: `Direct routing: the director hands a client's packet on to a real server's MAC address, unchanged.
The real server has the VIP too, on lo, and answers the client directly.

  client ──▶ director ──▶ real server
     ▲                        │
     └────────────────────────┘
`,
		VIP: netip.MustParseAddr("192.0.2.10"), Real: "192.0.2.2,192.0.2.3,192.0.2.4=2", Template: ipvs.Destination{Forward: ipvs.Route},
	}.Run(ctx, e)
}
