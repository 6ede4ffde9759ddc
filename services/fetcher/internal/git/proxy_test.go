package git

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// No more is read of what a proxy says than there may be; of what comes through it, all is.
func TestHeaderOfAProxyIsBounded(t *testing.T) {
	const body = 4 * maxTunnelHeader
	for why, c := range map[string]struct {
		header int
		limit  bool
	}{
		"a short header": {10, false}, "a long one": {maxTunnelHeader / 2, false}, "one without end": {64 << 20, true},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return // the test says why
			}
			defer func() { _ = conn.Close() }()
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				return
			}
			for _, text := range []io.Reader{
				strings.NewReader("HTTP/1.1 200 OK\r\nX: "), bytes.NewReader(bytes.Repeat([]byte("x"), c.header)),
				strings.NewReader("\r\n\r\n"), bytes.NewReader(make([]byte, body)),
			} {
				if _, err := io.Copy(conn, text); err != nil {
					return // nobody reads it any more
				}
			}
		}()
		conn, err := tunnel(t.Context(), &url.URL{Scheme: "http", Host: listener.Addr().String()}, "example.org:22")
		if errors.Is(err, ErrLimit) != c.limit || (err != nil) != c.limit {
			t.Errorf("%s: got %v", why, err)
		}
		if err == nil {
			if n, err := io.Copy(io.Discard, conn); err != nil || n != body {
				t.Errorf("%s: %d bytes came through it, %v, want %d", why, n, err, body)
			}
			_ = conn.Close() // it was only read
		}
		_ = listener.Close() // nothing else comes
	}
}
