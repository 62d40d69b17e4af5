package ipvs

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/genetlink"
)

// link is one netlink socket and the buffers of the exchange that has it. Exchanges follow one another; the client's
// slot sees to that. Only interrupt may be called from elsewhere.
type link struct {
	conn *genetlink.Conn
	raw  syscall.RawConn

	family uint16 // number of the family IPVS, 0 until it was looked up
	seq    uint32
	out    []byte
	last   lastService
	io     transfer

	// dirty says that an exchange ended early, so that answers to it may be in the socket or still come.
	dirty bool

	// parts is the number of datagrams with replies that the last answer came in. What came in one is as the kernel had it
	// at one moment; between two parts of a list the table can change.
	parts int

	// unfinished is the sequence number of a dump that was given up: the kernel refuses another one on the socket
	// until its end was read.
	unfinished uint32
}

// Receive buffer. The kernel fills it with as many messages as it holds, but never more than 32,448 bytes (observed on
// 6.1 and 6.12), and takes the largest buffer that it has ever seen on a socket as the measure: a smaller one afterwards
// would cut answers off.
const receiveSize = 64 << 10

// newLink takes a receive buffer of a size, which has to be 4,096 bytes at least for the messages of this family.
func newLink(conn *genetlink.Conn, receive int) (*link, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("connection without a descriptor: %w", err)
	}
	l := &link{conn: conn, raw: raw}
	return l, l.prepare(receive)
}

// A request is one message to the kernel and what to do with the answer.
type request struct {
	cmd   uint8
	flags uint16
	ctrl  bool // goes to the controller rather than to IPVS

	// attrs appends the attributes.
	attrs func(b []byte) []byte

	// reply is called for the payload of every message of the answer, without its generic-netlink header. The bytes
	// are valid during the call only.
	reply func(b []byte) error

	// dests takes the destinations of the answer in place of reply; those without a family of their own are of this one.
	dests  *arena
	family Family
}

// answer returns the command of the messages that answer the request: objects come as the commands that would make them.
func (r *request) answer() uint8 {
	if r.ctrl {
		return ctrlCmdNewFamily
	}
	switch r.cmd {
	case cmdGetService:
		return cmdNewService
	case cmdGetDest:
		return cmdNewDest
	case cmdGetDaemon:
		return cmdNewDaemon
	case cmdGetConfig:
		return cmdSetConfig
	case cmdGetInfo:
		return cmdSetInfo
	}
	return r.cmd
}

// answerError is an errno in the kernel's answer, with its text if it gave one.
type answerError struct {
	errno syscall.Errno
	text  string
}

func (e *answerError) Error() string { return errnoName(e.errno) }

// do makes one exchange. The answer to a request with flagAck or flagDump ends with an acknowledgement or the end of
// the dump; one without ends with its first message. Mixing an acknowledgement with a reply, as the kernel allows,
// would leave the acknowledgement in the socket for the next exchange.
func (l *link) do(r *request) error {
	typ := l.family
	if r.ctrl {
		typ = genlIDCtrl
	}
	l.seq++
	l.out = beginMessage(l.out[:0], typ, r.flags|flagRequest, l.seq, r.cmd)
	if r.attrs != nil {
		l.out = r.attrs(l.out)
	}
	finishMessage(l.out, 0)
	if err := l.send(l.out); err != nil {
		if errors.Is(err, syscall.EMSGSIZE) {
			return &answerError{errno: eMSGSIZE}
		}
		l.dirty = true
		return err
	}
	l.dirty = true
	whole, err := l.receive(typ, l.seq, r)
	l.dirty = !whole
	if !whole && r.flags&flagDump != 0 {
		l.unfinished = l.seq
	}
	return err
}

