package sched

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestGolden replays what Linux 6.1.192 and 6.12.117 did (identically) and demands the same server for every single
// connection and the same counters. The file format is described in testdata/README.md.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.csv")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 26 {
		t.Fatalf("%d golden files, want 26", len(files))
	}
	picks := 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".csv"), func(t *testing.T) {
			picks += replayGolden(t, file)
		})
	}
	if picks != 6186 {
		t.Errorf("%d decisions compared, want 6186", picks)
	}
}

// connKey identifies a connection by the words of the file.
type connKey struct{ client, port, vaddr string }

type goldenConn struct {
	server   *Server
	activity Activity
}

// replay is the director of a golden file, as far as schedulers need one.
type replay struct {
	s       *Scheduler
	kind    string
	proto   string
	servers map[string]*Server // by number, also removed ones
	conns   map[connKey]*goldenConn
	now     time.Duration

	expiration time.Duration // as set so far, also before there is a service; 0 is the default
}

func replayGolden(t *testing.T, file string) (picks int) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := &replay{servers: make(map[string]*Server), conns: make(map[connKey]*goldenConn)}
	line, listed := 0, 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line++
		text := sc.Text()
		fields := strings.Split(text, ",")
		if fields[0] != "n" {
			listed = 0
		} else {
			// A listing has one line for each server; another one may follow at once.
			want := strings.TrimPrefix(text, "n,")
			if got := r.listing()[listed%r.s.Len()]; got != want {
				t.Fatalf("line %d: counters %s, want %s", line, got, want)
			}
			listed++
			continue
		}
		if fields[0] == "c" {
			picks++
		}
		if err := r.do(fields); err != nil {
			t.Fatalf("line %d: %s: %v", line, text, err)
		}
	}
	return picks
}

func (r *replay) listing() []string {
	var lines []string
	for d := range r.s.Servers() {
		lines = append(lines, fmt.Sprintf("%s,%d,%d,%d", d.Data, d.Weight(), d.Active(), d.Inactive()))
	}
	return lines
}

func (r *replay) do(f []string) error {
	switch f[0] {
	case "svc-add", "svc-edit":
		return r.service(f)
	case "dest-add":
		return r.add(f[1], settingsOf(f[2:]))
	case "dest-edit":
		return r.s.Update(r.servers[f[1]], settingsOf(f[2:]))
	case "dest-del":
		return r.s.Remove(r.servers[f[1]])
	case "lblcr-exp":
		r.expiration = time.Duration(number(f[1])) * time.Second
		if r.s != nil {
			r.s.SetCacheExpiration(r.expiration)
		}
	case "sleep":
		r.now += time.Duration(number(f[1])) * time.Millisecond
	case "c":
		return r.open(r.key(f[1:]), f[len(f)-1])
	case "f":
		if c := r.conns[r.key(f[1:])]; c != nil && c.activity == Active && c.server.Available() {
			c.server.Move(Inactive)
			c.activity = Inactive
		}
	case "x":
		k := r.key(f[1:])
		c := r.conns[k]
		if c == nil {
			return fmt.Errorf("no such connection")
		}
		c.server.Close(c.activity)
		delete(r.conns, k)
	default:
		if !strings.HasPrefix(f[0], "#") {
			return fmt.Errorf("unknown line")
		}
	}
	return nil
}

func (r *replay) service(f []string) (err error) {
	r.kind, r.proto = f[1], f[2]
	var flags Flags
	for _, name := range strings.Split(f[4], "+") {
		switch name {
		case "sh-port", "mh-port":
			flags |= Port
		case "sh-fallback", "mh-fallback":
			flags |= Fallback
		case "":
		default:
			return fmt.Errorf("unknown flag %q", name)
		}
	}
	if f[0] == "svc-add" {
		c := Config{Flags: flags, Family: IPv4}
		if strings.HasSuffix(r.kind, "6") {
			c.Family = IPv6
		}
		c.CacheExpiration = r.expiration
		r.s, err = New(f[3], c)
		return err
	}
	r.s.Advance(r.now)
	r.s.SetFlags(flags)
	return r.s.Switch(f[3])
}

func (r *replay) add(id string, c Settings) (err error) {
	if d := r.servers[id]; d != nil {
		return r.s.Restore(d, c)
	}
	addr := "10.2.0." + id + ":80"
	if strings.HasSuffix(r.kind, "6") {
		addr = "[fd02::" + id + "]:80"
	}
	d, err := r.s.Add(netip.MustParseAddrPort(addr), c)
	if err != nil {
		return err
	}
	d.Data = id
	r.servers[id] = d
	return nil
}

func (r *replay) key(f []string) connKey {
	k := connKey{client: f[0], port: f[1]}
	if strings.HasPrefix(r.kind, "fwm") {
		k.vaddr = f[2]
	}
	return k
}

func (r *replay) open(k connKey, want string) error {
	if r.conns[k] != nil {
		return fmt.Errorf("connection exists")
	}
	d := r.s.Pick(r.flow(k), r.now)
	got := "-"
	if d != nil {
		got = d.Data.(string)
		a := Activity(r.proto == "tcp")
		d.Open(a)
		r.conns[k] = &goldenConn{d, a}
	}
	if got != want {
		return fmt.Errorf("picked %s, want %s", got, want)
	}
	return nil
}

func (r *replay) flow(k connKey) Flow {
	client, vip := "10.1."+k.client, "10.9.0.1"
	if k.vaddr != "" {
		vip = "172.16." + k.vaddr
	}
	if strings.HasSuffix(r.kind, "6") {
		client, vip = k.client, "fd09::1"
		if k.vaddr != "" {
			vip = k.vaddr
		}
	}
	return Flow{
		Client:      netip.AddrPortFrom(netip.MustParseAddr(client), uint16(number(k.port))),
		Destination: netip.MustParseAddr(vip),
	}
}

func settingsOf(f []string) Settings {
	return Settings{Weight: int32(number(f[0])), Upper: uint32(number(f[1])), Lower: uint32(number(f[2]))}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}
