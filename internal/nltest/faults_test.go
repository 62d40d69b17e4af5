package nltest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFaults(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	p := newTap(t, ns)
	info := func() []string { return kinds(p.exchange(p.request(GetInfo, do))) }
	seq := func() string { return itoa(int(p.seq)) }

	inj := k.Inject(Fault{Command: GetInfo, Nth: 2, Effect: Fail(ENOMEM)})
	info()
	p.must(Zero) // does not count
	if got := info(); len(got) != 1 || got[0] != "error "+seq()+" ENOMEM" {
		t.Errorf("second request: %v", got)
	}
	if got := info(); len(got) != 2 {
		t.Errorf("third request: %v", got)
	}
	if inj.Fired() != 1 {
		t.Errorf("fired %d times", inj.Fired())
	}
	k.ClearFaults()

	// A failed request is not executed.
	inj = k.Inject(Fault{Effect: Fail(EPERM)})
	if errno := p.do(NewService, svc(vip, rr)); errno != EPERM {
		t.Error(errno)
	}
	inj.Remove()
	if errno := p.do(DelService, svc(vip)); errno != ESRCH {
		t.Errorf("a failed request was executed: %v", errno)
	}

	k.Inject(Fault{Effect: ForeignFirst()})
	if diff := cmp.Diff([]string{"ack 2147483655", "reply 7", "ack 7"}, info()); diff != "" {
		t.Errorf("foreign first (-want +got):\n%s", diff)
	}
	k.ClearFaults()

	k.Inject(Fault{Effect: Reverse()})
	if diff := cmp.Diff([]string{"ack 8", "reply 8"}, info()); diff != "" {
		t.Errorf("reverse (-want +got):\n%s", diff)
	}
	k.ClearFaults()

	k.Inject(Fault{Effect: Truncate(21)})
	for _, b := range p.exchange(p.request(GetInfo, do)) {
		if len(b) != 21 {
			t.Errorf("%d bytes, want 21", len(b))
		}
	}
	k.ClearFaults()

	// Ignored is not executed, lost is.
	k.Inject(Fault{Effect: Ignore()})
	if got := p.exchange(p.request(NewService, do, svc(vip, rr))); got != nil {
		t.Errorf("ignored: %x", got)
	}
	k.ClearFaults()
	k.Inject(Fault{Effect: Lose()})
	if got := p.exchange(p.request(NewService, do, svc(vip, rr))); got != nil {
		t.Errorf("lost: %x", got)
	}
	if got := p.exchange(p.request(GetService, list)); got != nil {
		t.Errorf("lost dump: %x", got)
	}
	k.ClearFaults()
	if got, _ := p.dump(GetService); len(got) != 1 {
		t.Errorf("%d services: an ignored request was executed, or a lost one was not", len(got))
	}

	k.Inject(Fault{Nth: 1, Effect: NoBuffers()})
	p.send(p.request(GetInfo, do))
	if _, errno := p.next(); errno != ENOBUFS {
		t.Errorf("no buffers: %v", errno)
	}
	if got := info(); len(got) != 2 {
		t.Errorf("after ENOBUFS: %v", got)
	}
	k.ClearFaults()

	// The first of two counts.
	first := k.Inject(Fault{Command: GetInfo, Nth: 1, Effect: Fail(ESRCH)})
	second := k.Inject(Fault{Effect: Fail(ENODEV)})
	if got := info(); got[0] != "error "+seq()+" ESRCH" {
		t.Errorf("two faults: %v", got)
	}
	if got := info(); got[0] != "error "+seq()+" ENODEV" {
		t.Errorf("after the first: %v", got)
	}
	if first.Fired() != 1 || second.Fired() != 1 {
		t.Errorf("fired %d and %d times", first.Fired(), second.Fired())
	}
	k.ClearFaults()

	// Of one namespace, and of the controller.
	k.Inject(Fault{Namespace: k.Namespace("x"), Effect: Ignore()})
	k.Inject(Fault{Controller: true, Effect: Fail(EPERM)})
	if got := info(); len(got) != 2 {
		t.Errorf("other namespace: %v", got)
	}
	e := genMessage(header{typ: typeControl, flags: do, seq: 1, cmd: ctrlGetFamily})
	e.str(ctrlFamilyName, familyName)
	if diff := cmp.Diff([]string{"error 1 EPERM"}, kinds(p.exchange(e.finish()))); diff != "" {
		t.Errorf("controller (-want +got):\n%s", diff)
	}
}

