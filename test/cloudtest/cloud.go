// Package cloudtest stands in for cloud providers in tests: a proxy behind which their
// names lead to servers of the test, which check what they are sent as the providers'
// own would. What uses it keeps the real names, and so the real code, of every request.
package cloudtest

import (
	"crypto/tls"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
)

// Names are those that the certificate of the servers must have.
func Names() []string {
	return []string{
		"sts.us-east-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com", "*.dkr.ecr.us-east-1.amazonaws.com", "git-codecommit.us-east-1.amazonaws.com",
		"login.microsoftonline.com", "*.azurecr.io", "*.blob.core.windows.net", "dev.azure.com",
		"storage.googleapis.com", "oauth2.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com", "europe-docker.pkg.dev",
		eksHost, armHost, gkeHost,
	}
}

// Review says whose a token of the cluster is, "" when it is none for the audience.
type Review func(token, audience string) string

// Cloud is the proxy with its servers.
type Cloud struct {
	// Proxy is its URL, for HTTPS_PROXY. Metadata is host:port of a server over HTTP
	// that answers as the machine's own do.
	Proxy, Metadata string
	servers         []*httptest.Server

	mu       sync.Mutex
	hosts    map[string]http.Handler
	tunnels  map[string]string
	requests []string
	secrets  map[string]string
}

// The names under which handlers for the metadata servers of Google and Azure are kept.
const metadataHost, msiHost = "metadata", "msi"

// Start starts it, with a certificate for the names.
func Start(certificate tls.Certificate) *Cloud {
	c := &Cloud{hosts: map[string]http.Handler{}, tunnels: map[string]string{}, secrets: map[string]string{}}
	servers := c.secure(certificate)
	proxy := httptest.NewServer(c.connect(servers.Listener.Addr().String()))
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := metadataHost
		if strings.HasPrefix(r.URL.Path, "/msi/") {
			host = msiHost
		}
		c.serve(host, w, r)
	}))
	c.servers = []*httptest.Server{servers, proxy, metadata}
	c.Proxy, c.Metadata = proxy.URL, metadata.Listener.Addr().String()
	return c
}

func (c *Cloud) secure(certificate tls.Certificate) *httptest.Server {
	servers := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.serve(strings.TrimSuffix(r.Host, ":443"), w, r)
	}))
	servers.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	servers.StartTLS()
	return servers
}

// Behind leads new connections to a host to a server with another certificate, until end is called.
func (c *Cloud) Behind(host string, certificate tls.Certificate) (end func()) {
	server := c.secure(certificate)
	c.lead(host, server.Listener.Addr().String())
	return func() {
		c.lead(host, "")
		server.CloseClientConnections()
		server.Close()
	}
}

func (c *Cloud) lead(host, to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tunnels[host] = to
}

// tunnel is where connections to a host lead.
func (c *Cloud) tunnel(host, otherwise string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if to := c.tunnels[strings.TrimSuffix(host, ":443")]; to != "" {
		return to
	}
	return otherwise
}

// Close ends it.
func (c *Cloud) Close() {
	for _, s := range c.servers {
		s.CloseClientConnections()
		s.Close()
	}
}

// connect leads tunnels to known names to the servers, and no other anywhere.
func (c *Cloud) connect(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || c.handler(strings.TrimSuffix(r.Host, ":443")) == nil {
			http.Error(w, "the tests reach nothing beyond themselves", http.StatusBadGateway)
			return
		}
		server, err := net.Dial("tcp", c.tunnel(r.Host, to))
		if err != nil {
			http.Error(w, "gone", http.StatusBadGateway)
			return
		}
		client, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = server.Close()
			return
		}
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(server, buffered)
			_ = server.Close()
		}()
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
}

// Handle gives the requests to a host to a handler.
func (c *Cloud) Handle(host string, h http.Handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[host] = h
}

// Hold lets no request to a host be answered before release is closed, or end is called.
func (c *Cloud) Hold(host string, release <-chan struct{}) (end func()) {
	held := c.handler(host)
	c.Handle(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
			held.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	return func() { c.Handle(host, held) }
}

func (c *Cloud) handler(host string) http.Handler {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[host]
}

func (c *Cloud) serve(host string, w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.requests = append(c.requests, r.Method+" "+host+r.URL.Path)
	c.mu.Unlock()
	if h := c.handler(host); h != nil {
		h.ServeHTTP(w, r)
		return
	}
	http.Error(w, "no such host", http.StatusMisdirectedRequest)
}

// granted notes that credentials were given, to be found among the requests.
func (c *Cloud) granted(what, who string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, "granted "+what+" "+who)
}

// Count returns how many requests there were that begin so, such as "POST sts.". What
// was given is among them: "granted aws <role>", ecr, entra, acr and google.
func (c *Cloud) Count(prefix string) int { return len(c.Since(0, prefix)) }

// Since returns the requests that begin so, without the first n of them.
func (c *Cloud) Since(n int, prefix string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []string
	for _, r := range c.requests {
		if strings.HasPrefix(r, prefix) {
			found = append(found, r)
		}
	}
	return slices.Clone(found[n:])
}

// Secret notes a credential, and what it is.
func (c *Cloud) Secret(value, what string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[value] = what
	return value
}

// Secrets returns all that were noted.
func (c *Cloud) Secrets() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.secrets)
}
