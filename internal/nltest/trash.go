package nltest

import (
	"slices"
	"time"
)

// The trash is looked at every trashLook while there is something in it; an object leaves at the first look trashKeep after
// the one that found it unreferenced.
const (
	trashLook = 60 * time.Second
	trashKeep = 120 * time.Second
)

// discard moves a destination, already taken off its service's list, to the trash. Its rates stand still there.
func (ns *Namespace) discard(d *dest) {
	ns.stopEstimator(d.object)
	d.refresh() // for the last time: what is in the trash does not count
	d.idle = false
	if len(ns.trash) == 0 {
		ns.k.arm(ns.look, ns.k.now.Add(trashLook))
	}
	ns.trash = append(ns.trash, d)
	ns.changed(DestDeleted, d.svc, d)
}

// takeBack removes from the trash and returns the object that the new destination r of s is to be, or nil.
func (ns *Namespace) takeBack(s *service, r *dest) *dest {
	i := slices.IndexFunc(ns.trash, func(d *dest) bool {
		// Of a mark service the family does not count.
		return d.key() == r.key() && d.svc.mark == s.mark && (s.mark != 0 || d.svc.key() == s.key())
	})
	if i < 0 {
		return nil
	}
	d := ns.trash[i]
	ns.trash = slices.Delete(ns.trash, i, i+1)
	return d
}

// lookAtTrash is the timer's work.
func (ns *Namespace) lookAtTrash() {
	now := ns.k.now.UnixNano()
	ns.trash = slices.DeleteFunc(ns.trash, func(d *dest) bool {
		switch {
		case d.conns.inUse(), ns.k.path.Held(ns.name, d.svc.id(), d.addrPort()):
			return false
		case !d.idle:
			d.idle, d.when = true, now
			return false
		case now-d.when < int64(trashKeep):
			return false
		}
		ns.changed(DestFreed, d.svc, d)
		return true
	})
	if len(ns.trash) > 0 {
		ns.k.arm(ns.look, ns.k.now.Add(trashLook))
	}
}
