package gitserver

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-gitops/sluice/test/pki"
)

// HTTPOptions say whom an HTTP server lets in. The zero value is plain HTTP open to all.
type HTTPOptions struct {
	// Username and Password ask for basic authentication when Password is set.
	Username, Password string
	// BearerToken is accepted as "Authorization: Bearer …" when it is set.
	BearerToken string
	// TLS serves HTTPS with a certificate of an authority made for this server.
	TLS bool
	// Address to listen on; a free port of 127.0.0.1 when empty.
	Address string
	// Pushed is called after a push to a repository, by its name. Pushes are refused
	// when it is nil.
	Pushed func(repo string)
}

// HTTPServer serves the repositories of a store over HTTP or HTTPS.
type HTTPServer struct {
	// Address is http://127.0.0.1:<port>, or https.
	Address string
	// CA is the PEM certificate of the authority behind the server's own; nil without TLS.
	CA []byte

	store   *Store
	options HTTPOptions
	backend string
	server  *http.Server
	fault   atomic.Int32
	served  chan error
}

// ServeHTTP starts a server for the store's repositories, present and future.
func (s *Store) ServeHTTP(ctx context.Context, options HTTPOptions) (*HTTPServer, error) {
	execPath, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("find git's programs: %w", err)
	}
	if options.Address == "" {
		options.Address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", options.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for Git over HTTP: %w", err)
	}
	h := &HTTPServer{
		Address: "http://" + listener.Addr().String(), store: s, options: options,
		backend: filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend"),
		served:  make(chan error, 1),
	}
	h.server = &http.Server{Handler: http.HandlerFunc(h.handle), ReadHeaderTimeout: 10 * time.Second}
	if options.TLS {
		if listener, err = h.secure(listener); err != nil {
			return nil, err
		}
	}
	go func() { h.served <- h.server.Serve(listener) }()
	return h, nil
}

// URL returns the address of a repository.
func (h *HTTPServer) URL(r *Repo) string { return h.Address + "/" + r.Name + ".git" }

// Fail makes the server answer every request with a status code; 0 ends that.
func (h *HTTPServer) Fail(status int) { h.fault.Store(int32(status)) }

// Close stops the server at once. The store stays.
func (h *HTTPServer) Close() error {
	err := h.server.Close()
	if served := <-h.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func (h *HTTPServer) secure(listener net.Listener) (net.Listener, error) {
	authority, err := pki.NewAuthority("gitserver")
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	id, err := authority.Server("127.0.0.1", "localhost")
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	certificate, err := tls.X509KeyPair(id.Certificate, id.Key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read server certificate: %w", err), listener.Close())
	}
	h.CA = authority.Certificate
	h.Address = "https://" + listener.Addr().String()
	return tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}}), nil
}

func (h *HTTPServer) handle(w http.ResponseWriter, r *http.Request) {
	if status := int(h.fault.Load()); status != 0 {
		http.Error(w, http.StatusText(status), status)
		return
	}
	if !h.allowed(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "credentials required", http.StatusUnauthorized)
		return
	}
	if err := h.observe(r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	handler := cgi.Handler{
		Path:   h.backend,
		Stderr: io.Discard,
		Env: []string{
			"GIT_PROJECT_ROOT=" + h.store.folder, "GIT_HTTP_EXPORT_ALL=1", "GIT_PROTOCOL=" + r.Header.Get("Git-Protocol"),
			"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "PATH=" + os.Getenv("PATH"),
		},
	}
	if h.options.Pushed == nil {
		handler.ServeHTTP(w, r)
		return
	}
	handler.Env = append(handler.Env, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.receivepack", "GIT_CONFIG_VALUE_0=true")
	handler.ServeHTTP(w, r)
	if repo, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/"), ".git/git-receive-pack"); ok {
		h.options.Pushed(repo)
	}
}

func (h *HTTPServer) allowed(r *http.Request) bool {
	if h.options.Password == "" && h.options.BearerToken == "" {
		return true
	}
	if username, password, ok := r.BasicAuth(); ok && h.options.Password != "" {
		return same(username, h.options.Username) && same(password, h.options.Password)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && h.options.BearerToken != "" && same(token, h.options.BearerToken)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// observe counts the request. A protocol v2 client lists references with a POST
// too, which is told from a fetch by how its body begins.
func (h *HTTPServer) observe(r *http.Request) error {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if repo, ok := strings.CutSuffix(path, ".git/info/refs"); ok {
		h.store.count(repo, func(c *Counts) { c.Visits++ })
	}
	repo, ok := strings.CutSuffix(path, ".git/git-upload-pack")
	if !ok {
		return nil
	}
	begin := make([]byte, 64)
	n, err := io.ReadFull(r.Body, begin)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read request: %w", err)
	}
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(begin[:n]), r.Body))
	if !bytes.Contains(begin[:n], []byte("command=ls-refs")) {
		h.store.count(repo, func(c *Counts) { c.Fetches++ })
	}
	return nil
}
