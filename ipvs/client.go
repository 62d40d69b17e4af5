package ipvs

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/genetlink"
)

// Config says which kernel and which namespace a [Client] talks to. The zero value, and a nil pointer to it, mean the
// network namespace that the caller is in.
type Config struct {
	// NetNS chooses a network namespace by the name that "ip netns add" gave it (/run/netns/NAME), or by a path if it
	// contains a slash. Empty means the caller's own. Entering another namespace needs CAP_SYS_ADMIN.
	NetNS string

	// NetNSFile chooses a network namespace by an open descriptor of it; not together with NetNS. The client does not
	// keep it.
	NetNSFile *os.File

	// Timeout bounds a call whose context has no deadline, waiting for other calls of the same client included. Zero
	// means no bound.
	Timeout time.Duration

	// Root is the tree below which the files of /proc are read, with names such as "proc/thread-self/net/ip_vs". Nil
	// means the host's, in the chosen namespace.
	Root fs.FS
}

// Client is a connection to the IPVS of one network namespace: that of [Dial], for ever. It is safe for concurrent
// use; one request is under way at a time, and the others wait for their turn.
//
// Every method that talks to the kernel returns early when its context ends or the client is closed. It is then unknown
// whether a change was made; the client stays usable after the former.
type Client struct {
	timeout time.Duration
	root    fs.FS
	redial  func(receive int) (*genetlink.Conn, error) // nil if the connection was given; see newLink
	release func() error                               // gives up the namespace

	slot   chan struct{} // holds a token while no call has the link
	closed chan struct{} // closed by Close

	// link belongs to the call that has the token. Only replacing it and what interrupt and Close do to its
	// connection need the mutex.
	link *link

	mu      sync.Mutex
	turn    uint64 // number of the last call that had the token
	active  bool   // whether it has it still
	extra   *link  // a second socket of the call that has the token, if it needs one
	closing bool

	// pictures are those that Apply took: the memory for the next one, as long as the garbage collector leaves it.
	pictures sync.Pool
}

// How long a call that gives up waits for its exchange to stop. An exchange stops at once unless the kernel holds it
// inside a system call, where nothing can reach it; then it is left behind and ends by itself.
const grace = 50 * time.Millisecond

// Dial opens a connection to the kernel's IPVS. The kernel loads the module ip_vs for it if it can; no privilege is
// needed for that, but for every request that follows.
//
// The error matches [ErrModule] on a host without IPVS, [fs.ErrNotExist] if the namespace does not exist,
// [fs.ErrPermission] if it may not be entered, and [errors.ErrUnsupported] on systems other than Linux.
func Dial(ctx context.Context, cfg *Config) (*Client, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	c, err := dial(cfg)
	if err != nil {
		return nil, dialError(err)
	}
	if err := c.exchange(ctx, (*link).lookup); err != nil {
		_ = c.Close()
		return nil, dialError(err)
	}
	return c, nil
}

// NewClient returns a client on a connection that was opened elsewhere, such as one to the in-memory kernel of package
// ipvstest, and takes ownership of it. The connection's socket must have a descriptor, working deadlines, and no other
// user. Config.NetNS and Config.NetNSFile choose the namespace for the files of /proc only.
//
// Nothing is sent: a kernel without IPVS shows in the first call.
func NewClient(conn *genetlink.Conn, cfg *Config) (*Client, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	root, release, err := openRoot(cfg)
	if err != nil {
		return nil, dialError(err)
	}
	c, err := newClient(conn, cfg, root, release)
	if err != nil {
		_ = release()
		return nil, dialError(err)
	}
	return c, nil
}

func newClient(conn *genetlink.Conn, cfg *Config, root fs.FS, release func() error) (*Client, error) {
	l, err := newLink(conn, receiveSize)
	if err != nil {
		return nil, err
	}
	c := &Client{
		timeout: cfg.Timeout, root: root, release: release, link: l,
		slot: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	c.slot <- struct{}{}
	return c, nil
}

func dialError(err error) error {
	e := &OpError{Op: "dial", Err: err}
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		e.Err = fs.ErrPermission
	}
	if ae, ok := errors.AsType[*answerError](err); ok {
		e.Errno, e.Err = ae.errno, meaning(0, ae.errno, false)
	}
	return e
}

// Close closes the connection. Calls that are under way return an error that matches [os.ErrClosed], as do later
// ones. It returns when no call uses the connection any more. Closing twice is harmless.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	var err error
	if first {
		close(c.closed)
		err = c.link.conn.Close()
		if c.extra != nil {
			err = errors.Join(err, c.extra.conn.Close())
		}
	}
	c.mu.Unlock()
	<-c.slot
	c.slot <- struct{}{}
	if first {
		err = errors.Join(err, c.release())
	}
	return err
}

