package git

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/net/proxy"
)

// dial connects to addr, through a proxy unless that is nil.
func dial(ctx context.Context, via *url.URL, addr string) (net.Conn, error) {
	direct := &net.Dialer{}
	switch {
	case via == nil:
		return direct.DialContext(ctx, "tcp", addr)
	case via.Scheme != "socks5":
		return tunnel(ctx, via, addr)
	}
	dialer, err := proxy.FromURL(via, direct)
	if err != nil {
		return nil, fmt.Errorf("use proxy: %w", err)
	}
	return dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
}

// maxTunnelHeader bounds what a proxy says before what comes through it.
const maxTunnelHeader = 64 << 10

// tunnel asks an HTTP proxy for a connection to addr.
func tunnel(ctx context.Context, via *url.URL, addr string) (_ net.Conn, err error) {
	port := via.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[via.Scheme]
	}
	at := net.JoinHostPort(via.Hostname(), port)
	var conn net.Conn
	if via.Scheme == "https" {
		conn, err = (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", at)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", at)
	}
	if err != nil {
		return nil, fmt.Errorf("reach proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // nobody is left to tell
	defer func() {
		if !stop() || err != nil {
			_ = conn.Close() // the first error says why
			err = orContext(ctx, err)
		}
	}()
	header := http.Header{}
	if via.User != nil {
		password, _ := via.User.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(via.User.Username()+":"+password)))
	}
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: header}
	if err := request.Write(conn); err != nil {
		return nil, fmt.Errorf("ask proxy: %w", err)
	}
	begin := newHeader(conn, maxTunnelHeader)
	answer := bufio.NewReader(begin)
	res, err := http.ReadResponse(answer, request)
	if err != nil {
		return nil, fmt.Errorf("read the proxy's answer: %w", err)
	}
	_ = res.Body.Close() // a tunnel has none
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the proxy answers with HTTP status %d", res.StatusCode)
	}
	begin.left = math.MaxInt64
	return &tunnelled{Conn: conn, answer: answer}, nil
}

// tunnelled reads first what came with the proxy's answer.
type tunnelled struct {
	net.Conn
	answer *bufio.Reader
}

// Read implements net.Conn.
func (t *tunnelled) Read(p []byte) (int, error) { return t.answer.Read(p) }
