// Package sysctl knows the kernel parameters around IPVS and changes them in a way that can be shown before, verified
// after, and undone.
//
// It has a registry of parameters with type, range, default and effect ([Tunables]), the values that each role of an
// LVS cluster needs and why ([Profile]), a judge of sysctl lists found elsewhere ([Host.Check]), and the size of the
// connection table, which is a module option ([Host.ConnTab]).
//
//	h, err := sysctl.New(nil)
//	if err != nil {
//		return err
//	}
//	plan, err := h.Plan(sysctl.DirectorDR.Settings(sysctl.Options{}))
//	if err != nil {
//		return err
//	}
//	fmt.Print(plan) // a dry run ends here
//	report, err := h.Apply(ctx, plan, &sysctl.ApplyOptions{Journal: "run/lvs/sysctl.json"})
//
// Reading and planning needs no privilege. Writing needs root in the user namespace that owns the network namespace;
// parameters that belong to the whole machine need root there. The parameters of IPVS exist while the module ip_vs is
// loaded; no function of this package loads a module.
//
// Config.NetNS chooses another network namespace, for which CAP_SYS_ADMIN is needed. Most parameters below net exist
// once per namespace, some in the initial one only, and those of kernel, fs and vm once per machine: [Tunable.Scope].
// The calling thread is never moved.
//
// The registry was compared with Linux 6.1 and 6.12. Parameters of newer kernels can be read and written by their key.
//
// All values are safe for concurrent use. Programs that use the same journal wait for each other. There is no atomic
// change of several parameters: other programs that change the same ones at the same time see each other's values, which
// Apply and Undo notice but cannot prevent.
package sysctl