// exchange runs f with the link, alone, until the context ends. If it gives up on f, f may still run for a while: what
// f writes may be read only when exchange returns nil.
func (c *Client) exchange(ctx context.Context, f func(*link) error) error {
	if c.timeout > 0 {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.timeout)
			defer cancel()
		}
	}
	select {
	case <-c.closed:
		return os.ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-c.slot:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closed:
		return os.ErrClosed
	}
	c.mu.Lock()
	c.turn++
	c.active = true
	turn := c.turn
	c.mu.Unlock()

	if ctx.Done() == nil {
		return c.run(ctx, f)
	}
	done := make(chan error, 1)
	go func() { done <- c.run(ctx, f) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	c.interrupt(turn)
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case err := <-done:
		return err
	case <-patience.C:
		return &abandonedError{ctx.Err()}
	}
}

// abandonedError is the context's error when an exchange was left behind: what it writes must not be read.
type abandonedError struct{ err error }

func (e *abandonedError) Error() string { return e.err.Error() }
func (e *abandonedError) Unwrap() error { return e.err }

// interrupt wakes the exchange of a number if it still has the link, and no other.
func (c *Client) interrupt(turn uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active && c.turn == turn {
		_ = c.link.conn.SetDeadline(time.Unix(1, 0))
		if c.extra != nil {
			_ = c.extra.conn.SetDeadline(time.Unix(1, 0))
		}
	}
}

// another opens a second socket, with a receive buffer of its own size, for the exchange that has the link, or returns
// the link itself if there is no way to dial. The function gives it back.
func (c *Client) another(ctx context.Context, receive int) (*link, func(), error) {
	if c.redial == nil {
		return c.link, func() {}, nil
	}
	conn, err := c.redial(receive)
	if err != nil {
		return nil, nil, err
	}
	l, err := newLink(conn, receive)
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	l.family = c.link.family
	c.mu.Lock()
	c.extra = l
	closing := c.closing
	c.mu.Unlock()
	giveBack := func() {
		c.mu.Lock()
		c.extra = nil
		c.mu.Unlock()
		_ = conn.Close()
	}
	// An interrupt that came before the socket was known shows here.
	err = ctx.Err()
	if closing {
		err = os.ErrClosed
	}
	if err != nil {
		giveBack()
		return nil, nil, err
	}
	return l, giveBack, nil
}

// run is the part of exchange that has the link; it passes the token on at its end.
func (c *Client) run(ctx context.Context, f func(*link) error) error {
	defer func() {
		c.mu.Lock()
		c.active = false
		c.mu.Unlock()
		c.slot <- struct{}{}
	}()
	err := c.ready()
	if err == nil {
		// An interrupt that came before the deadline was reset shows here, a later one wakes the exchange.
		err = ctx.Err()
	}
	if err == nil {
		err = f(c.link)
	}
	if err == nil {
		return nil
	}
	select {
	case <-c.closed:
		if _, ok := errors.AsType[*answerError](err); !ok {
			return os.ErrClosed
		}
	default:
	}
	if ctxErr := ctx.Err(); ctxErr != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return ctxErr
	}
	return err
}

// ready makes the link usable after an exchange that ended early: by a new socket if there is a way to dial one,
// otherwise by passing over the old answers.
func (c *Client) ready() error {
	if err := c.renew(); err != nil || !c.link.dirty {
		return err
	}
	// Without the mutex, so that an interrupt can end it.
	if err := c.link.drain(); err != nil {
		return err
	}
	c.link.dirty = false
	return nil
}

// renew gives a new socket to a link that needs one, if there is a way to dial one, and takes its deadline away.
func (c *Client) renew() error {
	var fresh *genetlink.Conn
	if c.link.dirty && c.redial != nil {
		conn, err := c.redial(receiveSize)
		if err != nil {
			return err
		}
		fresh = conn
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		if fresh != nil {
			_ = fresh.Close()
		}
		return os.ErrClosed
	}
	if fresh != nil {
		l, err := newLink(fresh, receiveSize)
		if err != nil {
			_ = fresh.Close()
			return err
		}
		_ = c.link.conn.Close()
		l.family = c.link.family
		c.link = l
	}
	return c.link.conn.SetDeadline(time.Time{})
}

// An operation is what an error says about a request.
type operation struct {
	name    string
	cmd     uint8
	service ServiceID
	dest    netip.AddrPort
	withPE  bool // a persistence engine was named
}

