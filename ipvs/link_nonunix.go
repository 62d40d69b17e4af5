//go:build !unix

package ipvs

type transfer struct{}

func (l *link) prepare(int) error         { return nil }
func (l *link) send([]byte) error         { return errPlatform }
func (l *link) recv(bool) ([]byte, error) { return nil, errPlatform }
func (l *link) tryRecv() ([]byte, error)  { return nil, errPlatform }
