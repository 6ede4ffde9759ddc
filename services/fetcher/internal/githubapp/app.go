// Package githubapp exchanges the private key of a GitHub App for the token of one of
// its installations, which reads repositories.
package githubapp

import (
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluice-gitops/sluice/internal/credential"
)

// The entries of a Secret.
const (
	keyID           = "githubAppID"
	keyInstallation = "githubAppInstallationID"
	keyOwner        = "githubAppInstallationOwner"
	keyPrivate      = "githubAppPrivateKey"
	keyBaseURL      = "githubAppBaseURL"
)

const defaultBaseURL = "https://api.github.com"

// User is the name that goes with a token as the password.
const User = "x-access-token"

// App is one installation of a GitHub App.
type App struct {
	id, installation, owner, base string
	key                           *rsa.PrivateKey
	identity                      credential.Key
}

// Named says that a Secret is one of a GitHub App.
func Named(data map[string][]byte) bool { return len(data[keyID]) > 0 }

// Parse reads an App from a Secret: githubAppID, githubAppPrivateKey, one of
// githubAppInstallationID and githubAppInstallationOwner, and githubAppBaseURL, which is
// https://api.github.com by default.
func Parse(data map[string][]byte) (App, error) {
	text := func(key string) string { return strings.TrimSpace(string(data[key])) }
	a := App{id: text(keyID), installation: text(keyInstallation), owner: text(keyOwner), base: strings.TrimSuffix(text(keyBaseURL), "/")}
	if a.base == "" {
		a.base = defaultBaseURL
	}
	switch {
	case a.id == "":
		return a, fmt.Errorf("key '%s' not found", keyID)
	case (a.installation == "") == (a.owner == ""):
		return a, fmt.Errorf("exactly one of '%s' and '%s' must be set", keyInstallation, keyOwner)
	}
	if u, err := url.Parse(a.base); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return a, fmt.Errorf("'%s' is no http or https URL without credentials", keyBaseURL)
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM(data[keyPrivate])
	if err != nil {
		return a, fmt.Errorf("parse '%s': it must be an RSA private key in PEM form", keyPrivate)
	}
	a.key = key
	a.identity = credential.KeyOf(a.id, a.installation, a.owner, a.base, string(data[keyPrivate]))
	return a, nil
}

// Identity is the same for equal Secrets, and tells nothing of their keys.
func (a App) Identity() string { return hex.EncodeToString(a.identity[:]) }

// assertion is what the App itself shows, for a few minutes. It begins a minute ago,
// because clocks differ.
func (a App) assertion(now time.Time) (string, error) {
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer: a.id, IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), ExpiresAt: jwt.NewNumericDate(now.Add(9 * time.Minute)),
	}).SignedString(a.key)
	if err != nil {
		return "", errors.New("sign the request for a token: the private key cannot be used")
	}
	return signed, nil
}
