package s3server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"
)

// Config says where the server keeps its objects and where it listens.
type Config struct {
	// Dir holds everything; it is created if missing. Required.
	Dir string
	// Addr is host:port to listen on; the default is a free port on loopback.
	Addr string
	// AccessKey and SecretKey are the one account. Both empty means a fresh
	// random pair, which Endpoint returns.
	AccessKey, SecretKey string
	// Sidecar forces metadata into files of their own. Without it they are
	// used only if the file system has no extended attributes.
	Sidecar bool
	// Logger gets what the gateway prints, and is told when the folder was lost. When it
	// is set, os.Stderr of the process leads there while the server runs, because the
	// gateway prints nowhere else.
	Logger *slog.Logger
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	if c.Dir == "" {
		return errors.New("the folder of the S3 server is empty")
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return errors.New("set both the access key and the secret key of the S3 server, or neither")
	}
	return nil
}

// Endpoint is what a client needs to use the server.
type Endpoint struct {
	// Addr is host:port; the server speaks plain HTTP.
	Addr string
	// AccessKey and SecretKey are the credentials of its only account.
	AccessKey, SecretKey string
	// Region is the region that requests must be signed for.
	Region string
}

const (
	region = "us-east-1"
	// The gateway allots a slot of memory for each; ours are the clients of one process.
	maxConnections = 1024
	maxRequests    = 512
	maxParts       = 10000
	// startTime bounds how long Start waits for the listener.
	startTime = 20 * time.Second
)

// Server is a running S3 server.
type Server struct {
	endpoint Endpoint
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // written before done is closed
}

// Start serves until Stop is called or ctx ends, and returns once the server
// accepts requests.
func Start(ctx context.Context, c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, fmt.Errorf("resolve S3 folder: %w", err)
	}
	endpoint, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	store, err := c.backend()
	if err != nil {
		return nil, err
	}
	restore, err := divert(c.Logger)
	if err != nil {
		return nil, err
	}
	listening := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	s := &Server{endpoint: endpoint, cancel: cancel, done: make(chan struct{})}
	gateway := &embedgw.Config{
		RootUserAccess: endpoint.AccessKey, RootUserSecret: endpoint.SecretKey, Region: endpoint.Region,
		// one account; without this the gateway says so on stdout
		IAMService: auth.NewIAMServiceSingle(auth.Account{
			Access: endpoint.AccessKey, Secret: endpoint.SecretKey, Role: auth.RoleAdmin,
		}),
		Ports:          []string{endpoint.Addr},
		MaxConnections: maxConnections, MaxRequests: maxRequests, MultipartMaxParts: maxParts,
		Quiet: true, KeepAlive: true,
		S3Options: []s3api.Option{s3api.WithOnListen(func() { close(listening) })},
	}
	go func() {
		defer close(s.done)
		defer restore()
		var keeping sync.WaitGroup
		keeping.Go(func() { c.keepFolder(ctx) })
		s.err = embedgw.RunVersityGW(ctx, store, gateway)
		cancel()
		keeping.Wait()
	}()
	if err := s.await(listening); err != nil {
		return nil, err
	}
	return s, nil
}

// await waits for the listener and stops a server that does not come up.
func (s *Server) await(listening <-chan struct{}) error {
	timer := time.NewTimer(startTime)
	defer timer.Stop()
	select {
	case <-listening:
		return nil
	case <-s.done:
		if s.err != nil {
			return fmt.Errorf("start S3 server on %s: %w", s.endpoint.Addr, s.err)
		}
		return fmt.Errorf("start S3 server on %s: stopped before it listened", s.endpoint.Addr)
	case <-timer.C:
		s.cancel()
		return fmt.Errorf("start S3 server on %s: not listening after %s", s.endpoint.Addr, startTime)
	}
}

// Endpoint returns the address and the credentials.
func (s *Server) Endpoint() Endpoint { return s.endpoint }

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop lets running requests finish (the gateway gives them ten seconds) and
// waits for the end, or for ctx.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.done:
	case <-ctx.Done():
		return fmt.Errorf("stop S3 server: %w", ctx.Err())
	}
	if s.err != nil {
		return fmt.Errorf("stop S3 server: %w", s.err)
	}
	return nil
}

// backend opens the folder: objects below data/, and metadata below meta/
// where extended attributes are missing.
func (c Config) backend() (*posix.Posix, error) {
	if err := c.makeFolders(); err != nil {
		return nil, err
	}
	var store meta.MetadataStorer = meta.XattrMeta{}
	if c.sidecar() {
		var err error
		if store, err = meta.NewSideCar(c.side()); err != nil {
			return nil, fmt.Errorf("open S3 metadata folder: %w", err)
		}
	}
	opts := posix.PosixOpts{}
	opts.SetNewDirPerm(0o700)
	opts.SetNewFilePerm(0o600)
	be, err := posix.New(c.data(), store, opts)
	if err != nil {
		return nil, fmt.Errorf("open S3 folder: %w", err)
	}
	return be, nil
}

// endpoint fills in the free port and the random credentials.
func (c Config) endpoint() (Endpoint, error) {
	e := Endpoint{Addr: c.Addr, AccessKey: c.AccessKey, SecretKey: c.SecretKey, Region: region}
	if e.AccessKey == "" {
		e.AccessKey, e.SecretKey = "sluice-"+rand.Text()[:8], rand.Text()
	}
	host, port, err := net.SplitHostPort(orDefault(e.Addr, "127.0.0.1:0"))
	if err != nil {
		return e, fmt.Errorf("parse S3 listen address: %w", err)
	}
	if port != "0" {
		return e, nil
	}
	// The gateway wants a port and opens the listener itself, so ask the
	// system for a free one first.
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return e, fmt.Errorf("find a free port for the S3 server: %w", err)
	}
	e.Addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return e, fmt.Errorf("release the port found for the S3 server: %w", err)
	}
	return e, nil
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
