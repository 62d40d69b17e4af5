//go:build !unix

package ipvs

type transfer struct{}

func (l *link) prepare() error              { return nil }
func (l *link) send([]byte) error           { return errPlatform }
func (l *link) recv([]byte) (int, error)    { return 0, errPlatform }
func (l *link) tryRecv([]byte) (int, error) { return 0, errPlatform }
