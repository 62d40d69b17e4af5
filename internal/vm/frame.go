package main

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Kinds of frames on the line from the guest to the host.
const (
	frameHello  = 'H' // pid 1 runs; the payload is the kernel's release
	frameStart  = 'S' // the program is about to start
	frameStdout = 'O' // a piece of the program's standard output
	frameStderr = 'E' // a piece of its standard error
	frameLog    = 'L' // something pid 1 has to say
	frameFile   = 'F' // a piece of a file: its path, a NUL and the bytes, to be appended
	frameExit   = 'X' // the end: the exit status in one byte
)

// maxFrame limits the payload of a frame, in bytes.
const maxFrame = 64 << 10

// requestQuit is the byte that the host sends to have SIGQUIT sent to the program.
const requestQuit = 'Q'

// writeFrame writes one frame in one call of w.Write: kind, length as four bytes big endian, payload.
func writeFrame(w io.Writer, kind byte, payload []byte) error {
	if len(payload) > maxFrame {
		return fmt.Errorf("frame of %d bytes", len(payload))
	}
	b := make([]byte, 5, 5+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

// readFrame reads one frame. The error is io.EOF at the end of the stream, and io.ErrUnexpectedEOF inside of a frame.
func readFrame(r io.Reader) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame %q of %d bytes", head[0], n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return head[0], payload, nil
}
