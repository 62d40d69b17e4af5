package ipvs

// The numbers of the kernel's generic-netlink interface, as published in its user-space header linux/ip_vs.h.

// Names and sizes.
const (
	familyName    = "IPVS" // IPVS_GENL_NAME
	familyVersion = 1      // IPVS_GENL_VERSION

	maxSchedulerName = 15 // IP_VS_SCHEDNAME_MAXLEN without the NUL
	maxPEName        = 16 // IP_VS_PENAME_MAXLEN
	maxInterfaceName = 15 // IP_VS_IFNAME_MAXLEN without the NUL
)

// Commands.
const (
	cmdNewService = 1  // IPVS_CMD_NEW_SERVICE
	cmdSetService = 2  // IPVS_CMD_SET_SERVICE
	cmdDelService = 3  // IPVS_CMD_DEL_SERVICE
	cmdGetService = 4  // IPVS_CMD_GET_SERVICE
	cmdNewDest    = 5  // IPVS_CMD_NEW_DEST
	cmdSetDest    = 6  // IPVS_CMD_SET_DEST
	cmdDelDest    = 7  // IPVS_CMD_DEL_DEST
	cmdGetDest    = 8  // IPVS_CMD_GET_DEST
	cmdNewDaemon  = 9  // IPVS_CMD_NEW_DAEMON
	cmdDelDaemon  = 10 // IPVS_CMD_DEL_DAEMON
	cmdGetDaemon  = 11 // IPVS_CMD_GET_DAEMON
	cmdSetConfig  = 12 // IPVS_CMD_SET_CONFIG
	cmdGetConfig  = 13 // IPVS_CMD_GET_CONFIG
	cmdSetInfo    = 14 // IPVS_CMD_SET_INFO, only in replies
	cmdGetInfo    = 15 // IPVS_CMD_GET_INFO
	cmdZero       = 16 // IPVS_CMD_ZERO
	cmdFlush      = 17 // IPVS_CMD_FLUSH
)

// Attributes at the top level.
const (
	attrService       = 1 // IPVS_CMD_ATTR_SERVICE
	attrDest          = 2 // IPVS_CMD_ATTR_DEST
	attrDaemon        = 3 // IPVS_CMD_ATTR_DAEMON
	attrTimeoutTCP    = 4 // IPVS_CMD_ATTR_TIMEOUT_TCP
	attrTimeoutTCPFin = 5 // IPVS_CMD_ATTR_TIMEOUT_TCP_FIN
	attrTimeoutUDP    = 6 // IPVS_CMD_ATTR_TIMEOUT_UDP
)

// Attributes of the reply to cmdGetInfo; the numbers are used a second time at the top level.
const (
	infoVersion     = 1 // IPVS_INFO_ATTR_VERSION
	infoConnTabSize = 2 // IPVS_INFO_ATTR_CONN_TAB_SIZE
)

// Attributes of a service.
const (
	svcAF        = 1  // IPVS_SVC_ATTR_AF
	svcProtocol  = 2  // IPVS_SVC_ATTR_PROTOCOL
	svcAddr      = 3  // IPVS_SVC_ATTR_ADDR
	svcPort      = 4  // IPVS_SVC_ATTR_PORT
	svcFWMark    = 5  // IPVS_SVC_ATTR_FWMARK
	svcScheduler = 6  // IPVS_SVC_ATTR_SCHED_NAME
	svcFlags     = 7  // IPVS_SVC_ATTR_FLAGS
	svcTimeout   = 8  // IPVS_SVC_ATTR_TIMEOUT
	svcNetmask   = 9  // IPVS_SVC_ATTR_NETMASK
	svcStats     = 10 // IPVS_SVC_ATTR_STATS
	svcPE        = 11 // IPVS_SVC_ATTR_PE_NAME
	svcStats64   = 12 // IPVS_SVC_ATTR_STATS64, Linux 4.1
)

