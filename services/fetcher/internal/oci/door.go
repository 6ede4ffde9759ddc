package oci

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	registry "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// door is how a repository is asked with one login. It is safe for concurrent use.
type door struct {
	via   http.RoundTripper
	login authn.Authenticator

	// open is the puller of one who was let in, with what the registry said of logging in.
	open atomic.Pointer[remote.Puller]
}

// through asks through a door. Those who share a puller wait for its first contact with the
// registry, whatever their own time is. So until one was let in, each comes by itself.
func through[T any](d *door, ask func(*remote.Puller) (T, error)) (T, error) {
	if open := d.open.Load(); open != nil {
		answer, err := ask(open)
		if !refused(err) {
			return answer, err
		}
		d.open.CompareAndSwap(open, nil) // the registry may ask for another way of logging in by now
	}
	var none T
	own, err := remote.NewPuller(
		remote.WithTransport(d.via), remote.WithAuth(d.login), remote.WithUserAgent("sluice"),
		remote.WithRetryBackoff(remote.Backoff{Duration: 100 * time.Millisecond, Factor: 3, Steps: 2}),
	)
	if err != nil {
		return none, err
	}
	answer, err := ask(own)
	if err == nil {
		d.open.CompareAndSwap(nil, own)
	}
	return answer, err
}

// refused says whether a registry wants another login, or the same one in another way.
func refused(err error) bool {
	var answer *registry.Error
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}
