package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/api/storage/v1"

	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

const (
	// keyType is the one type of key that a Secret may hold: others name programs,
	// files and URLs to get credentials from.
	keyType = "service_account"
	// tokenTimeout bounds one request for a token.
	tokenTimeout = 30 * time.Second
	// listed are the parts of a listing that are read.
	listed = "nextPageToken,items(name,etag,generation,size)"
)

// gcs is a bucket of Google Cloud Storage, read by its JSON API.
type gcs struct {
	objects *storage.ObjectsService
	bucket  string
}

// newGCS returns the bucket. Tokens come from the source, and the rest of the requests
// goes out by via.
func newGCS(spec sourcev1.BucketSpec, tokens oauth2.TokenSource, via http.RoundTripper) (store, error) {
	at, err := endpoint(spec)
	if err != nil {
		return nil, err
	}
	// The context is not kept: a client is given.
	service, err := storage.NewService(context.Background(),
		option.WithHTTPClient(&http.Client{Transport: &oauth2.Transport{Source: tokens, Base: via}, CheckRedirect: noRedirect}),
		option.WithEndpoint(at.JoinPath("storage/v1/").String()), option.WithUserAgent("sluice"))
	if err != nil {
		return nil, err
	}
	return &gcs{objects: service.Objects, bucket: spec.BucketName}, nil
}

// noRedirect takes a redirect for the answer: following it would show the login to
// whatever server it names.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// endpoint is the URL of spec.endpoint, which may have a scheme and need not.
func endpoint(spec sourcev1.BucketSpec) (*url.URL, error) {
	text := spec.Endpoint
	if !strings.Contains(text, "://") {
		scheme := "https://"
		if spec.Insecure {
			scheme = "http://"
		}
		text = scheme + text
	}
	at, err := url.Parse(text)
	if err != nil || at.Host == "" || at.User != nil || at.Scheme != "https" && at.Scheme != "http" {
		return nil, errors.New("spec.endpoint is no host and no http or https URL without credentials")
	}
	return at, nil
}

// accountKey is the key of a service account in the Secret, as a source of tokens.
func (s secrets) accountKey(spec sourcev1.BucketSpec, via http.RoundTripper) (oauth2.TokenSource, error) {
	key := s.Login["serviceaccount"]
	if len(key) == 0 {
		return nil, fmt.Errorf("invalid '%s' secret data: required fields 'serviceaccount'", spec.SecretRef.Name)
	}
	// What the parser says may quote the key.
	var kind struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(key, &kind) != nil {
		return nil, fmt.Errorf("invalid '%s' secret data: failed to parse 'serviceaccount' as JSON", spec.SecretRef.Name)
	}
	if kind.Type != keyType {
		return nil, fmt.Errorf("invalid '%s' secret data: 'serviceaccount' must contain a service account key with 'type' set to '%s'",
			spec.SecretRef.Name, keyType)
	}
	config, err := google.JWTConfigFromJSON(key, storage.DevstorageReadOnlyScope)
	if err != nil {
		return nil, fmt.Errorf("invalid '%s' secret data: 'serviceaccount' holds no key that can be used", spec.SecretRef.Name)
	}
	client := &http.Client{Transport: via, Timeout: tokenTimeout}
	return config.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, client)), nil
}

func (g *gcs) list(ctx context.Context, prefix string, found func(object)) error {
	err := g.objects.List(g.bucket).Prefix(prefix).Fields(listed).Pages(ctx, func(page *storage.Objects) error {
		for _, item := range page.Items {
			if !strings.HasSuffix(item.Name, "/") {
				found(object{key: item.Name, etag: item.Etag, generation: item.Generation, size: int64(item.Size)})
			}
		}
		return nil
	})
	if status(err) == http.StatusNotFound {
		return errNoBucket
	}
	return identity.Brief(err)
}

func (g *gcs) open(ctx context.Context, o object) (io.ReadCloser, error) {
	call := g.objects.Get(g.bucket, o.key).Context(transport.Streamed(ctx))
	if o.generation != 0 {
		call = call.IfGenerationMatch(o.generation)
	}
	res, err := call.Download()
	if status(err) == http.StatusNotFound {
		return nil, errNoObject
	}
	if err != nil {
		return nil, identity.Brief(err)
	}
	return res.Body, nil
}

// status is that of the answer that an error tells of, 0 if it does not.
func status(err error) int {
	var answer *googleapi.Error
	if errors.As(err, &answer) {
		return answer.Code
	}
	return 0
}
