package ipvstest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/golvs/lvs/ipvs"
)

// Dial opens a client of the kernel that a text names, which programs usually take from an environment variable: an
// empty text is the host's kernel, as [ipvs.Dial] with cfg; "memory:FILE" is a kernel in memory whose state is read from
// FILE, if it exists, and written back when the client is closed by the returned function; "memory:" is an empty one.
// The clock of a kernel in memory goes on by itself, but not between runs.
//
// No packets come to such a kernel. A program that sends some itself, for a demonstration, makes one with [New], asks it for a
// [Kernel.Client], and keeps its state with [Kernel.LoadFile] and [Kernel.SaveFile] if it likes.
//
// The function closes the client, and the kernel if it is one in memory; its error says that the state was not kept.
func Dial(ctx context.Context, kernel string, cfg *ipvs.Config) (*ipvs.Client, func() error, error) {
	if kernel == "" {
		c, err := ipvs.Dial(ctx, cfg)
		if err != nil {
			return nil, nil, err
		}
		return c, c.Close, nil
	}
	path, ok := strings.CutPrefix(kernel, "memory:")
	if !ok {
		return nil, nil, fmt.Errorf(`ipvstest: kernel %q is not of the form "memory:FILE": %w`, kernel, fs.ErrInvalid)
	}
	k, err := New(&Config{RealTime: true})
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*ipvs.Client, func() error, error) {
		return nil, nil, errors.Join(err, k.Close())
	}
	if path != "" {
		if err := k.LoadFile(path); err != nil {
			return fail(err)
		}
	}
	c, err := k.Client()
	if err != nil {
		return fail(err)
	}
	return c, func() error {
		err := c.Close()
		if path != "" {
			err = errors.Join(err, k.SaveFile(path))
		}
		return errors.Join(err, k.Close())
	}, nil
}

// LoadFile replaces the kernel's state by that of a file, as [Kernel.Load] does. A file that does not exist, or is empty,
// changes nothing.
func (k *Kernel) LoadFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		return nil
	}
	if err := k.Load(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// SaveFile writes the kernel's state to a file, see [Kernel.Save]. The file is replaced as a whole, so that a crash leaves the
// old state or the new one.
func (k *Kernel) SaveFile(path string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := errors.Join(k.Save(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
