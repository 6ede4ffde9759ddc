package git

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/sluice-gitops/sluice/internal/serve"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// ErrEmpty says that the remote repository has no commit.
var ErrEmpty = errors.New("git repository is empty")

// ErrSHA256 says that the remote repository names its objects by SHA-256.
var ErrSHA256 = errors.New("the repository's objects are named by SHA-256, only SHA-1 is supported")

// ErrLimit says that a repository is larger than the configured bounds.
var ErrLimit = errors.New("limit exceeded")

// Remote is a repository and how to authenticate to it.
type Remote struct {
	// URL is an http, https or ssh URL; user information in an https URL is used
	// when Auth names none.
	URL string
	// Auth holds the credentials.
	Auth Auth
	// Scope says whose the user name, password and token are, for who gets new ones
	// from time to time, such as an app that gets tokens: mirrors go by it then. When it is
	// empty they go by the credentials themselves. It is no secret.
	Scope string
	// Namespace is who asks: namespaces take turns where there is not room for all.
	Namespace string
	// Proxy is an http, https or socks5 URL, with user information if the proxy asks
	// for it; nil for what the environment says, which is about HTTP only.
	Proxy *url.URL
}

// identity is equal for remotes that are read from the same place in the same way.
func (r Remote) identity() flight.Key {
	reader := r.reader()
	return hashOf([]byte(r.plainURL()), reader[:], []byte(r.Auth.Username), []byte(r.Auth.Password), []byte(r.Auth.BearerToken))
}

// reader is equal for remotes that are read with the same credentials, and trust the same
// servers.
func (r Remote) reader() [sha256.Size]byte {
	proxy, a := "", r.Auth
	if r.Proxy != nil {
		proxy = r.Proxy.String()
	}
	login := hashOf([]byte(r.userinfo()), []byte(a.Username), []byte(a.Password), []byte(a.BearerToken))
	if r.Scope != "" {
		login = [sha256.Size]byte{}
	}
	return hashOf([]byte(r.Scope), login[:], []byte(proxy), a.CA, a.ClientCert, a.ClientKey, a.Identity, []byte(a.Passphrase), a.KnownHosts)
}

// road is how the remote's server is asked.
func (r Remote) road() transport.Road {
	road := transport.Road{User: r.Auth.Username, Password: r.Auth.Password, Token: r.Auth.BearerToken, Certificate: string(r.Auth.ClientCert)}
	if u, err := url.Parse(r.URL); err == nil && u.User != nil && road.User == "" && road.Token == "" {
		road.User = u.User.Username()
		road.Password, _ = u.User.Password()
	}
	if r.Scope != "" {
		road.User, road.Password, road.Token = "", "", r.Scope
	}
	if r.Proxy != nil {
		road.Proxy = r.Proxy.String()
	}
	return road
}

func hashOf(parts ...[]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, part := range parts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part))) // a hash takes everything
		_, _ = h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// plainURL is the URL without user information.
func (r Remote) plainURL() string {
	u, err := url.Parse(r.URL)
	if err != nil {
		return r.URL
	}
	u.User = nil
	return u.String()
}

func (r Remote) userinfo() string {
	u, err := url.Parse(r.URL)
	if err != nil {
		return ""
	}
	return u.User.String()
}

// Auth holds credentials of any kind that a remote may ask for.
type Auth struct {
	Username, Password string
	// BearerToken excludes Username and Password.
	BearerToken string
	// CA is a PEM bundle of the authorities to trust beside the system's.
	CA []byte
	// ClientCert and ClientKey are a PEM key pair for mutual TLS.
	ClientCert, ClientKey []byte
	// Identity is a PEM private key for SSH; Passphrase opens it if encrypted.
	Identity   []byte
	Passphrase string
	// KnownHosts holds the SSH host keys to accept, in OpenSSH's format.
	KnownHosts []byte
}

// Reference says which commit is wanted. The first field that is set wins, in
// the order Commit, Name, Tag, SemVer, Branch; with none, branch master.
// A Branch beside a Commit names the branch that must hold the commit.
type Reference struct {
	Branch, Tag, SemVer, Name, Commit string
}

// ParseURL checks that a repository URL can be used.
func ParseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil && strings.Contains(raw, "@"): // the error may quote a part of a password, as if it were the port
		return nil, errors.New("parse URL: it is none: write signs of the user and the password such as '/', '#' and '%' as %2F, %23 and %25")
	case err != nil:
		return nil, fmt.Errorf("parse URL: %w", hideURL(err))
	}
	switch u.Scheme {
	case "http", "https", "ssh":
	default:
		return nil, fmt.Errorf("URL scheme %q is not supported, use http, https or ssh", u.Scheme)
	}
	if u.Hostname() == "" {
		return nil, errors.New("URL has no host")
	}
	// Git runs no program here, but what is handed on from here may be read by one.
	if strings.HasPrefix(u.Hostname(), "-") {
		return nil, errors.New("the host begins with '-', which programs read as an option: name the host itself")
	}
	if strings.HasPrefix(u.User.Username(), "-") {
		return nil, errors.New("the user begins with '-', which programs read as an option: name the user itself")
	}
	if strings.Trim(u.Path, "/") == "" {
		return nil, errors.New("URL has no path")
	}
	if strings.ContainsAny(u.Path, "\x00\r\n") {
		return nil, errors.New("URL path holds control characters")
	}
	return u, nil
}

// hideURL drops the URL from an error of net/url, which may hold a password.
func hideURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// clean removes the remote's credentials from an error's text: those it knows
// by value, and any that look like one.
func (r Remote) clean(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, secret := range r.secrets() {
		text = strings.ReplaceAll(text, secret, "***")
	}
	if text = serve.Redact(text); text == err.Error() {
		return err
	}
	return &cleanError{text: text, err: err}
}

func (r Remote) secrets() []string {
	secrets := []string{r.Auth.Password, r.Auth.BearerToken, r.Auth.Passphrase}
	if u, err := url.Parse(r.URL); err == nil && u.User != nil {
		if password, ok := u.User.Password(); ok {
			secrets = append(secrets, password, url.QueryEscape(password), url.PathEscape(password))
		}
	}
	if r.Proxy != nil {
		if password, ok := r.Proxy.User.Password(); ok {
			secrets = append(secrets, password, url.QueryEscape(password), url.PathEscape(password))
		}
	}
	kept := secrets[:0]
	for _, s := range secrets {
		if len(s) >= 4 { // shorter ones would eat ordinary text
			kept = append(kept, s)
		}
	}
	return kept
}

type cleanError struct {
	text string
	err  error
}

// Error returns the text without credentials.
func (e *cleanError) Error() string { return e.text }

// Unwrap returns the original, for its identity, not for its text.
func (e *cleanError) Unwrap() error { return e.err }
