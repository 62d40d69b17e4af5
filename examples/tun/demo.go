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
		Intro: `Tunnelling: the director puts a client's packet into one of its own to a real server, wherever that is.
The real server takes it out, has the VIP too, and answers the client directly.

  client ──▶ director ══▶ real server
     ▲                        │
     └────────────────────────┘
`,
		VIP: netip.MustParseAddr("192.0.2.10"), Real: "10.1.0.2,10.2.0.2,10.3.0.2=2", Template: ipvs.Destination{Forward: ipvs.Tunnel},
	}.Run(ctx, e)
}
