package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// accel says how to run guests on this host. A kvm device is not enough to know: there are hosts where it opens and then
// fails at the guest's first instructions. So a machine is tried, once per start of the host.
func (c *cache) accel(k kernel) (string, error) {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return accelTCG, nil
	}
	f.Close()
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	unlock, err := c.lock("accel")
	if err != nil {
		return "", err
	}
	defer unlock()
	path := c.path("accel-" + strings.TrimSpace(string(id)))
	if known, err := os.ReadFile(path); err == nil {
		return strings.TrimSpace(string(known)), nil
	}
	accel := accelTCG
	works, err := c.probeKVM(k)
	if err != nil {
		return "", err
	}
	if works {
		accel = accelKVM
	}
	old, _ := filepath.Glob(c.path("accel-*"))
	for _, name := range old {
		os.Remove(name)
	}
	return accel, c.writeFile(path, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, accel)
		return err
	})
}

// probeKVM boots a machine up to its first process.
func (c *cache) probeKVM(k kernel) (bool, error) {
	o := options{CPUs: 1, Memory: 256}
	set, err := c.modules(k, o)
	if err != nil {
		return false, err
	}
	cfg := guestConfig{Probe: true}
	if cfg.Transport, err = set.pick(transportModules); err != nil {
		return false, err
	}
	initrd, err := newInitrd()
	if err != nil {
		return false, err
	}
	defer initrd.Close()
	a := newArchive(initrd)
	if err := a.skeleton(); err != nil {
		return false, err
	}
	if err := a.init(cfg); err != nil {
		return false, err
	}
	if err := a.close(); err != nil {
		return false, err
	}
	modules, err := os.Open(set.archive)
	if err != nil {
		return false, err
	}
	defer modules.Close()
	if _, err := io.Copy(initrd, modules); err != nil {
		return false, err
	}
	m, err := startMachine(o, k.Image, accelKVM, initrd, &console{}, io.Discard, io.Discard)
	if err != nil {
		return false, err
	}
	defer m.stop()
	timeout := time.After(probeTimeout)
	select {
	case e := <-m.events:
		return e.kind == frameHello, nil
	case <-m.exited:
	case <-timeout:
	}
	return false, nil
}
