// Package transport makes HTTP transports from the Secrets that sources name: TLS
// settings and a proxy. What goes over them leaves a server alone that asked for that,
// and reads no more of an answer than has a bound.
package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	maxAddress       = 2048
	handshakeTimeout = 20 * time.Second
	idleTimeout      = time.Minute
)

// TLS returns the settings that the data of a certSecretRef asks for: ca.crt to trust
// beside the system's certificates, tls.crt and tls.key to present. The legacy names
// caFile, certFile and keyFile count where the others are missing. Data without any of
// them is an error: a Secret that is named and says nothing is a mistake.
func TLS(data map[string][]byte) (*tls.Config, error) {
	ca := data["ca.crt"]
	if len(ca) == 0 {
		ca = data["caFile"]
	}
	cert, key := identity(data)
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case len(ca) == 0 && len(cert) == 0 && len(key) == 0:
		return nil, errors.New("the secret has neither 'ca.crt' nor 'tls.crt' and 'tls.key'")
	case (len(cert) == 0) != (len(key) == 0):
		return nil, errors.New("'tls.crt' and 'tls.key' go together: set both or none")
	}
	if len(ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("load system certificates: %w", err)
		}
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("failed to parse CA certificate: 'ca.crt' holds none in PEM form")
		}
		config.RootCAs = pool
	}
	if len(cert) > 0 {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("load client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// identity is the certificate to present, and its key.
func identity(data map[string][]byte) (cert, key []byte) {
	cert, key = data["tls.crt"], data["tls.key"]
	if len(cert) == 0 && len(key) == 0 {
		cert, key = data["certFile"], data["keyFile"]
	}
	return cert, key
}

// Proxy returns the proxy that the data of a proxySecretRef names: address, an http,
// https or socks5 URL, and the optional username and password. No error repeats the
// address, which may hold a password.
func Proxy(data map[string][]byte) (*url.URL, error) {
	address := string(data["address"])
	switch {
	case address == "":
		return nil, errors.New("key 'address' not found")
	case len(address) > maxAddress:
		return nil, fmt.Errorf("'address' has more than %d characters", maxAddress)
	}
	proxy, err := url.Parse(address)
	if err != nil || !slices.Contains([]string{"http", "https", "socks5"}, proxy.Scheme) || proxy.Hostname() == "" {
		return nil, errors.New("'address' is no http, https or socks5 URL with a host")
	}
	user, password := string(data["username"]), string(data["password"])
	switch {
	case user == "" && password != "":
		return nil, errors.New("'password' requires 'username' to be set")
	case user != "":
		proxy.User = url.UserPassword(user, password)
	}
	return proxy, nil
}

// HostOf returns the host of a URL: with its port if that is not the one of its scheme.
func HostOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := map[string]string{"http": "80", "https": "443", "oci": "443", "ssh": "22"}[u.Scheme]; port != "" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return strings.TrimSuffix(host, ":")
}

// New returns a transport with TLS settings and a proxy; for nil it takes the system's
// certificates and the proxy of the environment. Who makes one closes its idle
// connections.
func New(config *tls.Config, proxy *url.URL) *http.Transport {
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	made := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: handshakeTimeout, IdleConnTimeout: idleTimeout,
	}
	if proxy != nil {
		made.Proxy = http.ProxyURL(proxy)
	}
	return made
}
