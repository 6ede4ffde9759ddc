package chartrepo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// resolve returns the URL of a package: relative ones are below the repository's, and
// take over its query, where some hosts expect a token.
func resolve(base, ref *url.URL) *url.URL {
	if ref.IsAbs() {
		return ref
	}
	folder := *base
	if !strings.HasSuffix(folder.Path, "/") {
		folder.Path, folder.RawPath = folder.Path+"/", ""
	}
	found := folder.ResolveReference(ref)
	if found.RawQuery == "" {
		found.RawQuery = base.RawQuery
	}
	return found
}

// locate returns where the package of a version is.
func locate(r Repository, v chartindex.Version) (*url.URL, error) {
	if v.URL == "" {
		return nil, errors.New("the index names no URL of it")
	}
	base, err := url.Parse(r.URL)
	if err != nil {
		return nil, errors.New("the repository's URL is no URL")
	}
	ref, err := url.Parse(v.URL)
	if err != nil {
		return nil, errors.New("the index names a URL that is none")
	}
	location := resolve(base, ref)
	if location.Scheme != "http" && location.Scheme != "https" {
		return nil, fmt.Errorf("the index names a URL of scheme %q, only http and https are read", location.Scheme)
	}
	return location, nil
}

func indexURL(repository string) (*url.URL, error) {
	u, err := url.Parse(repository)
	if err != nil || u.Host == "" {
		return nil, errors.New("the repository's URL is no URL with a host")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.JoinPath("index.yaml"), nil
}

// maxRedirects is how many redirects of one request are followed.
const maxRedirects = 5

// get sends a request. The answer is 200 or 304; done gives it back.
func (c *Client) get(ctx context.Context, r Repository, location *url.URL, header func(http.Header)) (_ *http.Response, done func(), err error) {
	if err := source.Ask(ctx, transport.HostOf(location), r.Road); err != nil {
		return nil, nil, err
	}
	home, err := url.Parse(r.URL)
	if err != nil {
		return nil, nil, errors.New("the repository's URL is no URL")
	}
	user, password := r.Username, r.Password
	if home.User != nil && user == "" {
		user = home.User.Username()
		password, _ = home.User.Password()
	}
	authorize := func(req *http.Request) {
		at := origin(req.URL)
		// Another host gets them if the index names it, not if a redirect does.
		if user != "" && (at == origin(home) || r.PassCredentials && at == origin(location)) {
			req.SetBasicAuth(user, password)
		}
	}
	target := *location
	target.User = nil
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, nil, fmt.Errorf("request %s: %w", shown(&target), err)
	}
	req.Header.Set("User-Agent", "Helm/3.21 (sluice)") // some hosts answer Helm alone
	header(req.Header)
	authorize(req)
	via := transport.New(r.TLS, nil)
	road := transport.Road{User: user, Password: password}
	if r.TLS != nil && len(r.TLS.Certificates) > 0 {
		road.Certificate = string(r.Trust[:])
	}
	client := &http.Client{Transport: c.config.Quiet.Over(road, via), CheckRedirect: func(next *http.Request, before []*http.Request) error {
		if len(before) > maxRedirects {
			return errors.New("too many redirects")
		}
		if before[len(before)-1].URL.Scheme == "https" && next.URL.Scheme != "https" {
			return errors.New("refused a redirect from https to " + next.URL.Scheme)
		}
		next.Header.Del("Authorization")
		next.Header.Del("Referer") // its query may be a token
		authorize(next)
		return nil
	}}
	res, err := client.Do(req)
	if err != nil {
		via.CloseIdleConnections()
		return nil, nil, fmt.Errorf("failed to fetch %s: %w", shown(&target), cause(err))
	}
	done = func() {
		_ = res.Body.Close() // it was only read
		via.CloseIdleConnections()
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusNotModified {
		return res, done, nil
	}
	done()
	return nil, nil, &StatusError{Code: res.StatusCode, text: fmt.Sprintf("failed to fetch %s : %s", shown(&target), res.Status)}
}

// StatusError says that a server refuses a request.
type StatusError struct {
	// Code is the HTTP status.
	Code int

	text string
}

// Error implements error.
func (e *StatusError) Error() string { return e.text }

// shown is a URL without what may be a secret.
func shown(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

func origin(u *url.URL) string { return strings.ToLower(u.Scheme + "://" + u.Host) }

// cause drops the URL from an error, which may name credentials in its query.
func cause(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}
