// Package setup is what the example programs have in common: the skeleton of a program, flag values, and the parts that a
// machine's role consists of, each of which can be planned, started, checked and taken back.
//
//	func main() { setup.Main("dr", method().Run) }
//
// A [Method] is a program with the verbs start, stop and status; [Env] and the flag values serve other programs as well.
package setup
