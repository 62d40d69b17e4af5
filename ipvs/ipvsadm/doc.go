// Package ipvsadm speaks the language of ipvsadm(8), version 1.31: its command lines, the rule files that its -S writes
// and its -R reads, its listings and its messages, to the byte. Text goes in and typed values of package ipvs come out, and
// the other way round.
//
//	op, err := ipvsadm.Parse([]string{"-A", "-t", "192.0.2.1:80", "-s", "rr"})
//	if err != nil {
//		return err // what ipvsadm would print, and at which word
//	}
//	if err := op.Apply(ctx, client); err != nil {
//		return err
//	}
//	table, err := ipvsadm.ReadTable(ctx, client)
//	if err != nil {
//		return err
//	}
//	return ipvsadm.Listing{}.WriteTable(ctx, os.Stdout, table, nil)
//
// Parsing and printing need no kernel and no privilege; only what takes an [ipvs.Client] does, and that package says what
// it needs. [Program] is the whole of ipvsadm.
//
// # Rule files
//
// A rule file has a command line on each line, without the program's name; [Parser.Rules] reads them. ipvsadm itself
// has no comments, no quotes, and stops or goes on after a mistake depending on its kind; [Program] does the same, while a
// [Parser] with Strict reads comments and names the line.
//
// # The lossless form
//
// What ipvsadm -S writes ([WriteSave]) lacks thresholds, timeouts and daemons, and changes the order of destinations.
// [Operations] brings everything back, in the kernel's order, and a [Parser] with Lossless reads their text. ipvsadm
// reads it too as long as the state could have been made with ipvsadm; [Operation] lists the words that only this package
// knows. [FromChange] writes the plans of package ipvs in it.
//
// # Differences from ipvsadm 1.31
//
// Servers' counters are printed with all of their 64 bits, where the original keeps the low 32. An option -b with commas
// only, which ends the original with a signal, is an empty list. A line of the connection table of more than 254 bytes is
// one row, and no second row of garbage. Words of more than 4096 bytes in a rule file are refused. What other programs can
// make and ipvsadm has no name for, such as the forwarding method 4, is listed by number or name, where the original
// prints "(null)" or ends with a signal; -S writes such methods as -g. The text of -h is another one. Everything else that
// differs is asked for by an option that the original does not have.
//
// Checked against ipvsadm 1.31 on Linux 6.1 and 6.12. Everything here is safe for concurrent use.
package ipvsadm