// receive reads the answer to the request of a sequence number, past whatever earlier requests left behind, and reports
// whether it has read it to its end.
func (l *link) receive(typ uint16, seq uint32, r *request) (whole bool, failed error) {
	l.parts = 0
	answer := r.answer()
	for {
		// A list takes two datagrams at least, its last part and the message that it is the last.
		rest, err := l.recv(r.flags&flagDump != 0)
		if err != nil {
			return false, err
		}
		counted := false
		for len(rest) > 0 {
			var h header
			var payload []byte
			if h, payload, rest, err = nextMessage(rest); err != nil {
				return false, err
			}
			if h.seq != seq {
				if h.seq == l.unfinished && h.typ == nlmsgDone {
					l.unfinished = 0
				}
				continue
			}
			if h.typ == typ && len(payload) >= genlHdrLen && payload[0] == answer {
				if !counted {
					counted = true
					l.parts++
				}
				// A reply that cannot be decoded does not end the exchange: the rest of it has to be read.
				switch {
				case failed != nil:
				case r.dests != nil:
					failed = decodeDestination(payload[genlHdrLen:], r.family, r.dests.next())
				case r.reply != nil:
					failed = r.reply(payload[genlHdrLen:])
				}
				if r.flags&(flagAck|flagDump) == 0 {
					return true, failed
				}
				continue
			}
			switch h.typ {
			case nlmsgNoop:
			case nlmsgError, nlmsgDone:
				errno, text, err := decodeError(h.flags, payload)
				switch {
				case err != nil:
					return true, err
				case errno != 0:
					return true, &answerError{syscall.Errno(errno), text}
				}
				return true, failed
			default:
				return false, fmt.Errorf("unexpected message of type %d with %d bytes", h.typ, h.length)
			}
		}
	}
}

// finishDump reads a dump that was given up to its end.
func (l *link) finishDump() error {
	for l.unfinished != 0 {
		rest, err := l.recv(true)
		if err != nil {
			return err
		}
		for len(rest) > 0 {
			var h header
			if h, _, rest, err = nextMessage(rest); err != nil {
				return err
			}
			if h.seq == l.unfinished && (h.typ == nlmsgDone || h.typ == nlmsgError) {
				l.unfinished = 0
			}
		}
	}
	return nil
}

// lookup asks for the family's number. The kernel loads the module for it if it is not there.
func (l *link) lookup() error {
	name, err := encodeFamilyName(familyName)
	if err != nil {
		return err
	}
	l.family = 0
	err = l.do(&request{
		cmd: ctrlCmdGetFamily, ctrl: true,
		attrs: func(b []byte) []byte { return append(b, name...) },
		reply: func(b []byte) (err error) {
			l.family, err = decodeFamilyID(b)
			return err
		},
	})
	if answered(err, eNOENT) {
		return ErrModule
	}
	return err
}

// request looks the family up if its number is unknown and makes the exchange. A number is outdated when the module was
// unloaded and loaded again: the kernel answers ENOENT, which can also be the answer to the request itself, and did
// nothing.
func (l *link) request(r *request) error {
	if l.family == 0 {
		if err := l.lookup(); err != nil {
			return err
		}
	}
	err := l.do(r)
	switch {
	case l.unfinished != 0 && answered(err, eBUSY):
		if err := l.finishDump(); err != nil {
			return err
		}
		return l.do(r)
	case !answered(err, eNOENT):
		return err
	}
	old := l.family
	if lookupErr := l.lookup(); lookupErr != nil {
		return lookupErr
	}
	if l.family == old {
		return err
	}
	return l.do(r)
}

// answered reports whether err is the kernel's answer with that number.
func answered(err error, errno syscall.Errno) bool {
	ae, ok := errors.AsType[*answerError](err)
	return ok && ae.errno == errno
}

// drain throws away what has arrived for exchanges that were given up. What comes later is told apart by its sequence
// number.
func (l *link) drain() error {
	for {
		rest, err := l.tryRecv()
		if errors.Is(err, errOverrun) {
			continue // what was lost is nobody's any more
		}
		if len(rest) == 0 || err != nil {
			return err
		}
		for len(rest) > 0 {
			var h header
			if h, _, rest, err = nextMessage(rest); err != nil {
				break
			}
			if h.seq == l.unfinished && h.typ == nlmsgDone {
				l.unfinished = 0
			}
		}
	}
}

var (
	errTruncated = errors.New("answer larger than the receive buffer")
	errOverrun   = errors.New("answer lost for lack of buffer space")
	errShortSend = errors.New("request was cut off")
)
