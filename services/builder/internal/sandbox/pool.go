package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gitops/sluice/internal/share"
)

// The ways in which work can end without a reply. Another request is not affected.
var (
	// ErrTimeout says that the work was killed when its time was over.
	ErrTimeout = errors.New("took too long and was killed")
	// ErrMemory says that the work needed more memory than it may have.
	ErrMemory = errors.New("needed too much memory and was killed")
	// ErrCrash says that the process died for another reason.
	ErrCrash = errors.New("the process died")
)

// Config configures a Pool.
type Config struct {
	// Folder is what children can read.
	Folder string
	// Size is how many requests run at once, and how many idle children are kept;
	// 4 when zero. A request that runs for longer than Slow does not count, so that
	// a few endless ones do not hold up the others.
	Size int
	// Slow is 2 seconds when zero.
	Slow time.Duration
	// Memory bounds a child's heap in bytes; 512 MiB when zero.
	Memory int64
	// Uses is how many requests a child answers before it is replaced; 2,000
	// when zero.
	Uses int
	// Command starts a child; this program with Argument when empty.
	Command []string
	// Log is told once what confines the children; dropped when nil.
	Log *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Size <= 0 {
		c.Size = 4
	}
	if c.Slow <= 0 {
		c.Slow = 2 * time.Second
	}
	if c.Memory <= 0 {
		c.Memory = 512 << 20
	}
	if c.Uses <= 0 {
		c.Uses = 2000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.Command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("find own program: %w", err)
		}
		c.Command = []string{self, Argument}
	}
	return c, nil
}

// startTime bounds the start of a child.
const startTime = time.Minute

// Pool runs requests in children. It is safe for concurrent use.
type Pool struct {
	config Config
	line   *share.Line
	once   sync.Once

	mu     sync.Mutex
	idle   []*process
	closed bool
	// refilling is how many children are on their way to the idle ones.
	refilling int

	started atomic.Int64
	// refills are the starts of children that replace others.
	refills sync.WaitGroup
}

// New returns a pool with one child, which proves that children can be confined
// here. More are started when they are needed.
func New(ctx context.Context, c Config) (*Pool, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pool{config: c, line: share.New(c.Size, c.Size)}
	first, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	p.keep(first)
	return p, nil
}

// Started is how many children were started so far.
func (p *Pool) Started() int64 { return p.started.Load() }

// Warm starts children up to the pool's size.
func (p *Pool) Warm(ctx context.Context) error {
	for {
		p.mu.Lock()
		full := p.closed || len(p.idle)+p.line.Held() >= p.config.Size
		p.mu.Unlock()
		if full {
			return nil
		}
		child, err := p.start(ctx)
		if err != nil {
			return err
		}
		p.keep(child)
	}
}

// Do answers one request of a tenant within timeout, which starts when a child is
// free for it, and once more when a used child died of it and a new one is asked. Of the requests that wait, one of the tenant with the fewest in work
// is next. An error wraps ErrTimeout, ErrMemory or ErrCrash if the request is to
// blame, and ctx's cause if ctx ended.
func (p *Pool) Do(ctx context.Context, tenant string, timeout time.Duration, request []byte) ([]byte, error) {
	defer share.Step(ctx)()
	if err := p.line.Enter(ctx, tenant); err != nil {
		return nil, err
	}
	release := sync.OnceFunc(func() { p.line.Leave(tenant) })
	defer release()
	defer time.AfterFunc(p.config.Slow, release).Stop()
	child, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	used := child.builds > 0
	reply, err := p.ask(ctx, timeout, child, request)
	if !used || !(errors.Is(err, ErrCrash) || errors.Is(err, ErrMemory)) {
		return reply, err
	}
	// What earlier work left behind may be to blame: a new child decides.
	if child, err = p.start(ctx); err != nil {
		return nil, err
	}
	return p.ask(ctx, timeout, child, request)
}

// ask gives a child one request and then keeps or ends it.
func (p *Pool) ask(ctx context.Context, timeout time.Duration, child *process, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w after %s", ErrTimeout, timeout))
	defer cancel()
	reply, err := child.exchange(ctx, request)
	if err == nil && len(reply) == 0 {
		err = fmt.Errorf("%w: empty reply", ErrCrash)
	}
	if err != nil {
		child.end()
		p.refill()
		return nil, err
	}
	last := len(reply) - 1
	child.builds++
	if reply[last] != 0 || child.builds >= p.config.Uses {
		child.end()
		p.refill()
	} else {
		p.keep(child)
	}
	return reply[:last], nil
}

// refill starts a child in the place of one that ended, beside the caller, unless there
// will be enough of them. When that fails the next request that needs a child says why.
func (p *Pool) refill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle)+p.refilling >= p.config.Size {
		return
	}
	p.refilling++
	p.refills.Go(func() {
		child, err := p.start(context.Background())
		p.mu.Lock()
		p.refilling--
		p.mu.Unlock()
		if err == nil {
			p.keep(child)
		}
	})
}

// Close kills the children that are idle, and the others when they are done.
func (p *Pool) Close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	p.refills.Wait()
	for _, child := range idle {
		child.end()
	}
}

// take returns an idle child that is still alive, or a new one.
func (p *Pool) take(ctx context.Context) (*process, error) {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return p.start(ctx)
		}
		child := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		select {
		case <-child.gone:
			child.end()
		default:
			return child, nil
		}
	}
}

func (p *Pool) keep(child *process) {
	p.mu.Lock()
	full := p.closed || len(p.idle) >= p.config.Size
	if !full {
		p.idle = append(p.idle, child)
	}
	p.mu.Unlock()
	if full {
		child.end()
	}
}

func (p *Pool) start(ctx context.Context) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	child, err := start(ctx, p.config)
	if err != nil {
		return nil, err
	}
	p.started.Add(1)
	p.once.Do(func() {
		if child.abi == 0 {
			p.config.Log.Warn("this kernel has no Landlock: builds are confined by seccomp and by their own file system only")
			return
		}
		p.config.Log.Info("builds are confined", "seccomp", true, "landlock_abi", child.abi, "memory_bytes", p.config.Memory)
	})
	return child, nil
}