// fail wraps the error of an exchange.
func (o *operation) fail(err error) error {
	if err == nil {
		return nil
	}
	if left, ok := errors.AsType[*abandonedError](err); ok {
		err = left.err
	}
	e := &OpError{Op: o.name, Service: o.service, Destination: o.dest, Err: err}
	if ae, ok := errors.AsType[*answerError](err); ok {
		e.Errno = ae.errno
		e.Err = meaning(o.cmd, ae.errno, o.withPE)
		if ae.text != "" {
			e.Err = &textError{e.Err, ae.text}
		}
	}
	if errors.Is(err, errOverrun) {
		e.Errno = eNOBUFS
	}
	return e
}

// textError adds the kernel's own words to a meaning.
type textError struct {
	err  error
	text string
}

func (e *textError) Error() string { return e.err.Error() + " (" + e.text + ")" }
func (e *textError) Unwrap() error { return e.err }

// change makes one change.
func (c *Client) change(ctx context.Context, ch Change) error {
	o := ch.operation()
	attrs, err := ch.appendRequest(nil, new(lastService))
	if err != nil {
		return o.fail(err)
	}
	return c.command(ctx, o, func(b []byte) []byte { return append(b, attrs...) })
}

// command makes a request that is answered by an acknowledgement.
func (c *Client) command(ctx context.Context, o operation, attrs func(b []byte) []byte) error {
	return o.fail(c.exchange(ctx, func(l *link) error {
		return l.request(&request{cmd: o.cmd, flags: flagAck, attrs: attrs})
	}))
}

// Info returns the version of IPVS and the size of its connection table.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var info Info
	o := operation{name: "get info", cmd: cmdGetInfo}
	if err := c.exchange(ctx, func(l *link) error {
		return l.request(&request{cmd: cmdGetInfo, reply: func(b []byte) (err error) {
			info, err = decodeInfo(b)
			return err
		}})
	}); err != nil {
		return Info{}, o.fail(err)
	}
	return info, nil
}

// Services returns the virtual services of the namespace in the kernel's order, which follows hash values that differ
// from boot to boot. An empty table is an empty slice.
//
// The kernel has no consistent snapshot: when another process changes services during the call, in this network
// namespace or in any other, services that nobody touched can be missing or appear twice (observed on 6.1 and 6.12).
func (c *Client) Services(ctx context.Context) ([]ServiceStatus, error) {
	list := []ServiceStatus{}
	o := operation{name: "list services", cmd: cmdGetService}
	if err := c.exchange(ctx, func(l *link) error {
		return l.request(&request{cmd: cmdGetService, flags: flagDump, reply: func(b []byte) error {
			list = append(list, ServiceStatus{})
			return decodeService(b, &list[len(list)-1])
		}})
	}); err != nil {
		return nil, o.fail(err)
	}
	return list, nil
}

// Service returns one virtual service. The error matches [ErrNoService] if there is none of that identity.
func (c *Client) Service(ctx context.Context, id ServiceID) (ServiceStatus, error) {
	o := operation{name: "get service", cmd: cmdGetService, service: id}
	id, err := id.canonical()
	if err != nil {
		return ServiceStatus{}, o.fail(err)
	}
	var s ServiceStatus
	if err := c.exchange(ctx, func(l *link) error { return l.service(id, &s) }); err != nil {
		return ServiceStatus{}, o.fail(err)
	}
	return s, nil
}

func (l *link) service(id ServiceID, s *ServiceStatus) error {
	return l.request(&request{
		cmd:   cmdGetService,
		attrs: func(b []byte) []byte { return appendServiceID(b, id) },
		reply: func(b []byte) error { return decodeService(b, s) },
	})
}

// AddService adds a virtual service.
//
// The error matches [ErrServiceExists] if the identity is taken, [ErrScheduler] or [ErrPersistenceEngine] if the kernel
// does not have them, [fs.ErrInvalid] for a field out of range (see [FieldError]), and [fs.ErrPermission] without
// CAP_NET_ADMIN in the initial user namespace.
func (c *Client) AddService(ctx context.Context, s Service) error {
	return c.change(ctx, Change{Kind: ServiceAdd, Service: s})
}

// SetService replaces the configuration of a virtual service; its destinations and counters stay. A persistence engine
// that s does not name is removed. With another scheduler's name the old one's state is lost.
//
// The error matches [ErrNoService] if there is none of that identity, and otherwise as for [Client.AddService].
func (c *Client) SetService(ctx context.Context, s Service) error {
	return c.change(ctx, Change{Kind: ServiceSet, Service: s})
}

