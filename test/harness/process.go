package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is a running command that dies with this one.
type Process struct {
	Name string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}

	mu  sync.Mutex
	err error
}

// StartProcess runs a binary with its output appended to the file at logPath.
func StartProcess(name, binary, logPath string, env []string, args ...string) (*Process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = processAttributes()
	p := &Process{Name: name, cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel ends the child when the thread that started it ends, so this
		// thread stays with the child for its whole life.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		defer close(p.done)
		err = cmd.Wait()
		p.mu.Lock()
		p.err = errors.Join(err, log.Close())
		p.mu.Unlock()
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop asks the process to end, kills it after the grace period and waits.
func (p *Process) Stop(grace time.Duration) error {
	select {
	case <-p.done:
		return p.exit()
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	select {
	case <-p.done:
		return p.exit()
	case <-time.After(grace):
		p.Kill()
		return fmt.Errorf("stop %s: still running after %s, killed", p.Name, grace)
	}
}

// Kill ends the process and its children with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	// The group may be gone already, which is what is wanted.
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
}

func (p *Process) exit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return fmt.Errorf("%s ended: %w; the end of its log:\n%s", p.Name, p.err, p.Tail())
	}
	return nil
}

// Tail returns the end of the process's log, for error messages.
func (p *Process) Tail() string {
	body, err := os.ReadFile(p.log.Name())
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	const keep = 4 << 10
	if len(body) > keep {
		body = body[len(body)-keep:]
		if i := bytes.IndexByte(body, '\n'); i >= 0 {
			body = body[i+1:]
		}
	}
	return string(body)
}

// WaitReady polls a readiness address until it answers 200, the process ends or ctx does.
func (p *Process) WaitReady(ctx context.Context, url string) error {
	client := &http.Client{Timeout: time.Second}
	var last string
	err := Until(ctx, 50*time.Millisecond, func(context.Context) (bool, error) {
		select {
		case <-p.done:
			return false, fmt.Errorf("%s ended before it was ready:\n%s", p.Name, p.Tail())
		default:
		}
		response, err := client.Get(url)
		if err != nil {
			last = err.Error()
			return false, nil
		}
		defer response.Body.Close()
		body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
		last = fmt.Sprintf("%s %s %v", response.Status, body, err)
		return response.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s at %s: %w (last answer: %s)\n%s", p.Name, url, err, last, p.Tail())
	}
	return nil
}

// FreePort returns a TCP port that was free on loopback a moment ago.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Until calls done at once and then every interval until it is true, fails or ctx ends.
func Until(ctx context.Context, every time.Duration, done func(context.Context) (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