func TestHold(t *testing.T) {
	k := newKernel(t, nil)
	ns := k.Namespace("")
	p, q := newTap(t, ns), newTap(t, ns)
	inj := k.Inject(Fault{Command: NewService, Effect: Hold()})
	batch := append(p.request(GetInfo, flagRequest), p.request(NewService, do, svc(vip, rr))...)
	batch = append(batch, p.request(DelService, do, svc(vip))...)
	if diff := cmp.Diff([]string{"reply 1"}, kinds(p.exchange(batch))); diff != "" {
		t.Fatalf("before the release (-want +got):\n%s", diff)
	}
	if got := kinds(p.exchange(p.request(GetInfo, flagRequest))); got != nil {
		t.Fatalf("a later request was not held: %v", got)
	}
	// Other sockets go on.
	if errno := q.do(DelService, svc(vip)); errno != ESRCH {
		t.Fatal(errno)
	}
	inj.Release()
	if diff := cmp.Diff([]string{"ack 2", "ack 3", "reply 4"}, kinds(p.drain())); diff != "" {
		t.Fatalf("after the release (-want +got):\n%s", diff)
	}
	// The fault stays, until it is removed.
	if got := p.exchange(p.request(NewService, do, svc(vip, rr))); got != nil {
		t.Fatalf("not held again: %x", got)
	}
	inj.Remove()
	if diff := cmp.Diff([]string{"ack 5"}, kinds(p.drain())); diff != "" {
		t.Fatalf("after the removal (-want +got):\n%s", diff)
	}
}

// TestHoldTwice has a release run into the next held request.
func TestHoldTwice(t *testing.T) {
	k := newKernel(t, nil)
	p := newTap(t, k.Namespace(""))
	first := k.Inject(Fault{Command: NewService, Effect: Hold()})
	second := k.Inject(Fault{Command: DelService, Effect: Hold()})
	p.send(p.request(NewService, do, svc(vip, rr)))
	p.send(p.request(DelService, do, svc(vip)))
	p.send(p.request(GetInfo, flagRequest))
	first.Release()
	if diff := cmp.Diff([]string{"ack 1"}, kinds(p.drain())); diff != "" {
		t.Fatalf("after the first release (-want +got):\n%s", diff)
	}
	second.Release()
	if diff := cmp.Diff([]string{"ack 2", "reply 3"}, kinds(p.drain())); diff != "" {
		t.Fatalf("after the second release (-want +got):\n%s", diff)
	}
}

func TestRequestLog(t *testing.T) {
	k := newKernel(t, &Config{LogSize: 8})
	p := newTap(t, k.Namespace("x"), Port(9))
	one := p.request(NewService, do, svc(vip, rr))
	two := p.request(NewService, do, svc(vip, rr))
	p.exchange(append(append([]byte{}, one...), two...))
	p.exchange(p.request(GetInfo, flagRequest))
	want := []Request{
		{Namespace: "x", Port: 9, Sending: 1, Type: 34, Flags: do, Seq: 1, Command: NewService, Version: 1, Raw: one},
		{Namespace: "x", Port: 9, Sending: 1, Type: 34, Flags: do, Seq: 2, Command: NewService, Version: 1, Raw: two, Errno: EEXIST},
	}
	got := k.Requests()
	if len(got) != 3 || got[2].Sending != 2 {
		t.Fatalf("log %+v", got)
	}
	if diff := cmp.Diff(want, got[:2]); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	for range 20 {
		p.exchange(p.request(GetInfo, flagRequest))
	}
	got = k.Requests()
	if len(got) > 8 || got[len(got)-1].Seq != p.seq {
		t.Errorf("%d entries, the last %d", len(got), got[len(got)-1].Seq)
	}
	k.ClearRequests()
	if got := k.Requests(); len(got) != 0 {
		t.Errorf("after ClearRequests: %v", got)
	}
}

