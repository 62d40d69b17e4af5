package irq_test

import (
	"fmt"

	"github.com/golvs/lvs/irq"
)

// Two hyper-threaded CPUs, two cards with one queue each: one card on each core, and not 3 and 2, which would share one.
func ExampleSpread() {
	machine := irq.Topology{
		NR:     4,
		Online: irq.CPUs(0, 1, 2, 3),
		Cores:  []irq.Core{{Threads: irq.CPUs(0, 1), Cache: 0}, {Threads: irq.CPUs(2, 3), Package: 1, Cache: 2}},
		Nodes:  []irq.Node{{ID: 0, CPUs: irq.CPUs(0, 1, 2, 3)}},
	}
	cards := []irq.NIC{
		{Name: "eth0", Node: -1, Queues: []irq.Queue{{Interrupts: []irq.Interrupt{{IRQ: 24}}}}},
		{Name: "eth1", Node: -1, Queues: []irq.Queue{{Interrupts: []irq.Interrupt{{IRQ: 25}}}}},
	}
	layout, err := irq.Spread(machine, cards, irq.SpreadOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, q := range layout.Queues {
		fmt.Printf("%s: irq %d, CPU %v, mask %s\n", q.NIC, q.Interrupts[0].IRQ, q.CPUs, q.CPUs.Mask(machine.NR))
	}
	// Output:
	// eth0: irq 24, CPU 3, mask 8
	// eth1: irq 25, CPU 1, mask 2
}

func ExampleParseMask() {
	set, err := irq.ParseMask("1000,00000000,00000001")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(set, set.Len())
	// Output: 0,76 2
}
