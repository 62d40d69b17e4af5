package ipvsadm

import (
	"fmt"
	"io"
	"strings"

	"github.com/golvs/lvs/ipvs"
)

// WriteTimeouts writes timeouts as ipvsadm -L --timeout does.
func WriteTimeouts(w io.Writer, t ipvs.Timeouts) error {
	_, err := fmt.Fprintf(w, "Timeout (tcp tcpfin udp): %s %s %s\n", seconds(t.TCP), seconds(t.TCPFin), seconds(t.UDP))
	return err
}

// WriteDaemons writes synchronisation daemons as ipvsadm -L --daemon does: a line for each that runs, the master first.
func WriteDaemons(w io.Writer, list []ipvs.Daemon) error {
	for _, state := range [...]ipvs.DaemonState{ipvs.Master, ipvs.Backup} {
		for _, d := range list {
			if d.State != state {
				continue
			}
			if _, err := io.WriteString(w, daemonLine(d)); err != nil {
				return err
			}
		}
	}
	return nil
}

func daemonLine(d ipvs.Daemon) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v sync daemon (mcast=%s, syncid=%d", d.State, d.Interface, d.SyncID)
	if d.MaxLen != 0 {
		fmt.Fprintf(&b, ", maxlen=%d", d.MaxLen)
	}
	if d.Group.IsValid() {
		b.WriteString(", group=" + addrString(d.Group))
	}
	if d.Port != 0 {
		fmt.Fprintf(&b, ", port=%d", d.Port)
	}
	if d.TTL != 0 {
		fmt.Fprintf(&b, ", ttl=%d", d.TTL)
	}
	b.WriteString(")\n")
	return b.String()
}
