package git

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

const (
	service   = "git-upload-pack"
	infoRefs  = "/info/refs"
	userAgent = "git/2.40 (sluice)"
	// maxTransports bounds how many distinct TLS settings keep connections.
	maxTransports = 64
	maxRedirects  = 5
)

// transports keeps one HTTP transport per TLS setting and proxy, so that connections are
// used again from pass to pass.
type transports struct {
	mu    sync.Mutex
	byTLS map[[sha256.Size]byte]*http.Transport
}

func (t *transports) get(a Auth, proxy *url.URL) (*http.Transport, error) {
	h := sha256.New()
	var via []byte
	if proxy != nil {
		via = []byte(proxy.String())
	}
	for _, part := range [][]byte{a.CA, a.ClientCert, a.ClientKey, via} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	key := [sha256.Size]byte(h.Sum(nil))
	t.mu.Lock()
	defer t.mu.Unlock()
	if found, ok := t.byTLS[key]; ok {
		return found, nil
	}
	config, err := a.tlsConfig()
	if err != nil {
		return nil, err
	}
	if len(t.byTLS) >= maxTransports {
		t.dropAll()
	}
	made := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
		MaxIdleConns: 64, MaxIdleConnsPerHost: 8, IdleConnTimeout: 5 * time.Minute,
		TLSHandshakeTimeout: 20 * time.Second,
	}
	if proxy != nil {
		made.Proxy = http.ProxyURL(proxy)
	}
	t.byTLS[key] = made
	return made, nil
}

func (t *transports) dropAll() {
	for key, old := range t.byTLS {
		old.CloseIdleConnections()
		delete(t.byTLS, key)
	}
}

func (t *transports) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropAll()
}

// httpConn speaks the smart HTTP protocol, version 0.
type httpConn struct {
	client *http.Client
	base   *url.URL
	auth   Auth
	// home is the origin that credentials are for.
	home string
}

func dialHTTP(remote Remote, via *Client) (*httpConn, error) {
	u, err := ParseURL(remote.URL)
	if err != nil {
		return nil, err
	}
	auth := remote.Auth
	if u.User != nil {
		if auth.Username == "" && auth.BearerToken == "" {
			auth.Username = u.User.Username()
			auth.Password, _ = u.User.Password()
		}
		u.User = nil
	}
	pooled, err := via.Transport(remote)
	if err != nil {
		return nil, err
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = strings.TrimSuffix(u.RawPath, "/")
	c := &httpConn{base: u, auth: auth, home: origin(u)}
	c.client = &http.Client{Transport: pooled, CheckRedirect: c.redirect}
	return c, nil
}

func origin(u *url.URL) string { return strings.ToLower(u.Scheme + "://" + u.Host) }

// redirect follows the listing only, never to a weaker scheme, and takes no
// credentials to another origin.
func (c *httpConn) redirect(req *http.Request, via []*http.Request) error {
	if via[0].Method != http.MethodGet {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("refused a redirect from https to " + req.URL.Scheme)
	}
	req.Header.Del("Authorization")
	req.Header.Del("Referer") // its path may be a token
	c.authorize(req)
	return nil
}

func (c *httpConn) authorize(req *http.Request) {
	if origin(req.URL) != c.home {
		return
	}
	switch {
	case c.auth.BearerToken != "":
		req.Header.Set("Authorization", "Bearer "+c.auth.BearerToken)
	case c.auth.Username != "" || c.auth.Password != "":
		req.SetBasicAuth(c.auth.Username, c.auth.Password)
	}
}

func (c *httpConn) advertised(ctx context.Context) (*packp.AdvRefs, error) {
	res, err := c.do(ctx, http.MethodGet, infoRefs+"?service="+service, nil, "application/x-"+service+"-advertisement") //nolint:bodyclose // drain closes it
	if err != nil {
		return nil, fmt.Errorf("unable to list remote: %w", err)
	}
	defer drain(res.Body)
	if final := *res.Request.URL; strings.HasSuffix(final.Path, infoRefs) {
		final.Path, final.RawPath, final.RawQuery = strings.TrimSuffix(final.Path, infoRefs), strings.TrimSuffix(final.RawPath, infoRefs), ""
		c.base = &final
	}
	refs, err := decodeRefs(res.Body)
	if err != nil {
		return nil, fmt.Errorf("unable to list remote: %w", err)
	}
	return refs, nil
}

func (c *httpConn) upload(ctx context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	var body bytes.Buffer
	if err := encodeUpload(&body, req); err != nil {
		return nil, err
	}
	res, err := c.do(ctx, http.MethodPost, "/"+service, &body, "application/x-"+service+"-result") //nolint:bodyclose // the response that is returned closes it
	if err != nil {
		return nil, err
	}
	pack, err := decodeUpload(res.Body, req)
	if err != nil {
		drain(res.Body)
		return nil, err
	}
	return pack, nil
}

func (c *httpConn) do(ctx context.Context, method, path string, body io.Reader, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, body)
	if err != nil {
		return nil, hideURL(err)
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", "application/x-"+service+"-request")
	}
	c.authorize(req)
	res, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, c.base.Redacted()+path, hideURL(err))
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	drain(res.Body)
	return nil, statusError(res.StatusCode)
}

// statusError names a refusal without the server's text, which is not ours.
func statusError(code int) error {
	switch code {
	case http.StatusUnauthorized:
		return errors.New("authentication required (HTTP 401): check the credentials in secretRef")
	case http.StatusForbidden:
		return errors.New("authorization failed (HTTP 403): let the credentials in secretRef read the repository")
	case http.StatusNotFound:
		return errors.New("repository not found (HTTP 404): check the URL, and for a private repository the credentials in secretRef")
	}
	return fmt.Errorf("unexpected HTTP status %d", code)
}

// drain reads a little of what is left, so that the connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10) // only an optimisation
	_ = body.Close()
}

func (c *httpConn) lasting() bool { return true }

func (c *httpConn) close() error { return nil }
