package provider

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // GitHub and generic-hmac senders may still sign with SHA-1
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strings"

	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
)

// Delivery is what an authenticated request says of itself.
type Delivery struct {
	// Event is the provider's name of what happened; empty when the type has none.
	Event string
	// ID is the provider's own id of the delivery; empty when it sends none.
	ID string
}

// ErrRefused says that a request is not what the Receiver accepts. Its text
// holds nothing of the token or the body.
var ErrRefused = errors.New("delivery refused")

// Served lists the Receiver types that are served.
func Served() []string {
	return []string{notificationv1.GitHubReceiver, notificationv1.GenericHMACReceiver}
}

// Check authenticates a request of a Receiver type: header and body against the
// token, and the event against the accepted ones, where the type has events. An
// empty list accepts every event. What is refused wraps ErrRefused.
func Check(kind, token string, accepted []string, header http.Header, body []byte) (Delivery, error) {
	if token == "" {
		return Delivery{}, fmt.Errorf("%w: the receiver has no token", ErrRefused)
	}
	switch kind {
	case notificationv1.GitHubReceiver:
		return github(token, accepted, header, body)
	case notificationv1.GenericHMACReceiver:
		return Delivery{}, signed("X-Signature", header.Get("X-Signature"), token, body, "sha1", "sha256", "sha512")
	}
	return Delivery{}, fmt.Errorf("%w: receiver type %s is not served", ErrRefused, kind)
}

func github(token string, accepted []string, header http.Header, body []byte) (Delivery, error) {
	name := "X-Hub-Signature-256"
	if old := "X-Hub-Signature"; header.Get(name) == "" && header.Get(old) != "" {
		name = old
	}
	if err := signed(name, header.Get(name), token, body, "sha1", "sha256"); err != nil {
		return Delivery{}, err
	}
	event := header.Get("X-GitHub-Event")
	if !accepts(accepted, event) {
		return Delivery{}, fmt.Errorf("%w: event %.40q is not one of %s", ErrRefused, event, strings.Join(accepted, ", "))
	}
	return Delivery{Event: bounded(event), ID: bounded(header.Get("X-GitHub-Delivery"))}, nil
}

// accepts compares event types without regard to case.
func accepts(accepted []string, event string) bool {
	return len(accepted) == 0 || slices.ContainsFunc(accepted, func(a string) bool { return strings.EqualFold(a, event) })
}

// signed checks a header of the form algorithm=hex.
func signed(name, value, token string, body []byte, algorithms ...string) error {
	if value == "" {
		return fmt.Errorf("%w: header %s is missing", ErrRefused, name)
	}
	algorithm, signature, found := strings.Cut(value, "=")
	if !found || !slices.Contains(algorithms, algorithm) {
		return fmt.Errorf("%w: header %s must be <%s>=<hex>", ErrRefused, name, strings.Join(algorithms, "|"))
	}
	got, err := hex.DecodeString(signature)
	if err != nil {
		return fmt.Errorf("%w: header %s holds no hex", ErrRefused, name)
	}
	mac := hmac.New(newHash(algorithm), []byte(token))
	mac.Write(body)
	if !hmac.Equal(got, mac.Sum(nil)) {
		return fmt.Errorf("%w: the signature in %s does not match", ErrRefused, name)
	}
	return nil
}

func newHash(algorithm string) func() hash.Hash {
	switch algorithm {
	case "sha1":
		return sha1.New
	case "sha512":
		return sha512.New
	default:
		return sha256.New
	}
}

// bounded keeps a header's value fit for an event and a log line.
func bounded(s string) string {
	const limit = 128
	return s[:min(len(s), limit)]
}
