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
		Intro: `Masquerading: the director writes a real server's address into a client's packet, and the VIP into the answer.
So the answer has to pass the director: it is the real servers' gateway to the clients.

  client ◀──▶ director ◀──▶ real server
`,
		VIP: netip.MustParseAddr("192.0.2.10"), Real: "10.0.0.2:8080,10.0.0.3,10.0.0.4=2", Template: ipvs.Destination{Forward: ipvs.Masquerade},
	}.Run(ctx, e)
}
