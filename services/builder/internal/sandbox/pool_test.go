package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/builder/internal/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.Requested(os.Args) {
		os.Exit(sandbox.Child(func() {}, probe))
	}
	os.Exit(m.Run())
}

// probe tries, in a child, what a build must not be able to do.
func probe(request []byte) ([]byte, bool) {
	word, argument, _ := strings.Cut(string(request), " ")
	try, ok := attempts()[word]
	if !ok {
		return []byte("unknown request"), false
	}
	out, err := try(argument)
	if err != nil {
		return []byte("error: " + err.Error()), false
	}
	return []byte(out), word == "spent"
}

func attempts() map[string]func(string) (string, error) {
	return map[string]func(string) (string, error){
		"pid":   func(string) (string, error) { return strconv.Itoa(os.Getpid()), nil },
		"spent": func(string) (string, error) { return strconv.Itoa(os.Getpid()), nil },
		"env":   func(string) (string, error) { return strings.Join(os.Environ(), " "), nil },
		"read": func(name string) (string, error) {
			body, err := os.ReadFile(name)
			return string(body), err
		},
		"write": func(name string) (string, error) { return "written", os.WriteFile(name, []byte("x"), 0o600) },
		"list": func(name string) (string, error) {
			entries, err := os.ReadDir(name)
			return fmt.Sprint(len(entries)), err
		},
		"dial": func(where string) (string, error) {
			network, address, _ := strings.Cut(where, " ")
			c, err := net.DialTimeout(network, address, time.Second)
			if err != nil {
				return "", err
			}
			return "connected", c.Close()
		},
		"listen": func(address string) (string, error) {
			l, err := net.Listen("tcp", address)
			if err != nil {
				return "", err
			}
			return "listening", l.Close()
		},
		"exec": func(name string) (string, error) {
			out, err := exec.Command(name).CombinedOutput()
			return string(out), err
		},
		"execve": func(name string) (string, error) {
			return "replaced", syscall.Exec(name, []string{name}, nil)
		},
		"fork": func(string) (string, error) {
			_, _, errno := syscall.RawSyscall(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0)
			if errno != 0 {
				return "", errno
			}
			return "forked", nil
		},
		"kill": func(pid string) (string, error) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				return "", err
			}
			return "killed", syscall.Kill(n, 0)
		},
		"memory": func(string) (string, error) {
			var all [][]byte
			for {
				block := make([]byte, 8<<20)
				for i := range block {
					block[i] = byte(i)
				}
				all = append(all, block)
				if len(all) > 4096 {
					return fmt.Sprint(len(all)), nil
				}
			}
		},
		"loop": func(string) (string, error) {
			for n := 1; n != 0; n |= 1 {
			}
			return "never", nil
		},
		"panic": func(string) (string, error) { panic("as asked") },
		"raise": func(string) (string, error) {
			free := syscall.Rlimit{Cur: 1 << 40, Max: 1 << 40}
			return "raised", syscall.Setrlimit(syscall.RLIMIT_DATA, &free)
		},
		"threads": func(n string) (string, error) {
			count, err := strconv.Atoi(n)
			if err != nil {
				return "", err
			}
			var all sync.WaitGroup
			for range count {
				all.Go(func() { _, _ = os.ReadDir(".") })
			}
			all.Wait()
			return "done", nil
		},
	}
}

func newPool(t *testing.T, c sandbox.Config) (*sandbox.Pool, string) {
	t.Helper()
	c.Folder = t.TempDir()
	if err := os.WriteFile(filepath.Join(c.Folder, "inside"), []byte("artifact"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := sandbox.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, c.Folder
}

func do(t *testing.T, p *sandbox.Pool, request string) string {
	t.Helper()
	reply, err := p.Do(t.Context(), "tenant", 20*time.Second, []byte(request))
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	return string(reply)
}

func TestChildIsConfined(t *testing.T) {
	t.Setenv("SLUICE_TEST_SECRET", "do not pass on")
	p, folder := newPool(t, sandbox.Config{})
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	denied := "permission denied"
	notAllowed := "operation not permitted"
	tests := []struct{ reason, request, want string }{
		{"it reads the artifacts", "read " + filepath.Join(folder, "inside"), "artifact"},
		{"it lists the artifacts", "list " + folder, "1"},
		{"it starts threads", "threads 50", "done"},
		{"it has no environment", "env", ""},
		{"it reads no file of the system", "read /etc/passwd", denied},
		{"it reads no file of its user", "read " + outside, denied},
		{"it sees no process", "read /proc/self/environ", denied},
		{"it writes nothing, not even beside the artifacts", "write " + filepath.Join(folder, "new"), denied},
		{"it writes no temporary file", "write " + outside, denied},
		{"it dials no TCP", "dial tcp " + listener.Addr().String(), notAllowed},
		{"it sends no UDP", "dial udp 127.0.0.1:53", notAllowed},
		{"it opens no Unix socket", "dial unix /run/x.sock", notAllowed},
		{"it listens nowhere", "listen 127.0.0.1:0", notAllowed},
		{"it runs no program", "exec /bin/sh", "error"},
		{"it becomes no program", "execve /bin/sh", notAllowed},
		{"it does not fork", "fork", notAllowed},
		{"it does not raise its own limits", "raise", notAllowed},
		{"it signals nobody", "kill " + strconv.Itoa(os.Getpid()), notAllowed},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got := do(t, p, tt.request)
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%s: got %q, want %q", tt.request, got, tt.want)
			}
		})
	}
	if n := p.Started(); n != 1 {
		t.Errorf("%d children were started: a refused call must not cost one", n)
	}
}

