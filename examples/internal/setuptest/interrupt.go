package setuptest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golvs/lvs/examples/internal/setup"
)

// asProgram is set in the environment of a test binary that is to be the program: its command line.
const asProgram = "TEST_PROGRAM_LINE"

// Command is the program in a process of its own, if TestMain calls Become. No word of the line has a blank in it.
func (p Program) Command(t testing.TB, line string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asProgram+"="+line)
	return cmd
}

// Become runs the program instead of the tests in a process that Command is for.
func (p Program) Become() {
	if line, ok := os.LookupEnv(asProgram); ok {
		os.Args = append([]string{p.Name}, strings.Fields(line)...)
		setup.Main(p.Name, p.Main)
	}
}

// File is a namespace that another process can be given.
type File interface {
	Place
	File() *os.File
}

// process runs the program in a process of its own, which is sent a signal unless it has ended before. The namespace is that
// at file descriptor 3. The time counts from the first output on, before which nothing is changed; a nil signal is none. It
// returns the process's status, -1 if it was killed, and how long it took.
func (p Program) process(t testing.TB, at File, line string, sig os.Signal, after time.Duration) (status int, took time.Duration, out string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := p.Command(t, line+" -netns /proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{at.File()}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 1)
	if _, err := io.ReadFull(r, text); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if sig != nil {
		timer := time.AfterFunc(after, func() { _ = cmd.Process.Signal(sig) }) // it may be over
		defer timer.Stop()
	}
	rest, err := io.ReadAll(r)
	took = time.Since(begin)
	_ = cmd.Wait() // the status says it
	if err != nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), took, string(append(text, rest...))
}

// Interrupt ends start and stop at random moments, in processes of their own: by SIGINT, after which the machine is in the
// old state or in the new one, as the exit status says, and by SIGKILL, after which stop brings it to the old state. Until
// the end only those parameters are looked at that start changes.
func (p Program) Interrupt(t testing.TB, at File, rounds int, start, stop string) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	run := func(line string) {
		t.Helper()
		p.Do(t, setup.ExitOK, at, strings.Fields(line)...)
	}
	states := map[string]State{stop: Read(t, at.Path())} // after each of them
	end := states[stop]
	length := make(map[string]time.Duration)
	for _, line := range []string{start, stop} {
		status, took, out := p.process(t, at, line, nil, 0)
		if status != setup.ExitOK {
			t.Fatalf("%s %s: status %d\n%s", p.Name, line, status, out)
		}
		if length[line] = took; line == start {
			states[start] = Read(t, at.Path())
		}
	}
	var parameters []string
	for key, value := range states[start] {
		if states[stop][key] != value {
			parameters = append(parameters, key)
		}
	}
	states[start], states[stop] = states[start].only(parameters), states[stop].only(parameters)
	look := func() State {
		t.Helper()
		return read(t, at.Path(), func(s State) error {
			for _, name := range parameters {
				s.parameter(name)
			}
			return nil
		})
	}
	outcomes := make(map[string]int)
	for range rounds {
		for _, line := range []string{start, stop} {
			for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
				want := states[stop] // also after SIGKILL and stop
				if line == stop {
					run(start)
				}
				part := random.Float64()
				moment := time.Duration(part * part * float64(length[line])) // rather early than late: a process takes a while to end
				status, _, out := p.process(t, at, line, sig, moment)
				outcomes[fmt.Sprintf("%s, %v, status %d", strings.Fields(line)[0], sig, status)]++
				switch {
				case sig == syscall.SIGKILL:
					run(stop)
				case (line == start) == (status == setup.ExitOK):
					want = states[start]
				}
				if diff := want.Diff(look()); diff != nil {
					t.Errorf("seed %d: %s %s: %v after %v, status %d: the machine is not as it should be:\n%s\n%s",
						seed, p.Name, line, sig, moment, status, strings.Join(diff, "\n"), out)
				}
				if sig == syscall.SIGINT {
					run(stop)
				}
			}
		}
	}
	if diff := end.Diff(Read(t, at.Path())); diff != nil {
		t.Errorf("seed %d: at the end the machine is not as before:\n%s", seed, strings.Join(diff, "\n"))
	}
	t.Logf("%v", outcomes)
}
