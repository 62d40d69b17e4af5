package main

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	for _, payload := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte{0xff}, maxFrame)} {
		if err := writeFrame(&b, frameStdout, payload); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeFrame(&b, frameStdout, make([]byte, maxFrame+1)); err == nil {
		t.Fatal("a frame that no reader takes was written")
	}
	for _, want := range []int{0, 1, maxFrame} {
		kind, payload, err := readFrame(&b)
		if err != nil || kind != frameStdout || len(payload) != want {
			t.Fatalf("got kind %q, %d bytes, error %v; want %d bytes", kind, len(payload), err, want)
		}
	}
	if _, _, err := readFrame(&b); err != io.EOF {
		t.Fatalf("got error %v at the end, want EOF", err)
	}
	big := append([]byte{'O', 0, 1, 0, 1}, make([]byte, maxFrame+1)...)
	if _, _, err := readFrame(bytes.NewReader(big)); err == nil {
		t.Fatal("a frame longer than any that is written was read")
	}
	if _, _, err := readFrame(bytes.NewReader([]byte{'O', 0, 0, 0, 1})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got error %v within a frame, want %v", err, io.ErrUnexpectedEOF)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{'O', 0, 0, 0, 2, 'h', 'i'})
	f.Add([]byte{'X', 0, 0, 0, 0})
	f.Add([]byte{'O', 0xff, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, payload, err := readFrame(bytes.NewReader(data))
		if err != nil {
			if payload != nil {
				t.Fatal("both a payload and an error")
			}
			return
		}
		var b bytes.Buffer
		if err := writeFrame(&b, kind, payload); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), data[:b.Len()]) {
			t.Fatalf("read % x from % x", b.Bytes(), data)
		}
	})
}
