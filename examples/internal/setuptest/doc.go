// Package setuptest has what the tests of the programs that set machines up share. Most of it needs a real kernel, root and
// the program ip; only tests may import it.
package setuptest
