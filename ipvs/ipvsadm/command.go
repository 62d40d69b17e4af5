package ipvsadm

import "strconv"

// Command is what a command line asks for.
type Command uint8

// Commands. [List] is the zero value: what ipvsadm does without arguments.
const (
	List              Command = iota // -L, -l
	AddService                       // -A
	SetService                       // -E
	DeleteService                    // -D
	Flush                            // -C
	AddDestination                   // -a
	SetDestination                   // -e
	DeleteDestination                // -d
	SetTimeouts                      // --set
	StartDaemon                      // --start-daemon
	StopDaemon                       // --stop-daemon
	Restore                          // -R
	Save                             // -S
	Zero                             // -Z
	Help                             // -h
	Version                          // -v
)

const commandCount = Version + 1

var commandNames = [...]string{
	List: "list", AddService: "add-service", SetService: "edit-service", DeleteService: "delete-service", Flush: "flush",
	AddDestination: "add-server", SetDestination: "edit-server", DeleteDestination: "delete-server", SetTimeouts: "set",
	StartDaemon: "start-daemon", StopDaemon: "stop-daemon", Restore: "restore", Save: "save", Zero: "zero", Help: "help",
	Version: "version",
}

// String returns the name that ipvsadm's messages use, such as "add-server", or "command(N)" for another value.
func (c Command) String() string {
	if int(c) < len(commandNames) {
		return commandNames[c]
	}
	return "command(" + strconv.Itoa(int(c)) + ")"
}

// Changes reports whether the command changes the kernel's state: whether [Operation.Apply] carries it out.
func (c Command) Changes() bool {
	switch c {
	case AddService, SetService, DeleteService, Flush, AddDestination, SetDestination, DeleteDestination, SetTimeouts,
		StartDaemon, StopDaemon, Zero:
		return true
	}
	return false
}