func TestBadWorkIsKilledAndOthersGoOn(t *testing.T) {
	tests := []struct {
		reason, request string
		timeout         time.Duration
		want            error
	}{
		{"a memory bomb", "memory", time.Minute, sandbox.ErrMemory},
		{"an endless loop", "loop", 300 * time.Millisecond, sandbox.ErrTimeout},
		{"a panic", "panic", time.Minute, sandbox.ErrCrash},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			p, _ := newPool(t, sandbox.Config{Size: 2, Memory: 256 << 20})
			bad := make(chan error, 1)
			go func() {
				_, err := p.Do(context.Background(), "tenant", tt.timeout, []byte(tt.request))
				bad <- err
			}()
			if got := do(t, p, "threads 1"); got != "done" {
				t.Errorf("the other request got %q", got)
			}
			if err := <-bad; !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if got := do(t, p, "threads 1"); got != "done" {
				t.Errorf("the next request got %q", got)
			}
		})
	}
}

func TestChildrenAreReplaced(t *testing.T) {
	t.Run("when their work says so", func(t *testing.T) {
		p, _ := newPool(t, sandbox.Config{Size: 1})
		first := do(t, p, "pid")
		if again := do(t, p, "spent"); again != first {
			t.Errorf("a clean child was replaced: %s, then %s", first, again)
		}
		if next := do(t, p, "pid"); next == first {
			t.Error("a spent child was used again")
		}
	})
	t.Run("after their uses", func(t *testing.T) {
		p, _ := newPool(t, sandbox.Config{Size: 1, Uses: 2})
		first := do(t, p, "pid")
		do(t, p, "pid")
		if next := do(t, p, "pid"); next == first {
			t.Error("a child was used three times")
		}
	})
	t.Run("when they died idle", func(t *testing.T) {
		p, _ := newPool(t, sandbox.Config{Size: 1})
		pid, err := strconv.Atoi(do(t, p, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitGone(t, pid)
		do(t, p, "pid")
	})
}

func TestSlowWorkDoesNotHoldUpOthers(t *testing.T) {
	p, _ := newPool(t, sandbox.Config{Size: 1, Slow: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	slow := make(chan error, 1)
	go func() {
		_, err := p.Do(ctx, "tenant", time.Minute, []byte("loop"))
		slow <- err
	}()
	for range 3 {
		do(t, p, "threads 1")
	}
	cancel()
	if err := <-slow; !errors.Is(err, context.Canceled) {
		t.Errorf("the slow request ended with %v", err)
	}
}

// A tenant whose endless requests have all children, and wait for more, lets another
// tenant's go before them.
func TestTenantsTakeTurns(t *testing.T) {
	const size, waiting = 2, 5
	p, _ := newPool(t, sandbox.Config{Size: size, Slow: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	var loud sync.WaitGroup
	t.Cleanup(loud.Wait)
	t.Cleanup(cancel)
	start := func(ctx context.Context) {
		loud.Go(func() {
			_, _ = p.Do(ctx, "loud", time.Minute, []byte("loop")) // ends by its context
		})
	}
	wait := func(held, waiting int) {
		for h, w := p.Line(); h != held || w != waiting; h, w = p.Line() {
			runtime.Gosched()
		}
	}
	first, end := context.WithCancel(ctx)
	defer end()
	start(first)
	wait(1, 0)
	for range size - 1 + waiting {
		start(ctx)
	}
	wait(size, waiting)
	quiet := make(chan error, 1)
	go func() {
		_, err := p.Do(ctx, "quiet", time.Minute, []byte("pid"))
		quiet <- err
	}()
	wait(size, waiting+1)
	end()
	select {
	case err := <-quiet:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the quiet tenant's request waits behind those of the loud one")
	}
}

func TestEndedContextKillsWork(t *testing.T) {
	p, _ := newPool(t, sandbox.Config{Size: 1})
	pid, err := strconv.Atoi(do(t, p, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.Do(ctx, "tenant", time.Minute, []byte("loop")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	waitGone(t, pid)
}

func TestCloseLeavesNoChild(t *testing.T) {
	p, _ := newPool(t, sandbox.Config{Size: 3})
	if err := p.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.Started() != 3 {
		t.Errorf("warm started %d children, want 3", p.Started())
	}
	pid, err := strconv.Atoi(do(t, p, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	waitGone(t, pid)
}

// waitGone waits until a process has ended, bounded by the test's deadline.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("process %d is still there", pid)
		}
	}
}
