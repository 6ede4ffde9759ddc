package githubapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sluice-gitops/sluice/internal/credential"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// errNotFound is an answer 404.
var errNotFound = errors.New("not found (HTTP 404)")

// Tokens keeps the tokens of installations until shortly before they end. Its zero
// value is ready to use, by many at once.
type Tokens struct{ kept credential.Cache[string] }

// Get returns a token of the app, which many that ask at once ask for once. Requests
// go out by transport.
func (t *Tokens) Get(ctx context.Context, app App, transport http.RoundTripper) (string, error) {
	return t.kept.Get(ctx, app.identity, func(ctx context.Context) (string, time.Time, error) {
		token, ends, err := exchange(ctx, app, transport)
		if err != nil {
			return "", ends, fmt.Errorf("get a token of GitHub App %s: %w", app.id, err)
		}
		return token, ends, nil
	})
}

func exchange(ctx context.Context, app App, transport http.RoundTripper) (token string, ends time.Time, err error) {
	assertion, err := app.assertion(time.Now())
	if err != nil {
		return "", ends, err
	}
	c := api{base: app.base, assertion: assertion, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	installation := app.installation
	if installation == "" {
		if installation, err = c.installation(ctx, app.owner); err != nil {
			return "", ends, fmt.Errorf("find the installation of '%s': %w", app.owner, err)
		}
	}
	var answer struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := c.call(ctx, http.MethodPost, "/app/installations/"+url.PathEscape(installation)+"/access_tokens", &answer); err != nil {
		return "", ends, err
	}
	if answer.Token == "" {
		return "", ends, errors.New("the answer holds no token")
	}
	return answer.Token, answer.ExpiresAt, nil
}

// api calls GitHub as the App.
type api struct {
	base, assertion string
	client          *http.Client
}

// installation finds that of an organisation or a user.
func (a api) installation(ctx context.Context, owner string) (string, error) {
	var answer struct {
		ID int64 `json:"id"`
	}
	err := a.call(ctx, http.MethodGet, "/orgs/"+url.PathEscape(owner)+"/installation", &answer)
	if errors.Is(err, errNotFound) {
		err = a.call(ctx, http.MethodGet, "/users/"+url.PathEscape(owner)+"/installation", &answer)
	}
	return strconv.FormatInt(answer.ID, 10), err
}

// call says nothing of what the server answers: that is not ours.
func (a api) call(ctx context.Context, method, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return errors.New("the base URL cannot be used")
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	req.Header.Set("Authorization", "Bearer "+a.assertion)
	res, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	switch {
	case res.StatusCode == http.StatusNotFound:
		return errNotFound
	case res.StatusCode == http.StatusUnauthorized:
		return errors.New("the App was not recognised (HTTP 401): check its id and private key")
	case res.StatusCode/100 != 2:
		return fmt.Errorf("unexpected HTTP status %d", res.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(answer); err != nil {
		return errors.New("the answer cannot be read")
	}
	return nil
}
