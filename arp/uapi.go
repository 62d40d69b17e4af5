package arp

// Numbers of rtnetlink(7), the fou family of generic netlink and Ethernet. They are here, and not taken from
// golang.org/x/sys/unix, so that the codec builds and is tested on every system.
const (
	afInet  = 2
	afInet6 = 10

	typeNewLink  = 16 // RTM_NEWLINK
	typeDelLink  = 17 // RTM_DELLINK
	typeGetLink  = 18 // RTM_GETLINK
	typeNewAddr  = 20 // RTM_NEWADDR
	typeDelAddr  = 21 // RTM_DELADDR
	typeGetAddr  = 22 // RTM_GETADDR
	typeNewRoute = 24 // RTM_NEWROUTE
	typeGetRoute = 26 // RTM_GETROUTE
	typeNewNeigh = 28 // RTM_NEWNEIGH
	typeGetNeigh = 30 // RTM_GETNEIGH
	typeCtrl     = 16 // GENL_ID_CTRL, on a socket of generic netlink

	ifaAddress   = 1 // IFA_ADDRESS
	ifaLocal     = 2 // IFA_LOCAL
	ifaLabel     = 3 // IFA_LABEL
	ifaCacheInfo = 6 // IFA_CACHEINFO
	ifaFlags     = 8 // IFA_FLAGS
	ifaFNoPrefix = 0x200

	iflaAddress  = 1  // IFLA_ADDRESS
	iflaName     = 3  // IFLA_IFNAME
	iflaMTU      = 4  // IFLA_MTU
	iflaLinkInfo = 18 // IFLA_LINKINFO
	infoKind     = 1  // IFLA_INFO_KIND
	infoData     = 2  // IFLA_INFO_DATA

	iptunLocal  = 2 // IFLA_IPTUN_LOCAL
	iptunRemote = 3 // IFLA_IPTUN_REMOTE

	greIFlags = 2      // IFLA_GRE_IFLAGS
	greOFlags = 3      // IFLA_GRE_OFLAGS
	greLocal  = 6      // IFLA_GRE_LOCAL
	greRemote = 7      // IFLA_GRE_REMOTE
	greCsum   = 0x8000 // GRE_CSUM, in network order

	rtaDst     = 1  // RTA_DST
	rtaOIF     = 4  // RTA_OIF
	rtaTable   = 15 // RTA_TABLE
	rtnLocal   = 2  // RTN_LOCAL
	tableLocal = 255

	ndaDst   = 1    // NDA_DST
	ntfProxy = 0x08 // NTF_PROXY

	ctrlGetFamily  = 3 // CTRL_CMD_GETFAMILY
	ctrlFamilyID   = 1 // CTRL_ATTR_FAMILY_ID
	ctrlFamilyName = 2 // CTRL_ATTR_FAMILY_NAME

	fouAdd       = 1 // FOU_CMD_ADD
	fouDel       = 2 // FOU_CMD_DEL
	fouGet       = 3 // FOU_CMD_GET
	fouPort      = 1 // FOU_ATTR_PORT
	fouAF        = 2 // FOU_ATTR_AF
	fouProto     = 3 // FOU_ATTR_IPPROTO
	fouType      = 4 // FOU_ATTR_TYPE
	fouTypeGUE   = 2 // FOU_ENCAP_GUE
	fouTypePlain = 1 // FOU_ENCAP_DIRECT

	hwEthernet = 1 // ARPHRD_ETHER

	etherARP  = 0x0806 // ETH_P_ARP
	etherIPv6 = 0x86dd // ETH_P_IPV6

	maxName = 15 // IFNAMSIZ without the terminating zero
)

// Errors with Linux's numbers on every system.
const (
	errnoPERM         = 1
	errnoNOENT        = 2
	errnoSRCH         = 3
	errnoINTR         = 4
	errnoNXIO         = 6
	errnoACCES        = 13
	errnoEXIST        = 17
	errnoNODEV        = 19
	errnoINVAL        = 22
	errnoRANGE        = 34
	errnoOPNOTSUPP    = 95
	errnoADDRINUSE    = 98
	errnoADDRNOTAVAIL = 99
	errnoNETDOWN      = 100
)
