package nltest

import (
	"encoding/binary"
	"strconv"
)

// hz is the tick rate of the kernels this package copies; times in ticks wrap at 32 bits.
const hz = 250

// native is the byte order of every integer in a netlink message that is not marked big endian.
var native = binary.NativeEndian

// Netlink message types and flags.
const (
	typeError   = 2  // NLMSG_ERROR
	typeDone    = 3  // NLMSG_DONE
	typeControl = 16 // first type that is not a control message; also the controller's family id

	flagRequest = 0x001 // NLM_F_REQUEST
	flagMulti   = 0x002 // NLM_F_MULTI
	flagAck     = 0x004 // NLM_F_ACK
	flagDump    = 0x300 // NLM_F_DUMP
	flagCapped  = 0x100 // NLM_F_CAPPED
	flagAckTLVs = 0x200 // NLM_F_ACK_TLVS

	headerLen    = 16 // struct nlmsghdr
	genHeaderLen = 20 // struct nlmsghdr and struct genlmsghdr

	attrNested   = 0x8000 // NLA_F_NESTED
	attrTypeMask = 0x3fff // NLA_TYPE_MASK
)

// Attributes of an extended acknowledgement, and of the policy inside.
const (
	ackMsg    = 1 // NLMSGERR_ATTR_MSG
	ackOffset = 2 // NLMSGERR_ATTR_OFFS
	ackPolicy = 4 // NLMSGERR_ATTR_POLICY

	policyType      = 1 // NL_POLICY_TYPE_ATTR_TYPE
	policyMinU      = 4 // NL_POLICY_TYPE_ATTR_MIN_VALUE_U
	policyMaxU      = 5 // NL_POLICY_TYPE_ATTR_MAX_VALUE_U
	policyMaxLength = 7 // NL_POLICY_TYPE_ATTR_MAX_LENGTH
)

// The generic netlink controller.
const (
	ctrlNewFamily   = 1 // CTRL_CMD_NEWFAMILY
	ctrlGetFamily   = 3 // CTRL_CMD_GETFAMILY
	ctrlGetPolicy   = 10
	ctrlVersion     = 2
	ctrlFamilyID    = 1 // CTRL_ATTR_FAMILY_ID
	ctrlFamilyName  = 2
	ctrlAttrVersion = 3
	ctrlHeaderSize  = 4
	ctrlMaxAttr     = 5
	ctrlOps         = 6
	ctrlGroups      = 7
	ctrlOpID        = 1 // CTRL_ATTR_OP_ID
	ctrlOpFlags     = 2
	ctrlGroupName   = 1 // CTRL_ATTR_MCAST_GRP_NAME
	ctrlGroupID     = 2

	opAdmin  = 1 // GENL_ADMIN_PERM
	opDo     = 2 // GENL_CMD_CAP_DO
	opDump   = 4 // GENL_CMD_CAP_DUMP
	opPolicy = 8 // GENL_CMD_CAP_HASPOL
)

// familyName is the name of the IPVS family, in the upper case the kernel uses.
const familyName = "IPVS"

// familyVersion is the version in every reply; that of a request is not looked at.
const familyVersion = 1

// Version is what GET_INFO reports: 1.2.1.
const moduleVersion = 0x010201

// A Command is a command of the IPVS family.
type Command uint8

// Commands of the IPVS family, with the kernel's numbers. AnyCommand is not a command that a kernel
// executes: it stands for all of them in a [Fault].
const (
	AnyCommand    Command = 0
	NewService    Command = 1
	SetService    Command = 2
	DelService    Command = 3
	GetService    Command = 4
	NewDest       Command = 5
	SetDest       Command = 6
	DelDest       Command = 7
	GetDest       Command = 8
	NewDaemon     Command = 9
	DelDaemon     Command = 10
	GetDaemon     Command = 11
	SetConfig     Command = 12
	GetConfig     Command = 13
	SetInfo       Command = 14
	GetInfo       Command = 15
	Zero          Command = 16
	FlushServices Command = 17
)

// String returns the kernel's name for the command, or "command(N)" for a number that is none.
func (c Command) String() string {
	if int(c) < len(commandNames) {
		return commandNames[c]
	}
	return "command(" + strconv.Itoa(int(c)) + ")"
}

var commandNames = [...]string{
	"UNSPEC", "NEW_SERVICE", "SET_SERVICE", "DEL_SERVICE", "GET_SERVICE", "NEW_DEST", "SET_DEST", "DEL_DEST", "GET_DEST",
	"NEW_DAEMON", "DEL_DAEMON", "GET_DAEMON", "SET_CONFIG", "GET_CONFIG", "SET_INFO", "GET_INFO", "ZERO", "FLUSH",
}

// Top-level attributes, IPVS_CMD_ATTR_*; in a GET_INFO reply 1 and 2 mean something else.
const (
	topService    = 1
	topDest       = 2
	topDaemon     = 3
	topTimeoutTCP = 4
	topTimeoutFIN = 5
	topTimeoutUDP = 6
	topMax        = 6

	infoVersion  = 1
	infoConnSize = 2
)

// Attributes of a service, IPVS_SVC_ATTR_*.
const (
	svcAF       = 1
	svcProtocol = 2
	svcAddr     = 3
	svcPort     = 4
	svcMark     = 5
	svcSched    = 6
	svcFlags    = 7
	svcTimeout  = 8
	svcNetmask  = 9
	svcStats    = 10
	svcEngine   = 11
	svcStats64  = 12
)

// Attributes of a destination, IPVS_DEST_ATTR_*.
const (
	destAddr     = 1
	destPort     = 2
	destFwd      = 3
	destWeight   = 4
	destUpper    = 5
	destLower    = 6
	destActive   = 7
	destInactive = 8
	destPersist  = 9
	destStats    = 10
	destAF       = 11
	destStats64  = 12
	destTunType  = 13
	destTunPort  = 14
	destTunFlags = 15
)

// Attributes of a synchronisation daemon, IPVS_DAEMON_ATTR_*.
const (
	daemonState  = 1
	daemonIfname = 2
	daemonSyncID = 3
	daemonMaxLen = 4
	daemonGroup  = 5
	daemonGroup6 = 6
	daemonPort   = 7
	daemonTTL    = 8
)

// Attributes of the two statistics nests, IPVS_STATS_ATTR_*: five counters and five rates in the order of [Counters].
const (
	statsCounter = 1
	statsRate    = 6
)

// Service flags, IP_VS_SVC_F_*.
const (
	flagPersistent = 0x0001
	flagHashed     = 0x0002
	flagOnePacket  = 0x0004
)

// Forwarding methods and tunnel types that have rules of their own.
const (
	fwdMask   = 0x7
	fwdTunnel = 2
	tunGUE    = 1
)

// Address families, with Linux numbers whatever system this runs on.
const (
	afInet  = 2
	afInet6 = 10
)

// Protocols, for /proc names.
const (
	protoIP     = 0
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

// States of a synchronisation daemon, IP_VS_STATE_*.
const (
	stateMaster = 1
	stateBackup = 2
)
