package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/oauth2"

	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// secrets is the data of the Secrets that an object names; nil for those it does not.
type secrets struct {
	Login, TLS, Proxy, STSLogin, STSTLS map[string][]byte
}

// login is how a bucket's server is asked: by the Secrets of the object, or by the
// credentials of an identity.
type login struct {
	secrets
	Keys  identity.Keys
	Token string
	ends  time.Time
}

// connection is a bucket, as its server is asked for it.
type connection struct {
	store
	// access is equal for the same bucket and the same login.
	access flight.Key
}

// connect returns the bucket of an object.
func (k *Kind) connect(ctx context.Context, o *sourcev1.Bucket) (*connection, error) {
	spec := o.Spec
	spec.Provider = provider(spec)
	if err := check(spec); err != nil {
		return nil, err
	}
	s, err := k.read(ctx, o)
	if err != nil {
		return nil, err
	}
	l := login{secrets: s}
	if err := k.identify(ctx, o, spec, &l); err != nil {
		return nil, err
	}
	scope := []any{spec.Endpoint, spec.BucketName, spec.Region, spec.Insecure, spec.Provider, spec.STS, l}
	access, err := flight.KeyOf(scope...)
	if err != nil {
		return nil, err
	}
	made, err := k.clients.Get(scope,
		func() (*http.Transport, error) {
			made, err := transport.FromData(s.TLS, s.Proxy)
			if err == nil {
				made.DisableCompression = true // an object that was stored compressed is taken as it is
			}
			return made, err
		},
		func(via http.RoundTripper) (store, error) {
			road, err := l.road()
			if err != nil {
				return nil, err
			}
			return l.open(spec, k.config.Quiet.Over(road, via))
		})
	if err != nil {
		return nil, source.AuthenticationFailed(fmt.Errorf("failed to configure access to bucket '%s': %w", spec.BucketName, err))
	}
	return &connection{store: made, access: access}, nil
}

func provider(spec sourcev1.BucketSpec) string {
	if spec.Provider == "" {
		return sourcev1.BucketProviderGeneric
	}
	return spec.Provider
}

// check says which fields do not fit each other. The API server checks the same, unless
// its definition of the kind is an older one.
func check(spec sourcev1.BucketSpec) error {
	sts, generic, aws := spec.STS, spec.Provider == sourcev1.BucketProviderGeneric, spec.Provider == sourcev1.BucketProviderAmazon
	switch {
	case spec.ServiceAccountName != "" && generic:
		return misfit("spec.serviceAccountName is for the providers aws, azure and gcp: remove it, or set spec.provider")
	case spec.ServiceAccountName != "" && spec.SecretRef != nil:
		return misfit("spec.secretRef and spec.serviceAccountName exclude each other: remove one")
	case sts == nil:
		return nil
	case !generic && !aws:
		return source.Stalled(reasonSTS, fmt.Errorf("STS configuration is not supported for '%s' bucket provider", spec.Provider))
	case generic && sts.Provider != sourcev1.STSProviderLDAP, aws && sts.Provider != sourcev1.STSProviderAmazon:
		return source.Stalled(reasonSTS, fmt.Errorf("STS provider '%s' is not supported for '%s' bucket provider", sts.Provider, spec.Provider))
	}
	return nil
}

func misfit(text string) error {
	return source.Stalled(sourcev1.InvalidProviderConfigurationReason, errors.New(text))
}

