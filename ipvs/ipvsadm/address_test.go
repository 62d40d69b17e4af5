package ipvsadm_test

import (
	"testing"

	"github.com/golvs/lvs/ipvs/ipvsadm"
)

// Addresses in the usual spelling take a short way through the parser. A plus sign before the port, which means nothing,
// leads them and all others the long way to the same result.
func TestShortWayOfAddresses(t *testing.T) {
	parts := []string{"0", "1", "9", "10", "99", "100", "255", "256", "999", "1000", "00", "08", "010", "0x1", "", "-1", "1a"}
	ports := []string{"0", "1", "80", "080", "00080", "000080", "65535", "65536", "99999", "100000", "", "80a", "0x50", "80:80", "80.1"}
	g := newGenerator(1)
	good := 0
	for range 20000 {
		host := pick(g, parts...)
		for range pick(g, 3, 3, 3, 3, 3, 2, 4) {
			host += "." + pick(g, parts...)
		}
		if g.oneIn(2) { // more of those that are in order
			host = pick(g, parts[:7]...) + "." + pick(g, parts[:7]...) + "." + pick(g, parts[:8]...) + "." + pick(g, parts[:7]...)
		}
		port := pick(g, ports...)
		short, err1 := ipvsadm.Parse([]string{"-D", "-t", host + ":" + port})
		long, err2 := ipvsadm.Parse([]string{"-D", "-t", host + ":+" + port})
		if short != long || (err1 == nil) != (err2 == nil) {
			t.Fatalf("%s:%s is %v, %v, and with a plus sign %v, %v", host, port, short, err1, long, err2)
		}
		if err1 == nil {
			good++
		}
	}
	if good < 1000 {
		t.Errorf("only %d addresses are legal", good)
	}
}