func TestModule(t *testing.T) {
	lookUp := func(p *tap) Errno {
		e := genMessage(header{typ: typeControl, flags: do, seq: 1, cmd: ctrlGetFamily})
		e.str(ctrlFamilyName, familyName)
		got := p.exchange(e.finish())
		return errnoOf(got[len(got)-1])
	}
	none := newKernel(t, &Config{NoModule: true})
	if errno := lookUp(newTap(t, none.Namespace(""))); errno != ENOENT {
		t.Errorf("kernel without IPVS: %v", errno)
	}
	none.ReloadModule()
	if _, err := none.FamilyID(); err == nil {
		t.Error("a module came from nowhere")
	}

	k := newKernel(t, nil)
	p := newTap(t, k.Namespace(""), Unprivileged())
	root := newTap(t, k.Namespace(""))
	root.must(NewService, svc(vip, rr))
	root.must(NewDest, svc(vip), dst("10.0.0.1:80", w1))
	old := root.request(GetService, list)
	k.UnloadModule()
	if got := kinds(root.exchange(old)); len(got) != 1 || got[0] != "error 3 ENOENT" {
		t.Errorf("while the module is out: %v", got)
	}
	// Looking it up by name loads it, for anybody; another id, empty tables.
	if errno := lookUp(p); errno != 0 {
		t.Errorf("looking up: %v", errno)
	}
	id, err := k.FamilyID()
	if err != nil || id != 35 {
		t.Errorf("family %d, %v", id, err)
	}
	if got := kinds(root.exchange(old)); len(got) != 1 || got[0] != "error 3 ENOENT" {
		t.Errorf("with the old id: %v", got)
	}
	if got, _ := root.dump(GetService); len(got) != 0 {
		t.Errorf("%d services after loading", len(got))
	}
	k.ReloadModule()
	if id, err := k.FamilyID(); err != nil || id != 36 {
		t.Errorf("family %d, %v", id, err)
	}
}

func TestController(t *testing.T) {
	k := newKernel(t, nil)
	p := newTap(t, k.Namespace(""), Unprivileged())
	ask := func(cmd uint8, flags uint16, fill ...func(*encoder)) []string {
		e := genMessage(header{typ: typeControl, flags: flags, seq: 1, cmd: cmd})
		for _, f := range fill {
			f(e)
		}
		return kinds(p.exchange(e.finish()))
	}
	for name, c := range map[string]struct {
		got, want []string
	}{
		"by name":       {ask(ctrlGetFamily, do, str(ctrlFamilyName, "IPVS")), []string{"reply 1", "ack 1"}},
		"by id":         {ask(ctrlGetFamily, do, u16(ctrlFamilyID, 34)), []string{"reply 1", "ack 1"}},
		"controller":    {ask(ctrlGetFamily, do, str(ctrlFamilyName, "nlctrl")), []string{"reply 1", "ack 1"}},
		"lower case":    {ask(ctrlGetFamily, do, str(ctrlFamilyName, "ipvs")), []string{"error 1 ENOENT"}},
		"unknown id":    {ask(ctrlGetFamily, do, u16(ctrlFamilyID, 35)), []string{"error 1 ENOENT"}},
		"nothing":       {ask(ctrlGetFamily, do), []string{"error 1 EINVAL"}},
		"name too long": {ask(ctrlGetFamily, do, str(ctrlFamilyName, "abcdefghijklmnop")), []string{"error 1 EINVAL"}},
		"longest name":  {ask(ctrlGetFamily, do, str(ctrlFamilyName, "abcdefghijklmno")), []string{"error 1 ENOENT"}},
		"behind a NUL":  {ask(ctrlGetFamily, do, bin(ctrlFamilyName, []byte("nlctrl\x00garbagegarbage")...)), []string{"error 1 ERANGE"}},
		"unterminated":  {ask(ctrlGetFamily, do, bin(ctrlFamilyName, 'I')), []string{"error 1 EINVAL"}},
		"other":         {ask(1, do), []string{"error 1 EOPNOTSUPP"}},
		"dump":          {ask(ctrlGetFamily, list), []string{"chunk 1", "done 1"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