// Attributes of a destination.
const (
	destAddr       = 1  // IPVS_DEST_ATTR_ADDR
	destPort       = 2  // IPVS_DEST_ATTR_PORT
	destForward    = 3  // IPVS_DEST_ATTR_FWD_METHOD
	destWeight     = 4  // IPVS_DEST_ATTR_WEIGHT
	destUpper      = 5  // IPVS_DEST_ATTR_U_THRESH
	destLower      = 6  // IPVS_DEST_ATTR_L_THRESH
	destActive     = 7  // IPVS_DEST_ATTR_ACTIVE_CONNS
	destInactive   = 8  // IPVS_DEST_ATTR_INACT_CONNS
	destPersistent = 9  // IPVS_DEST_ATTR_PERSIST_CONNS
	destStats      = 10 // IPVS_DEST_ATTR_STATS
	destFamily     = 11 // IPVS_DEST_ATTR_ADDR_FAMILY, Linux 3.18
	destStats64    = 12 // IPVS_DEST_ATTR_STATS64, Linux 4.1
	destTunType    = 13 // IPVS_DEST_ATTR_TUN_TYPE
	destTunPort    = 14 // IPVS_DEST_ATTR_TUN_PORT
	destTunFlags   = 15 // IPVS_DEST_ATTR_TUN_FLAGS
)

// Attributes of a synchronisation daemon.
const (
	daemonState     = 1 // IPVS_DAEMON_ATTR_STATE
	daemonInterface = 2 // IPVS_DAEMON_ATTR_MCAST_IFN
	daemonSyncID    = 3 // IPVS_DAEMON_ATTR_SYNC_ID
	daemonMaxLen    = 4 // IPVS_DAEMON_ATTR_SYNC_MAXLEN
	daemonGroup     = 5 // IPVS_DAEMON_ATTR_MCAST_GROUP
	daemonGroup6    = 6 // IPVS_DAEMON_ATTR_MCAST_GROUP6
	daemonPort      = 7 // IPVS_DAEMON_ATTR_MCAST_PORT
	daemonTTL       = 8 // IPVS_DAEMON_ATTR_MCAST_TTL
)

// Attributes of statistics, in both widths.
const (
	statsConns    = 1  // IPVS_STATS_ATTR_CONNS
	statsInPkts   = 2  // IPVS_STATS_ATTR_INPKTS
	statsOutPkts  = 3  // IPVS_STATS_ATTR_OUTPKTS
	statsInBytes  = 4  // IPVS_STATS_ATTR_INBYTES
	statsOutBytes = 5  // IPVS_STATS_ATTR_OUTBYTES
	statsCPS      = 6  // IPVS_STATS_ATTR_CPS
	statsInPPS    = 7  // IPVS_STATS_ATTR_INPPS
	statsOutPPS   = 8  // IPVS_STATS_ATTR_OUTPPS
	statsInBPS    = 9  // IPVS_STATS_ATTR_INBPS
	statsOutBPS   = 10 // IPVS_STATS_ATTR_OUTBPS
)

// The parts of netlink and of the generic-netlink controller that a request needs.
const (
	nlmsgNoop  = 1 // NLMSG_NOOP
	nlmsgError = 2 // NLMSG_ERROR
	nlmsgDone  = 3 // NLMSG_DONE

	nlmHdrLen  = 16 // NLMSG_HDRLEN
	genlHdrLen = 4  // GENL_HDRLEN

	flagRequest = 0x001 // NLM_F_REQUEST
	flagAck     = 0x004 // NLM_F_ACK
	flagDump    = 0x300 // NLM_F_DUMP
	flagCapped  = 0x100 // NLM_F_CAPPED
	flagAckTLVs = 0x200 // NLM_F_ACK_TLVS

	attrNested   = 0x8000 // NLA_F_NESTED
	attrTypeMask = 0x3fff // NLA_TYPE_MASK

	genlIDCtrl         = 16 // GENL_ID_CTRL
	ctrlCmdNewFamily   = 1  // CTRL_CMD_NEWFAMILY
	ctrlCmdGetFamily   = 3  // CTRL_CMD_GETFAMILY
	ctrlAttrFamilyID   = 1  // CTRL_ATTR_FAMILY_ID
	ctrlAttrFamilyName = 2  // CTRL_ATTR_FAMILY_NAME

	extAckMsg = 1 // NLMSGERR_ATTR_MSG
)

// Linux error numbers: the kernel's answers carry them on every system that this package is built for.
const (
	ePERM         = 1
	eNOENT        = 2
	eSRCH         = 3
	eNOMEM        = 12
	eBUSY         = 16
	eEXIST        = 17
	eNODEV        = 19
	eINVAL        = 22
	eRANGE        = 34
	eMSGSIZE      = 90
	eNOPROTOOPT   = 92
	eOPNOTSUPP    = 95
	eAFNOSUPPORT  = 97
	eADDRNOTAVAIL = 99
	eNETUNREACH   = 101
	eNOBUFS       = 105
)
