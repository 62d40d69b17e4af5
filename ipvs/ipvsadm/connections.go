package ipvsadm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/golvs/lvs/ipvs"
)

// WriteConnections writes connections and persistence templates as ipvsadm -L -c does, in the order given, with the names
// of hosts and ports that a resolver has; nil writes numbers. The view [PersistentConns] adds persistence engines and
// their data.
//
// A row that could not be parsed, an error that matches [*ipvs.ParseError], is left out, and the first such error is
// returned at the end, but at once if the table has no title. Another error ends the listing.
func (l Listing) WriteConnections(ctx context.Context, w io.Writer, list iter.Seq2[ipvs.Connection, error], r Resolver) error {
	b := bufio.NewWriter(w)
	n := names{ctx, r}
	titled := false
	title := func() {
		if !titled {
			l.writeConnectionTitle(b)
			titled = true
		}
	}
	var skipped error
	for c, err := range list {
		if err != nil {
			e, ok := errors.AsType[*ipvs.ParseError](err)
			if !ok || e.Line == 1 {
				return errors.Join(err, b.Flush())
			}
			if skipped == nil {
				skipped = err
			}
			continue
		}
		title()
		l.writeConnection(b, n, c)
	}
	title()
	return errors.Join(skipped, b.Flush())
}

func (l Listing) writeConnectionTitle(b *bufio.Writer) {
	b.WriteString("IPVS connection entries\n")
	fmt.Fprintf(b, "pro expire %-11s %-18s %-18s ", "state", "source", "virtual")
	if l.View == PersistentConns {
		fmt.Fprintf(b, "%-18s %-16s %s\n", "destination", "pe name", "pe_data")
		return
	}
	b.WriteString("destination\n")
}

func (l Listing) writeConnection(b *bufio.Writer, n names, c ipvs.Connection) {
	var p ipvs.Protocol // ports of others have no names
	switch c.Protocol {
	case "TCP":
		p = ipvs.TCP
	case "UDP":
		p = ipvs.UDP
	case "SCTP":
		p = ipvs.SCTP
	}
	left := int64(c.Expires / time.Second)
	expire := fmt.Sprintf("%02d:%02d", left/60, left%60)
	fmt.Fprintf(b, "%-3s %-6s %-11s %-18s %-18s ", c.Protocol, expire, c.State, n.addrPort(p, c.Client), n.addrPort(p, c.Virtual))
	if l.View == PersistentConns && c.PE != "" && c.PEData != "" {
		fmt.Fprintf(b, "%-16s %-18s %s\n", n.addrPort(p, c.Destination), c.PE, c.PEData)
		return
	}
	b.WriteString(n.addrPort(p, c.Destination) + "\n")
}
