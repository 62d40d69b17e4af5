//go:build !linux

package arp

import (
	"errors"
	"time"

	"github.com/golvs/lvs/internal/hostfs"
)

type packet struct{}

func openPacket(hostfs.NetNS, int, uint16) (*packet, error) { return nil, errors.ErrUnsupported }

func (*packet) close() error                           { return errors.ErrUnsupported }
func (*packet) send([]byte) error                      { return errors.ErrUnsupported }
func (*packet) receive([]byte, time.Time) (int, error) { return 0, errors.ErrUnsupported }
