package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golvs/lvs/internal/nstest"
)

// The programs are compared from start to exit, with 1,000 services of ten servers each. In a machine that counts instructions a
// nanosecond is one of them, the kernel's included:
//
//	go test -exec "$PWD/bin/vm -kernel 6.12 -icount -program ipvsadm" -run '^$' -bench Restore/ipvsadm -benchtime 1x ./examples/ipvsadm
//	go test -exec "$PWD/bin/vm -kernel 6.12 -icount -program ipvsadm" -run '^$' -bench Restore/ours -benchtime 1x ./examples/ipvsadm
//
// and the same with List. Each restore needs a machine of its own, in which it is done once (1x): in one that held a large
// table before, the kernel takes a quarter of a million instructions more for every ten servers, whoever asks for them.

// BenchmarkIntegrationRestore restores the table.
func BenchmarkIntegrationRestore(b *testing.B) {
	benchmark(b, func(b *testing.B, run func(stdin string, args ...string)) {
		rules := table()
		for b.Loop() {
			run(rules, "-R")
			b.StopTimer()
			run("", "-C")
			b.StartTimer()
		}
	})
}

// BenchmarkIntegrationList lists the table.
func BenchmarkIntegrationList(b *testing.B) {
	benchmark(b, func(b *testing.B, run func(stdin string, args ...string)) {
		run(table(), "-R")
		for b.Loop() {
			run("", "-Ln")
		}
	})
}

func table() string {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "-A -t 10.0.0.1:%d -s rr\n", i+1)
		for j := range 10 {
			fmt.Fprintf(&text, "-a -t 10.0.0.1:%d -r 10.1.%d.%d:80 -m -w 1\n", i+1, i%256, j+1)
		}
	}
	return text.String()
}

// benchmark measures with each of the programs, in a namespace of its own.
func benchmark(b *testing.B, measure func(b *testing.B, run func(stdin string, args ...string))) {
	nstest.RequireKernel(b)
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range []struct{ name, path string }{{"ipvsadm", "ipvsadm"}, {"ours", self}} {
		b.Run(p.name, func(b *testing.B) {
			ns := nstest.New(b)
			dir := b.TempDir()
			measure(b, func(stdin string, args ...string) {
				cmd := exec.Command(p.path, args...)
				cmd.Env = append(os.Environ(), "IPVSADM_TEST_RUN=1")
				var errs bytes.Buffer
				cmd.Stderr = &errs
				out, err := os.Create(filepath.Join(dir, "out"))
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = out.Close() }()
				cmd.Stdout = out
				if stdin != "" {
					in := filepath.Join(dir, "in")
					if err := os.WriteFile(in, []byte(stdin), 0o600); err != nil {
						b.Fatal(err)
					}
					f, err := os.Open(in)
					if err != nil {
						b.Fatal(err)
					}
					defer func() { _ = f.Close() }()
					cmd.Stdin = f
				}
				ns.Do(b, func() { err = cmd.Run() })
				if err != nil || errs.Len() != 0 {
					b.Fatalf("%q: %v, %s", args, err, errs.String())
				}
			})
		})
	}
}
