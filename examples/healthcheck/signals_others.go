//go:build !unix

package main

import "os"

// There are no such signals here.
var reloadSignals, statusSignals []os.Signal