// DeleteService removes a virtual service with its destinations. Its connections live on until they expire. The error
// matches [ErrNoService] if there is none of that identity.
func (c *Client) DeleteService(ctx context.Context, id ServiceID) error {
	return c.change(ctx, Change{Kind: ServiceDelete, Service: Service{ID: id}})
}

// Flush removes all virtual services of the namespace. Connections live on until they expire; timeouts and daemons stay.
func (c *Client) Flush(ctx context.Context) error {
	return c.command(ctx, operation{name: "flush", cmd: cmdFlush}, nil)
}

// Zero sets the counters and rates of a virtual service and its destinations to zero. Traffic since the kernel's last
// sample, up to two seconds old, reappears with the next one. The error matches [ErrNoService] if there is none of that
// identity.
func (c *Client) Zero(ctx context.Context, id ServiceID) error {
	o := operation{name: "zero service", cmd: cmdZero, service: id}
	id, err := id.canonical()
	if err != nil {
		return o.fail(err)
	}
	return c.command(ctx, o, func(b []byte) []byte { return appendServiceID(b, id) })
}

// ZeroAll sets the counters and rates of all services, all destinations and the namespace to zero, as [Client.Zero]
// does for one service.
func (c *Client) ZeroAll(ctx context.Context) error {
	return c.command(ctx, operation{name: "zero all", cmd: cmdZero}, nil)
}

// Destinations returns the destinations of a virtual service, the most recently added first. A service without any has
// an empty slice; the error matches [ErrNoService] if there is no such service, which the kernel itself does not tell.
func (c *Client) Destinations(ctx context.Context, id ServiceID) ([]DestinationStatus, error) {
	var list []DestinationStatus
	err := c.DestinationsInto(ctx, id, &list)
	return list, err
}

// DestinationsInto returns the destinations of a virtual service as [Client.Destinations] does, in the memory of an
// earlier list: who reads a long list again and again then allocates nothing for the places that it had before. What
// was in the earlier list is overwritten; list is nil after an error.
func (c *Client) DestinationsInto(ctx context.Context, id ServiceID, list *[]DestinationStatus) error {
	return c.destinations(ctx, operation{name: "list destinations", cmd: cmdGetDest, service: id}, id, list)
}

func (c *Client) destinations(ctx context.Context, o operation, id ServiceID, list *[]DestinationStatus) error {
	older := *list
	*list = nil
	id, err := id.canonical()
	if err != nil {
		return o.fail(err)
	}
	var read []DestinationStatus // an exchange that was left behind may still write to what it has
	if err := c.exchange(ctx, func(l *link) (err error) {
		read, err = l.destinations(id, older)
		return err
	}); err != nil {
		return o.fail(err)
	}
	*list = read
	return nil
}

// destinations returns the destinations of a service. A dump of a service that is not there, or is removed during the
// dump, just ends, so that only a service that exists afterwards has given its whole list.
func (l *link) destinations(id ServiceID, older []DestinationStatus) ([]DestinationStatus, error) {
	var a arena
	a.begin(older)
	if err := l.listDestinations(id, &a); err != nil {
		return nil, err
	}
	if l.parts != 1 {
		var s ServiceStatus
		if err := l.service(id, &s); err != nil {
			return nil, err
		}
	}
	return a.end(), nil
}

// Destination returns one destination. The error matches [ErrNoService] or [ErrNoDestination]. The kernel has no
// request for one destination: the whole list of the service is read.
func (c *Client) Destination(ctx context.Context, id ServiceID, addr netip.AddrPort) (DestinationStatus, error) {
	o := operation{name: "get destination", cmd: cmdGetDest, service: id, dest: addr}
	addr, err := canonicalAddr("Addr", addr)
	if err != nil {
		return DestinationStatus{}, o.fail(err)
	}
	var list []DestinationStatus
	if err := c.destinations(ctx, o, id, &list); err != nil {
		return DestinationStatus{}, err
	}
	for i := range list {
		if list[i].Addr == addr {
			return list[i], nil
		}
	}
	return DestinationStatus{}, o.fail(ErrNoDestination)
}

// AddDestination adds a real server to the virtual service of an identity. A destination that was deleted in the last
// minutes comes back with its old counters (observed on 6.1 and 6.12).
//
// The error matches [ErrNoService] if the service does not exist, [ErrDestinationExists] if the address is taken,
// [fs.ErrInvalid] for a field out of range (see [FieldError]) or an address that is not unicast, and
// [fs.ErrPermission] without CAP_NET_ADMIN in the initial user namespace.
func (c *Client) AddDestination(ctx context.Context, id ServiceID, d Destination) error {
	return c.change(ctx, Change{Kind: DestinationAdd, Service: Service{ID: id}, Destination: d})
}

