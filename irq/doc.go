// Package irq places the interrupts of network cards on CPUs: it reads interrupts, cards and topology, computes a
// placement, shows it as a plan, carries it out, verifies it, and takes it back.
//
//	h, err := irq.New(nil)
//	if err != nil {
//		return err
//	}
//	plan, err := h.Plan([]string{"eth0", "eth1"}, irq.PlanOptions{})
//	if err != nil {
//		return err
//	}
//	fmt.Print(plan) // a dry run ends here
//	report, err := h.Apply(ctx, plan, &irq.ApplyOptions{Journal: "run/lvs/irq.json"})
//
// An interrupt is delivered to one CPU at a time, even if its mask allows many; to use several CPUs a card needs
// several queues, or packets are handed on in software (RPS).
//
// Reading and planning needs no privilege; writing needs root in the initial user namespace. Interrupts belong to the
// machine, so there is no choice of a network namespace; sys/class/net shows the cards of the namespace that mounted
// sys. The rest of the package is pure and works on every system. Programs that use the same journal wait for each other.
//
// Tested on Linux 6.1 and 6.12. All values are safe for concurrent use.
package irq
