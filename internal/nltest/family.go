package nltest

// An op is an operation of a family, as the controller describes it.
type op struct {
	id    uint8
	flags uint32
}

// A family is a generic netlink family. There are two: the controller and IPVS.
type family struct {
	id      uint16
	name    string
	version uint32
	maxAttr uint32
	ops     []op
	groups  map[string]uint32
}

// ipvsOps returns the operations of the IPVS family.
func (v versionFacts) ipvsOps() []op {
	var ops []op
	for c := NewService; c <= FlushServices; c++ {
		switch c {
		case GetService:
			ops = append(ops, op{uint8(c), opAdmin | opDo | opDump | opPolicy})
		case GetDest, GetDaemon:
			ops = append(ops, op{uint8(c), v.dumpOnly})
		case SetInfo: // a reply only
		default:
			ops = append(ops, op{uint8(c), opAdmin | opDo | opPolicy})
		}
	}
	return ops
}

// families returns the registered families by ascending id.
func (k *Kernel) families() []family {
	all := []family{{
		id: typeControl, name: "nlctrl", version: ctrlVersion, // with policies by operation, and so no largest attribute
		ops:    []op{{ctrlGetFamily, opDo | opDump | opPolicy}, {ctrlGetPolicy, opDump | opPolicy}},
		groups: map[string]uint32{"notify": 16},
	}}
	if k.loaded {
		all = append(all, family{id: k.family, name: familyName, version: familyVersion, maxAttr: topMax, ops: k.facts.ipvsOps()})
	}
	return all
}

// append writes the description of a family.
func (f family) append(e *encoder) {
	e.str(ctrlFamilyName, f.name)
	e.u16(ctrlFamilyID, f.id)
	e.u32(ctrlAttrVersion, f.version)
	e.u32(ctrlHeaderSize, 0)
	e.u32(ctrlMaxAttr, f.maxAttr)
	e.nest(ctrlOps, func() {
		for i, o := range f.ops {
			e.nest(uint16(i+1), func() {
				e.u32(ctrlOpID, uint32(o.id))
				e.u32(ctrlOpFlags, o.flags)
			})
		}
	})
	if len(f.groups) == 0 {
		return
	}
	e.nest(ctrlGroups, func() {
		for name, id := range f.groups { // one group at most
			e.nest(1, func() {
				e.u32(ctrlGroupID, id)
				e.str(ctrlGroupName, name)
			})
		}
	})
}

// control executes a request to the controller.
func (s *session) control(req []byte, h header) outcome {
	if h.cmd == ctrlGetFamily && h.flags&flagDump == flagDump {
		return s.startDump(req, h)
	}
	if h.cmd != ctrlGetFamily || h.flags&flagDump == flagDump {
		return outcome{errno: EOPNOTSUPP}
	}
	f, left, bad := ctrlPolicy.parse(req[genHeaderLen:], genHeaderLen)
	out := outcome{left: left}
	if bad != nil {
		return outcome{errno: bad.errno, bad: bad}
	}
	if !f.has(ctrlFamilyID) && !f.has(ctrlFamilyName) {
		out.errno = EINVAL
		return out
	}
	if f.has(ctrlFamilyName) && f.str(ctrlFamilyName) == familyName {
		s.k.autoload()
	}
	out.errno = ENOENT
	for _, fam := range s.k.families() {
		byName := f.has(ctrlFamilyName) && fam.name == f.str(ctrlFamilyName)
		byID := !f.has(ctrlFamilyName) && fam.id == f.u16(ctrlFamilyID)
		if byName || byID {
			e := genMessage(s.replyHeader(h, typeControl, 0, ctrlNewFamily, ctrlVersion))
			fam.append(e)
			out.reply, out.errno = e.finish(), 0
		}
	}
	return out
}
