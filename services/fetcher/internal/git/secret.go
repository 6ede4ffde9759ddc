package git

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// ParseAuth reads credentials for a URL from the data of a Secret: username and
// password, bearerToken, ca.crt, tls.crt and tls.key (or the legacy caFile,
// certFile and keyFile), and for ssh identity, password as its passphrase, and
// known_hosts, which is mandatory.
func ParseAuth(rawURL string, data map[string][]byte) (Auth, error) {
	u, err := ParseURL(rawURL)
	if err != nil {
		return Auth{}, err
	}
	if u.Scheme == "ssh" {
		return parseSSH(data)
	}
	return parseHTTP(u.Scheme, data)
}

func parseSSH(data map[string][]byte) (Auth, error) {
	a := Auth{Identity: data["identity"], KnownHosts: data["known_hosts"], Passphrase: string(data["password"])}
	if len(a.Identity) == 0 {
		return a, errors.New("invalid 'ssh' auth option: 'identity' is required")
	}
	if len(a.KnownHosts) == 0 {
		return a, errors.New("invalid 'ssh' auth option: 'known_hosts' is required")
	}
	if _, err := a.signer(); err != nil {
		return a, err
	}
	return a, nil
}

// signer opens the SSH private key.
func (a Auth) signer() (ssh.Signer, error) {
	if a.Passphrase == "" {
		signer, err := ssh.ParsePrivateKey(a.Identity)
		var missing *ssh.PassphraseMissingError
		if errors.As(err, &missing) {
			return nil, errors.New("parse 'identity': the private key is encrypted, set 'password' to its passphrase")
		}
		if err != nil {
			return nil, fmt.Errorf("parse 'identity': %w", err)
		}
		return signer, nil
	}
	signer, err := ssh.ParsePrivateKeyWithPassphrase(a.Identity, []byte(a.Passphrase))
	if err == nil {
		return signer, nil
	}
	// A key without a passphrase beside a password is used as it is.
	if plain, plainErr := ssh.ParsePrivateKey(a.Identity); plainErr == nil {
		return plain, nil
	}
	return nil, fmt.Errorf("parse 'identity' with 'password': %w", err)
}

func parseHTTP(scheme string, data map[string][]byte) (Auth, error) {
	a := Auth{
		Username: string(data["username"]), Password: string(data["password"]), BearerToken: string(data["bearerToken"]),
		CA: first(data, "ca.crt", "caFile"),
	}
	a.ClientCert, a.ClientKey = data["tls.crt"], data["tls.key"]
	if len(a.ClientCert) == 0 && len(a.ClientKey) == 0 {
		a.ClientCert, a.ClientKey = data["certFile"], data["keyFile"]
	}
	if a.Username == "" && a.Password != "" {
		return a, fmt.Errorf("invalid '%s' auth option: 'password' requires 'username' to be set", scheme)
	}
	if a.Username != "" && a.Password == "" {
		return a, fmt.Errorf("invalid '%s' auth option: 'username' requires 'password' to be set", scheme)
	}
	if a.Username != "" && a.BearerToken != "" {
		return a, errors.New("basic auth and bearer token cannot be set at the same time")
	}
	return a, nil
}

func first(data map[string][]byte, keys ...string) []byte {
	for _, key := range keys {
		if len(data[key]) > 0 {
			return data[key]
		}
	}
	return nil
}

// tlsConfig returns the TLS settings of the credentials.
func (a Auth) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(a.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("load system certificates: %w", err)
		}
		if !pool.AppendCertsFromPEM(a.CA) {
			return nil, errors.New("x509: 'ca.crt' holds no certificate in PEM form")
		}
		c.RootCAs = pool
	}
	if len(a.ClientCert) > 0 || len(a.ClientKey) > 0 {
		pair, err := tls.X509KeyPair(a.ClientCert, a.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("load client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
