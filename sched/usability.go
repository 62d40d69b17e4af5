package sched

// usability finds the next usable server of at least some weight. It is a tree of maxima: row 0 holds, by slot, the
// weight of each usable server and 0 for others; each element of a higher row is the maximum of eight below. Rows
// are padded with zeros to a multiple of eight, and the highest one has its maximum at index 0.
type usability struct {
	rows [][]int32
}

const (
	fanShift = 3
	fan      = 1 << fanShift
)

// usableWeight is the element of row 0.
func usableWeight(d *Server) int32 {
	if d == nil || d.limit.overloaded {
		return 0
	}
	return d.weight
}

// build starts anew from the list, with room to grow.
func (u *usability) build(l *list) {
	u.rows = u.rows[:0]
	for n := max(2*len(l.slots), fan); ; n = (n + fan - 1) / fan {
		u.rows = append(u.rows, make([]int32, (n+fan-1)/fan*fan))
		if n == 1 {
			break
		}
	}
	for i, d := range l.slots {
		u.rows[0][i] = usableWeight(d)
	}
	for r := 1; r < len(u.rows); r++ {
		for i := range (len(u.rows[r-1])) / fan {
			u.rows[r][i] = u.maximum(r-1, i)
		}
	}
}

// maximum returns the maximum of block i of a row.
func (u *usability) maximum(row, i int) int32 {
	block := u.rows[row][i<<fanShift:][:fan]
	m := block[0]
	for _, w := range block[1:] {
		m = max(m, w)
	}
	return m
}

func (u *usability) add(l *list, d *Server) {
	if len(l.slots) > len(u.rows[0]) {
		u.build(l)
		return
	}
	u.update(d)
}

func (u *usability) update(d *Server) { u.set(d.slot, usableWeight(d)) }

func (u *usability) set(i int, w int32) {
	for r := range u.rows {
		if u.rows[r][i] == w {
			return
		}
		u.rows[r][i] = w
		i >>= fanShift
		w = u.maximum(r, i)
	}
}

// max returns the largest weight of a usable server, 0 if there is none.
func (u *usability) max() int32 { return u.rows[len(u.rows)-1][0] }

// next returns the first slot after i in the order of the list, that is the highest one below i, whose server is
// usable and has at least the weight least, which must be positive; -1 if there is none.
func (u *usability) next(i int, least int32) int {
	for r, row := range u.rows {
		for i&(fan-1) != 0 {
			i--
			if row[i] >= least {
				return u.descend(r, i, least)
			}
		}
		i >>= fanShift // what is left of the row are whole blocks
	}
	return -1
}

// descend finds the highest slot below element i of a row, which is known to have one.
func (u *usability) descend(r, i int, least int32) int {
	for r > 0 {
		r--
		i = i<<fanShift + fan - 1
		for row := u.rows[r]; row[i] < least; {
			i--
		}
	}
	return i
}