// identify gets the credentials of an identity, where no Secret holds any.
func (k *Kind) identify(ctx context.Context, o *sourcev1.Bucket, spec sourcev1.BucketSpec, l *login) error {
	cloud := spec.Provider != sourcev1.BucketProviderGeneric
	if !cloud || o.Spec.SecretRef != nil && !(spec.Provider == sourcev1.BucketProviderAzure && l.ofMachine()) {
		return nil
	}
	id := identity.Identity{Provider: spec.Provider, Namespace: o.Namespace, Account: spec.ServiceAccountName, OtherTLS: l.TLS != nil}
	if spec.Provider != sourcev1.BucketProviderAmazon {
		at, err := endpoint(spec)
		if err != nil {
			return misfit(err.Error())
		}
		id.OtherTLS = id.OtherTLS || at.Scheme != "https"
		shown := k.config.Identities.Shown
		if o.Spec.SecretRef != nil {
			shown = k.config.Identities.ShownOfMachine
		}
		if err := shown(id, at.Hostname()); err != nil {
			return source.Unidentified(spec.Provider, err)
		}
	}
	if o.Spec.SecretRef != nil {
		return nil // it names which identity of the machine
	}
	var err error
	if l.Proxy != nil {
		if id.Proxy, err = transport.Proxy(l.Proxy); err != nil {
			return source.AuthenticationFailed(fmt.Errorf("failed to configure access to bucket '%s': %w", spec.BucketName, err))
		}
	}
	if spec.Provider == sourcev1.BucketProviderAmazon {
		id.Region = spec.Region
		if spec.STS != nil {
			id.STS = spec.STS.Endpoint
		}
		l.Keys, err = k.config.Identities.AWS(ctx, id)
	} else {
		l.Token, l.ends, err = k.config.Identities.Storage(ctx, id)
	}
	if err != nil {
		return source.Unidentified(spec.Provider, source.Cause(ctx, err))
	}
	return nil
}

// road is how the bucket's server is asked.
func (l login) road() (transport.Road, error) {
	road, err := transport.RoadOf(l.TLS, l.Proxy)
	if err != nil {
		return road, err
	}
	whose, err := json.Marshal([]any{l.Login, l.STSLogin, l.Keys, l.Token})
	road.Token = string(whose)
	return road, err
}

// open returns the bucket, as it is read with the login.
func (l login) open(spec sourcev1.BucketSpec, via http.RoundTripper) (store, error) {
	switch spec.Provider {
	case sourcev1.BucketProviderAzure:
		if l.Token != "" {
			return newAzure(spec, azureLogin{token: fixed{Token: l.Token, ExpiresOn: l.ends}}, via)
		}
		login, err := l.azure(spec, via)
		if err != nil {
			return nil, err
		}
		return newAzure(spec, login, via)
	case sourcev1.BucketProviderGoogle:
		if l.Token != "" {
			return newGCS(spec, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: l.Token, Expiry: l.ends}), via)
		}
		tokens, err := l.accountKey(spec, via)
		if err != nil {
			return nil, err
		}
		return newGCS(spec, tokens, via)
	}
	keys, err := l.s3(spec)
	if err != nil {
		return nil, err
	}
	return newS3(spec, keys, via)
}

// s3 are the keys for a server that speaks S3; none when nothing says any.
func (l login) s3(spec sourcev1.BucketSpec) (*credentials.Credentials, error) {
	switch {
	case spec.SecretRef != nil:
		return l.keys(spec)
	case spec.STS != nil && spec.STS.Provider == sourcev1.STSProviderLDAP:
		return l.ldap(spec.STS)
	}
	return credentials.NewStaticV4(l.Keys.ID, l.Keys.Secret, l.Keys.Session), nil
}

func (k *Kind) read(ctx context.Context, o *sourcev1.Bucket) (s secrets, err error) {
	type wish struct {
		name string
		into *map[string][]byte
	}
	var wishes []wish
	if ref := o.Spec.SecretRef; ref != nil {
		wishes = append(wishes, wish{ref.Name, &s.Login})
	}
	if ref := o.Spec.CertSecretRef; ref != nil {
		wishes = append(wishes, wish{ref.Name, &s.TLS})
	}
	if ref := o.Spec.ProxySecretRef; ref != nil {
		wishes = append(wishes, wish{ref.Name, &s.Proxy})
	}
	if sts := o.Spec.STS; sts != nil && sts.SecretRef != nil {
		wishes = append(wishes, wish{sts.SecretRef.Name, &s.STSLogin})
	}
	if sts := o.Spec.STS; sts != nil && sts.CertSecretRef != nil {
		wishes = append(wishes, wish{sts.CertSecretRef.Name, &s.STSTLS})
	}
	for _, w := range wishes {
		if *w.into, err = source.Secret(ctx, k.live, o.Namespace, w.name); err != nil {
			return s, err
		}
	}
	return s, nil
}
