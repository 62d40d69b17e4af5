//go:build !unix

package hostfs

func writeOnce(path string, data []byte) error { return writeExisting(path, data) }

func syncDir(string) error { return nil }
