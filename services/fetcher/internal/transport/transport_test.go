package transport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// identity returns a self-signed client certificate and its key in PEM form.
func identity(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestTLSReachesAServerThatAsksForACertificate(t *testing.T) {
	cert, key := identity(t)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(cert)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for reason, c := range map[string]struct {
		data map[string][]byte
		want string // of the error; empty for none
	}{
		"the standard names":          {map[string][]byte{"ca.crt": ca, "tls.crt": cert, "tls.key": key}, ""},
		"the legacy names":            {map[string][]byte{"caFile": ca, "certFile": cert, "keyFile": key}, ""},
		"standard names win":          {map[string][]byte{"ca.crt": ca, "caFile": []byte("no"), "tls.crt": cert, "tls.key": key}, ""},
		"no client certificate":       {map[string][]byte{"ca.crt": ca}, "tls"},
		"an unknown authority":        {map[string][]byte{"tls.crt": cert, "tls.key": key}, "x509"},
		"a CA that is none":           {map[string][]byte{"ca.crt": []byte("no")}, "failed to parse CA certificate"},
		"a certificate without a key": {map[string][]byte{"tls.crt": cert}, "go together"},
		"a key that is none":          {map[string][]byte{"tls.crt": cert, "tls.key": []byte("no")}, "failed to find any PEM data"},
		"an empty secret":             {nil, "neither"},
	} {
		got := ""
		if err := get(t, c.data, server.URL); err != nil {
			got = err.Error()
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: error %q, want %q", reason, got, c.want)
		}
	}
}

func get(t *testing.T, data map[string][]byte, url string) error {
	t.Helper()
	config, err := transport.TLS(data)
	if err != nil {
		return err
	}
	made := transport.New(config, nil)
	defer made.CloseIdleConnections()
	return do(t, made, url)
}

func do(t *testing.T, made *http.Transport, url string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: made}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func TestRequestsGoThroughTheProxyWithItsCredentials(t *testing.T) {
	seen := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen <- r.URL.String() + " " + r.Header.Get("Proxy-Authorization")
	}))
	defer server.Close()
	proxy, err := transport.Proxy(map[string][]byte{"address": []byte(server.URL), "username": []byte("u"), "password": []byte("p")})
	if err != nil {
		t.Fatal(err)
	}
	made := transport.New(nil, proxy)
	defer made.CloseIdleConnections()
	if err := do(t, made, "http://registry.invalid/v2/"); err != nil {
		t.Fatal(err)
	}
	if got, want := <-seen, "http://registry.invalid/v2/ Basic dTpw"; got != want {
		t.Errorf("the proxy saw %q, want %q", got, want)
	}
}

func TestProxyRefusesWhatCannotWork(t *testing.T) {
	for reason, c := range map[string]struct {
		address, username, password, want string
	}{
		"http":                    {"http://p:1", "", "", ""},
		"https":                   {"https://p", "", "", ""},
		"socks5":                  {"socks5://p:1", "u", "secret", ""},
		"no address":              {"", "", "", "key 'address' not found"},
		"another scheme":          {"ftp://u:secret@p", "", "", "is no http, https or socks5 URL"},
		"no host":                 {"http://", "", "", "is no http, https or socks5 URL"},
		"no URL":                  {"http://u:secret@p:%zz", "", "", "is no http, https or socks5 URL"},
		"too long":                {"http://" + strings.Repeat("p", 2048), "", "", "more than 2048"},
		"a user without password": {"http://p", "u", "", ""},
		"a password without user": {"http://p", "", "secret", "requires 'username'"},
	} {
		_, err := transport.Proxy(map[string][]byte{
			"address": []byte(c.address), "username": []byte(c.username), "password": []byte(c.password),
		})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || strings.Contains(got, "secret") {
			t.Errorf("%s: error %q, want %q", reason, got, c.want)
		}
	}
}
