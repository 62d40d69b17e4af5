// Package guest has tests that are run inside of a machine, to see what comes out.
package guest
