package ipvstest

import (
	"fmt"
	"testing"

	"github.com/mdlayher/genetlink"

	"github.com/golvs/lvs/internal/nltest"
)

// memorySetup is the suite's setup on an in-memory kernel.
func memorySetup(t *testing.T, cfg *Config) Setup {
	t.Helper()
	spaces := 0
	space := func(t *testing.T) (*Kernel, *Namespace) {
		t.Helper()
		k, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = k.Close() })
		spaces++
		return k, k.Namespace(fmt.Sprint("space", spaces))
	}
	return Setup{
		Kernel: "memory " + cfg.Version, Version: cfg.Version,
		Environment: func(t *testing.T) Environment {
			k, n := space(t)
			return memoryEnvironment(k, n)
		},
		Bare: func(t *testing.T) Environment {
			k, n := space(t)
			n.ns.Bare()
			return memoryEnvironment(k, n)
		},
	}
}

func memoryEnvironment(k *Kernel, n *Namespace) Environment {
	return Environment{
		Conn:         n.Conn,
		Unprivileged: n.UnprivilegedConn,
		Reader:       func(size int) (*genetlink.Conn, error) { return n.ns.Dial(nltest.ReceiveBuffer(size)) },
		Proc:         n.FS(),
		AddDevice:    n.AddDevice,
		SetLink:      n.SetLink,
		Advance:      k.Advance,
	}
}

func TestMemory(t *testing.T) {
	for _, version := range []string{"6.1", "6.12"} {
		t.Run(version, func(t *testing.T) {
			s := memorySetup(t, &Config{Version: version, HashKey: 0x90})
			if testing.Short() || version != "6.12" {
				s.Lists = 20
			}
			TestClient(t, s)
		})
	}
}
