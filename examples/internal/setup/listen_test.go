package setup

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSockets(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Log("the text is that of a little-endian machine") // the addresses are turned round on others
		return
	}
	// As Linux 6.12 prints it, but for the columns that follow.
	const text = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   2: 0100007F:1F91 0100007F:A0A0 01 00000000:00000000 00:00000000 00000000     0        0 1 1
   3: 000000FD000000000000000002000000:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0
`
	got, err := parseSockets(strings.NewReader(text), 0x0a)
	want := []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:80"), netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("[fd00::2]:81")}
	if diff := cmp.Diff(want, got, equateAddrs); diff != "" || err != nil {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"0: 00:0050 0:0 0A", "0: 00000000:x 0:0 0A", "0: 00000000:0050 0:0 xx"} {
		if got, err := parseSockets(strings.NewReader(bad), 0x0a); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
