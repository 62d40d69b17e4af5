package ipvs

// arena gives lists of destinations their memory: many short ones share a block, and each can take the place of an
// older one.
type arena struct {
	block []DestinationStatus // what its lists use
	list  []DestinationStatus // the one that is being read
	older bool                // it is in the memory of an older list
}

// Numbers of destinations in a block.
const (
	leastBlock = 8
	mostBlock  = 2048
)

// begin starts a list, in the memory of an older one if that has any.
func (a *arena) begin(older []DestinationStatus) {
	a.older = cap(older) > 0
	if a.older {
		a.list = older[:0]
	} else {
		a.list = a.block[len(a.block):]
	}
}

// next returns the place of one more destination, where anything may be.
func (a *arena) next() *DestinationStatus {
	n := len(a.list)
	if n == cap(a.list) {
		a.grow()
	}
	a.list = a.list[:n+1]
	return &a.list[n]
}

// grow moves the list to a new block, with room for as many again.
func (a *arena) grow() {
	size := max(min(2*cap(a.block), mostBlock), 2*len(a.list), leastBlock)
	list := make([]DestinationStatus, len(a.list), size)
	copy(list, a.list)
	a.block, a.list, a.older = list[:0], list, false
}

// end returns the list, which is not nil. Later lists leave it alone.
func (a *arena) end() []DestinationStatus {
	list := a.list
	a.list = nil
	switch {
	case list == nil:
		return []DestinationStatus{}
	case a.older:
		return list
	}
	a.block = a.block[:len(a.block)+len(list)]
	return list[:len(list):len(list)]
}
