package gittest

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Server serves every repository under a folder over HTTP.
type Server struct {
	// URL of the server; a repository is at URL/<name>.
	URL string
	// CA is the server's certificate in PEM form, for TLS.
	CA []byte

	mu       sync.Mutex
	requests []string
	bytes    int
	hold     chan struct{}
	holds    func(*http.Request) bool
	held     chan struct{}
}

// Access decides who may read; nil lets everybody.
type Access func(r *http.Request) bool

// Basic asks for a user name and a password.
func Basic(user, password string) Access {
	return func(r *http.Request) bool {
		u, p, ok := r.BasicAuth()
		return ok && u == user && p == password
	}
}

// Bearer asks for a token.
func Bearer(token string) Access {
	return func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+token }
}

// Watch lets everybody read; seen returns the credentials of each request so far.
func Watch() (access Access, seen func() []string) {
	var mu sync.Mutex
	var all []string
	access = func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r.Header.Get("Authorization"))
		return true
	}
	return access, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// ServeHTTP serves root until the test ends, over TLS if secure.
func ServeHTTP(t testing.TB, root string, secure bool, access Access) *Server {
	t.Helper()
	s := &Server{}
	handler := s.handler(t, root, access)
	var server *httptest.Server
	if secure {
		server = httptest.NewTLSServer(handler)
		s.CA = pemOf("CERTIFICATE", server.Certificate().Raw)
	} else {
		server = httptest.NewServer(handler)
	}
	t.Cleanup(func() {
		s.Release()
		server.Close()
	})
	s.URL = server.URL
	return s
}

func (s *Server) handler(t testing.TB, root string, access Access) http.Handler {
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + root},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hold := s.note(r)
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
				return
			}
		}
		if access != nil && !access(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		r.Header.Del("Authorization")
		backend.ServeHTTP(&meter{ResponseWriter: w, server: s}, r)
	})
}

// note records the request, and returns what it must wait for.
func (s *Server) note(r *http.Request) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	if s.holds == nil || !s.holds(r) {
		return nil
	}
	select {
	case s.held <- struct{}{}:
	default:
	}
	return s.hold
}

// Requests returns what was asked since the last call, and forgets it.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	return requests
}

// Bytes returns how much was answered since the last call, and forgets it.
func (s *Server) Bytes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.bytes
	s.bytes = 0
	return n
}

// Hold makes the server answer nothing until Release.
func (s *Server) Hold() { s.keep(func(*http.Request) bool { return true }) }

// HoldDownloads makes the server answer nothing but listings until Release.
func (s *Server) HoldDownloads() {
	s.keep(func(r *http.Request) bool { return r.Method == http.MethodPost })
}

func (s *Server) keep(holds func(*http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold, s.holds, s.held = make(chan struct{}), holds, make(chan struct{}, 1)
}

// Held is told that a request is held.
func (s *Server) Held() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// Pass lets further requests through; those that are held stay.
func (s *Server) Pass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds = nil
}

// Release ends a hold.
func (s *Server) Release() {
	s.Pass()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != nil {
		close(s.hold)
		s.hold = nil
	}
}

type meter struct {
	http.ResponseWriter
	server *Server
}

// Write counts and passes on.
func (m *meter) Write(p []byte) (int, error) {
	m.server.mu.Lock()
	m.server.bytes += len(p)
	m.server.mu.Unlock()
	return m.ResponseWriter.Write(p)
}