// SetDestination replaces the configuration of a destination; its counters, its place in the list and its connections
// with their forwarding method stay.
//
// The error matches [ErrNoService] or [ErrNoDestination] if one of them does not exist, and otherwise as for
// [Client.AddDestination].
func (c *Client) SetDestination(ctx context.Context, id ServiceID, d Destination) error {
	return c.change(ctx, Change{Kind: DestinationSet, Service: Service{ID: id}, Destination: d})
}

// DeleteDestination removes a destination. What becomes of its connections depends on the sysctl expire_nodest_conn:
// by default their packets are dropped until they expire or the destination comes back. The error matches [ErrNoService]
// or [ErrNoDestination] if one of them does not exist.
func (c *Client) DeleteDestination(ctx context.Context, id ServiceID, addr netip.AddrPort) error {
	return c.change(ctx, Change{Kind: DestinationDelete, Service: Service{ID: id}, Destination: Destination{Addr: addr}})
}

// Quiesce sets the weight of a destination to 0 and keeps the rest, so that it gets no new clients while its connections
// go on. It returns the destination as it was before; its Weight brings it back. The error matches [ErrNoService] or
// [ErrNoDestination] if one of them does not exist.
func (c *Client) Quiesce(ctx context.Context, id ServiceID, addr netip.AddrPort) (DestinationStatus, error) {
	before, err := c.Destination(ctx, id, addr)
	if err != nil {
		return DestinationStatus{}, err
	}
	d := before.Destination
	d.Weight = 0
	return before, c.SetDestination(ctx, id, d)
}

// Timeouts returns the connection timeouts of the namespace.
func (c *Client) Timeouts(ctx context.Context) (Timeouts, error) {
	var t Timeouts
	o := operation{name: "get timeouts", cmd: cmdGetConfig}
	if err := c.exchange(ctx, func(l *link) (err error) {
		t, err = l.timeouts()
		return err
	}); err != nil {
		return Timeouts{}, o.fail(err)
	}
	return t, nil
}

func (l *link) timeouts() (t Timeouts, err error) {
	err = l.request(&request{cmd: cmdGetConfig, reply: func(b []byte) (err error) {
		t, err = decodeTimeouts(b)
		return err
	}})
	return t, err
}

// SetTimeouts sets those connection timeouts of the namespace that are not zero: all of them, or none if there is an
// error. The error matches [fs.ErrInvalid] for a value out of range.
func (c *Client) SetTimeouts(ctx context.Context, t Timeouts) error {
	return c.change(ctx, Change{Kind: TimeoutsSet, Timeouts: t})
}

// Daemons returns the synchronisation daemons that run in the namespace, the master first. None is an empty slice.
func (c *Client) Daemons(ctx context.Context) ([]Daemon, error) {
	var list []Daemon
	o := operation{name: "list daemons", cmd: cmdGetDaemon}
	if err := c.exchange(ctx, func(l *link) (err error) {
		list, err = l.daemons()
		return err
	}); err != nil {
		return nil, o.fail(err)
	}
	return list, nil
}

func (l *link) daemons() ([]Daemon, error) {
	list := []Daemon{}
	err := l.request(&request{cmd: cmdGetDaemon, flags: flagDump, reply: func(b []byte) error {
		d, err := decodeDaemon(b)
		list = append(list, d)
		return err
	}})
	return list, err
}

// StartDaemon starts a synchronisation daemon.
//
// The error matches [ErrDaemonRuns] if one of that state runs already, [ErrInterface] if there is no such device, and
// [fs.ErrInvalid] for a field out of range or while a destination of another family than its service exists.
func (c *Client) StartDaemon(ctx context.Context, d Daemon) error {
	return c.change(ctx, Change{Kind: DaemonStart, Daemon: d})
}

// StopDaemon stops the synchronisation daemon of a state. The error matches [ErrNoDaemon] if none runs.
func (c *Client) StopDaemon(ctx context.Context, state DaemonState) error {
	// As a batch of one: the kernel may keep silent on it.
	changes := []Change{{Kind: DaemonStop, Daemon: Daemon{State: state}}}
	r, err := c.do(ctx, changes, true)
	if r.Outcomes[0].Err != nil {
		return r.Outcomes[0].Err
	}
	return err
}
