package nltest

// A daemon is a running synchronisation daemon.
type daemon struct {
	state  uint32
	ifname string
	syncID uint32
	maxLen uint16
	port   uint16
	ttl    uint8
	group  []byte // 4 or 16 bytes
}

// addDaemon executes NEW_DAEMON.
func (ns *Namespace) addDaemon(f fields) Errno {
	if !f.has(daemonState, daemonIfname, daemonSyncID) {
		return EINVAL
	}
	d := &daemon{
		state: f.u32(daemonState), ifname: f.str(daemonIfname), syncID: f.u32(daemonSyncID),
		maxLen: f.u16(daemonMaxLen), port: f.u16(daemonPort), ttl: f.u8(daemonTTL),
	}
	switch {
	case f.has(daemonGroup):
		d.group = append(d.group, f[daemonGroup][:4]...)
		if d.group[0]&0xf0 != 0xe0 {
			return EINVAL
		}
	case f.has(daemonGroup6):
		d.group = append(d.group, f[daemonGroup6][:16]...)
		if d.group[0] != 0xff {
			return EINVAL
		}
	default:
		d.group = []byte{224, 0, 0, 81}
	}
	if ns.mixed() {
		return EINVAL
	}
	dev := ns.device(d.ifname)
	if dev == nil {
		return ENODEV
	}
	if d.state != stateMaster && d.state != stateBackup {
		return EINVAL
	}
	if ns.daemons[d.state-1] != nil {
		return EEXIST
	}
	if d.state == stateMaster && !dev.up {
		return ENETUNREACH
	}
	d.limit(dev.mtu)
	ns.daemons[d.state-1] = d
	return 0
}

// limit applies defaults and limits to a daemon on a device of the given MTU.
func (d *daemon) limit(mtu int) {
	headers, least, base := 28, 1, 1500
	if len(d.group) == 16 {
		headers = 48
	}
	if d.state == stateBackup {
		least, base = 1024, min(max(mtu, 1500), 65535)
	}
	if d.maxLen == 0 {
		d.maxLen = uint16(base - headers)
	} else {
		d.maxLen = uint16(min(max(int(d.maxLen), least), 65535-headers))
	}
	if d.port == 0 {
		d.port = 8848
	}
	if d.ttl == 0 {
		d.ttl = 1
	}
}

// deleteDaemon executes DEL_DAEMON.
func (ns *Namespace) deleteDaemon(f fields) Errno {
	state := f.u32(daemonState)
	if state != stateMaster && state != stateBackup {
		return EINVAL // also when it is missing
	}
	if ns.daemons[state-1] == nil {
		return ESRCH
	}
	ns.daemons[state-1] = nil
	return 0
}

// append writes the daemon as a DAEMON nest.
func (d *daemon) append(e *encoder) {
	e.nest(topDaemon, func() {
		e.u32(daemonState, d.state)
		e.str(daemonIfname, d.ifname)
		e.u32(daemonSyncID, d.syncID)
		e.u16(daemonMaxLen, d.maxLen)
		e.u16(daemonPort, d.port)
		e.u8(daemonTTL, d.ttl)
		if len(d.group) == 16 {
			e.attr(daemonGroup6, d.group)
		} else {
			e.attr(daemonGroup, d.group)
		}
	})
}
