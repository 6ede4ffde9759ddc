package gittest

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strconv"
	"sync/atomic"
	"testing"
)

// Proxy is an HTTP or SOCKS5 proxy that asks for a user and a password.
type Proxy struct {
	// URL without credentials, which are user and secret-pass.
	URL string
	// Uses counts the connections or requests that it let through.
	Uses atomic.Int64
}

// ProxyUser and ProxyPassword are what proxies ask for.
const (
	ProxyUser     = "user"
	ProxyPassword = "secret-pass"
)

// ServeHTTPProxy serves until the test ends.
func ServeHTTPProxy(t testing.TB) *Proxy {
	t.Helper()
	p := &Proxy{}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(ProxyUser+":"+ProxyPassword))
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.Header.Del("Proxy-Authorization") }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != want {
			http.Error(w, "no", http.StatusProxyAuthRequired)
			return
		}
		p.Uses.Add(1)
		if r.Method != http.MethodConnect {
			forward.ServeHTTP(w, r)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			_ = conn.Close()
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		join(conn, buffered, to)
	}))
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// ServeSOCKS serves SOCKS5 (RFC 1928, RFC 1929) until the test ends.
func ServeSOCKS(t testing.TB) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &Proxy{URL: "socks5://" + l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				to, err := greet(conn)
				if err != nil {
					_ = conn.Close()
					return
				}
				p.Uses.Add(1)
				join(conn, conn, to)
			}()
		}
	}()
	return p
}

// greet checks who asks, and connects to where they want to.
func greet(conn net.Conn) (net.Conn, error) {
	if _, err := block(conn, 1); err != nil { // methods
		return nil, err
	}
	_, _ = conn.Write([]byte{5, 2})
	user, err := block(conn, 1)
	if err != nil {
		return nil, err
	}
	password, err := block(conn, 0)
	if err != nil || string(user) != ProxyUser || string(password) != ProxyPassword {
		_, _ = conn.Write([]byte{1, 1})
		return nil, errors.New("unknown user")
	}
	_, _ = conn.Write([]byte{1, 0})
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	var host []byte
	if head[3] == 3 {
		host, err = block(conn, 0)
	} else {
		ip := make(net.IP, map[byte]int{1: 4, 4: 16}[head[3]])
		_, err = io.ReadFull(conn, ip)
		host = []byte(ip.String())
	}
	var port [2]byte
	if _, err2 := io.ReadFull(conn, port[:]); err != nil || err2 != nil {
		return nil, errors.Join(err, err2)
	}
	to, err := net.Dial("tcp", net.JoinHostPort(string(host), strconv.Itoa(int(binary.BigEndian.Uint16(port[:])))))
	if err != nil {
		return nil, err
	}
	_, _ = conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	return to, nil
}

// block reads what has its length before it, after some bytes to skip.
func block(conn net.Conn, skip int) ([]byte, error) {
	head := make([]byte, skip+1)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	body := make([]byte, head[skip])
	_, err := io.ReadFull(conn, body)
	return body, err
}

// join copies both ways until either ends.
func join(conn net.Conn, from io.Reader, to net.Conn) {
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(conn, to)
	_ = conn.Close()
}
