package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// guestPATH is where the guest looks for programs.
var guestPATH = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// pluginFolders lists the folders of what a program opens by itself; the pattern is that of the program's file name. What
// matches the paths is taken if it is there.
var pluginFolders = []struct {
	program string
	paths   []string
}{
	{"iptables*", []string{"/usr/lib/*/xtables/lib[ix]*t_*.so", "/usr/lib/xtables/lib[ix]*t_*.so"}},
	{"ip6tables*", []string{"/usr/lib/*/xtables/lib[ix]*t_*.so", "/usr/lib/xtables/lib[ix]*t_*.so"}},
	{"xtables-*", []string{"/usr/lib/*/xtables/lib[ix]*t_*.so", "/usr/lib/xtables/lib[ix]*t_*.so"}},
	{"ip", []string{"/etc/iproute2/*", "/usr/share/iproute2/*"}},
	{"tc", []string{"/etc/iproute2/*", "/usr/share/iproute2/*", "/usr/lib/tc/*.dist"}},
}

// findProgram looks for a program on the host: in PATH and, because an unprivileged user's PATH may lack them, in the
// guest's folders.
func findProgram(name string) (string, error) {
	if strings.Contains(name, "/") {
		return filepath.Abs(name)
	}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), guestPATH...) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s is not on this host: install its package", name)
}

// program adds a program of the host, at its own path and under its name in the guest's PATH, with its libraries and what
// it is known to open.
func (a *archive) program(l *linker, path string) error {
	if err := a.executable(l, path); err != nil {
		return err
	}
	if !slices.Contains(guestPATH, filepath.Dir(path)) && !strings.HasSuffix(path, ".test") {
		if err := a.symlink("/usr/local/bin/"+filepath.Base(path), path); err != nil {
			return err
		}
	}
	for _, known := range pluginFolders {
		if ok, _ := filepath.Match(known.program, filepath.Base(path)); !ok {
			continue
		}
		for _, pattern := range known.paths {
			matches, err := filepath.Glob(pattern)
			if err != nil {
				return err
			}
			for _, match := range matches {
				if err := a.executable(l, match); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// executable adds a file and, if it is an ELF file, the libraries it needs.
func (a *archive) executable(l *linker, path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return a.hostTree(path)
	}
	if err := a.hostLink(path); err != nil {
		return err
	}
	libs, err := l.files(path)
	if _, notELF := errors.AsType[*elf.FormatError](err); notELF {
		return nil
	}
	if err != nil {
		return err
	}
	for _, lib := range libs {
		if err := a.hostLink(lib); err != nil {
			return err
		}
	}
	return nil
}

// skeleton adds the folders and files of /etc that every guest has.
func (a *archive) skeleton() error {
	if err := a.merged(); err != nil {
		return err
	}
	for dir, perm := range map[string]fs.FileMode{
		"/dev": 0o755, "/proc": 0o555, "/sys": 0o555, "/run": 0o755, "/root": 0o700, "/var/run": 0o755, "/var/lib": 0o755,
		"/var/log": 0o755, "/tmp": 0o777 | fs.ModeSticky, "/var/tmp": 0o777 | fs.ModeSticky, "/etc": 0o755,
	} {
		if err := a.dir(dir, perm); err != nil {
			return err
		}
	}
	for name, fallback := range map[string]string{"services": fewServices, "protocols": fewProtocols} {
		data, err := os.ReadFile("/etc/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			data = []byte(fallback)
		} else if err != nil {
			return err
		}
		if err := a.file("/etc/"+name, 0o644, data); err != nil {
			return err
		}
	}
	for name, text := range etcFiles {
		if err := a.file("/etc/"+name, 0o644, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// etcFiles are the same in every guest, whatever the host has.
var etcFiles = map[string]string{
	"hosts":         "127.0.0.1 localhost\n",
	"hostname":      "vm\n",
	"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n",
	"passwd": "root:x:0:0:root:/root:/bin/sh\n" +
		"daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n" +
		"tcpdump:x:108:113::/nonexistent:/usr/sbin/nologin\n" +
		"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
	"group": "root:x:0:\ndaemon:x:1:\ntcpdump:x:113:\nnogroup:x:65534:\n",
}

// What a host without these files (package netbase) gets.
const (
	fewServices = "ftp-data 20/tcp\nftp 21/tcp\nssh 22/tcp\ntelnet 23/tcp\nsmtp 25/tcp mail\ndomain 53/tcp\ndomain 53/udp\n" +
		"http 80/tcp www\nntp 123/udp\nhttps 443/tcp\nhttps 443/udp\nsip 5060/tcp\nsip 5060/udp\nhttp-alt 8080/tcp webcache\n"
	fewProtocols = "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\n"
)
