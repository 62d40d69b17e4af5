package sched_test

import (
	"fmt"
	"strings"

	"github.com/golvs/lvs/sched"
)

// event is one thing that happens to a director. An event that makes no sense, such as the removal of a server that is
// not there, does nothing, so that every part of a sequence of events is a sequence that can be played.
type event struct {
	kind     eventKind
	server   int            // of addServer, editServer, removeServer
	settings sched.Settings // of addServer, editServer
	name     string         // of edit
	flags    sched.Flags    // of edit
	conns    []connID       // one, but for expire
}

type eventKind int

const (
	addServer eventKind = iota
	editServer
	removeServer
	edit   // of the service: scheduler and flags
	open   // a new connection: SYN and ACK, or one datagram
	fin    // the client ends a TCP connection, which is inactive from then on
	reopen // RST and SYN: the old connection ends when the new one has been scheduled
	expire // connections end by themselves
)

func (k eventKind) String() string {
	return [...]string{"add", "set", "remove", "edit", "open", "fin", "reopen", "expire"}[k]
}

// reconfigures reports whether the event is a change of the configuration.
func (k eventKind) reconfigures() bool { return k <= edit }

func (e event) String() string {
	switch e.kind {
	case addServer, editServer:
		return fmt.Sprintf("%v %d weight %d thresholds %d/%d", e.kind, e.server, e.settings.Weight, e.settings.Upper, e.settings.Lower)
	case removeServer:
		return fmt.Sprintf("%v %d", e.kind, e.server)
	case edit:
		return fmt.Sprintf("%v %s flags %v", e.kind, e.name, e.flags)
	}
	var b strings.Builder
	b.WriteString(e.kind.String())
	for _, c := range e.conns {
		b.WriteString(" " + c.String())
	}
	return b.String()
}
