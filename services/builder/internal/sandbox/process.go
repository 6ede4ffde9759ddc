package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
)

// process is a child and the pipes to it.
type process struct {
	in      io.WriteCloser
	to      *bufio.Writer // what becomes one write to in
	out     *bufio.Reader
	printed *head
	kill    func()
	gone    chan struct{}
	state   string
	builds  int
	abi     int
}

// start starts a child and waits until it is confined and primed.
func start(ctx context.Context, c Config) (*process, error) {
	p := &process{printed: &head{}, gone: make(chan struct{})}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), c.Command[0], c.Command[1:]...)
	cmd.Env, cmd.Dir, cmd.Stderr = []string{}, c.Folder, p.printed
	dieWithParent(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	// A pipe of our own: cmd.StdoutPipe is closed by Wait, maybe before all is read.
	out, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	cmd.Stdout = w
	p.in, p.to, p.out = in, bufio.NewWriter(in), bufio.NewReaderSize(out, 64<<10)
	err = p.run(cmd)
	_ = w.Close() // the child has its own: when that ends, so does what is read
	if err != nil {
		_ = out.Close() // nobody wrote to it
		return nil, err
	}
	p.kill = func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = out.Close()        // it may be closed
	}
	if err := p.greet(ctx, setup{Folder: c.Folder, Memory: c.Memory}); err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// run starts the child on a thread of its own, which waits for it.
func (p *process) run(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if err := cmd.Wait(); err != nil {
			p.state = err.Error()
		}
		close(p.gone)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start sandbox: %w", err)
	}
	return nil
}

// greet sends the setup and reads the answer.
func (p *process) greet(ctx context.Context, s setup) error {
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("set up sandbox: %w", err)
	}
	reply, err := p.exchange(ctx, body)
	if err != nil {
		return fmt.Errorf("set up sandbox: %w", err)
	}
	var h hello
	if err := json.Unmarshal(reply, &h); err != nil {
		return fmt.Errorf("set up sandbox: %w", err)
	}
	if h.Error != "" {
		return fmt.Errorf("set up sandbox: %s", h.Error)
	}
	p.abi = h.Landlock
	return nil
}

// exchange sends one frame and waits for one. When ctx ends first the child is
// killed.
func (p *process) exchange(ctx context.Context, request []byte) ([]byte, error) {
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	err := writeFrame(p.to, request)
	if err == nil {
		err = p.to.Flush()
	}
	var reply []byte
	if err == nil {
		reply, err = readFrame(p.out)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err == nil {
		return reply, nil
	}
	if errors.Is(err, errFrame) {
		return nil, err
	}
	p.end()
	return nil, p.crash()
}

// crash says how the child ended.
func (p *process) crash() error {
	text := p.printed.String()
	switch {
	case strings.Contains(text, "out of memory"), strings.Contains(text, "annot allocate memory"),
		strings.Contains(text, "failed to allocate"),               // the race detector, in tests
		strings.Contains(text, "Resource temporarily unavailable"): // no memory for a thread's stack
		return ErrMemory
	case strings.Contains(text, "stack overflow"), strings.Contains(text, "stack exceeds"):
		return fmt.Errorf("%w: stack overflow", ErrCrash)
	}
	return fmt.Errorf("%w: %s", ErrCrash, p.state)
}

// end kills the child and waits until it is gone.
func (p *process) end() {
	p.kill()
	_ = p.in.Close() // the child may have closed its end
	<-p.gone
}

// head keeps the first bytes of what a child prints, where a Go program says why
// it dies.
type head struct {
	mu   sync.Mutex
	text []byte
}

// Write never fails and never blocks the child.
func (t *head) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const limit = 8 << 10
	t.text = append(t.text, b[:min(len(b), limit-len(t.text))]...)
	return len(b), nil
}

// String returns what was kept.
func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
