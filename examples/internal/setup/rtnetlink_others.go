//go:build !linux

package setup

func exchange(string, []byte) ([][]byte, error) { return nil, unsupported() }
