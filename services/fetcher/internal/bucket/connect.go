package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// secrets is the data of the Secrets that an object names; nil for those it does not.
type secrets struct {
	Login, TLS, Proxy, STSLogin, STSTLS map[string][]byte
}

// connect returns a client for the bucket's server.
func (k *Kind) connect(ctx context.Context, o *sourcev1.Bucket) (*minio.Core, error) {
	if err := check(o.Spec); err != nil {
		return nil, err
	}
	s, err := k.read(ctx, o)
	if err != nil {
		return nil, err
	}
	scope := []any{o.Spec.Endpoint, o.Spec.BucketName, o.Spec.Region, o.Spec.Insecure, o.Spec.Provider, o.Spec.STS, s}
	store, err := k.clients.Get(scope,
		func() (*http.Transport, error) { return transport.FromData(s.TLS, s.Proxy) },
		func(via http.RoundTripper) (*minio.Core, error) {
			login, err := s.credentials(o.Spec)
			if err != nil {
				return nil, err
			}
			return minio.NewCore(o.Spec.Endpoint, &minio.Options{
				Creds: login, Secure: !o.Spec.Insecure, Region: o.Spec.Region, Transport: via, MaxRetries: 2,
			})
		})
	if err != nil {
		return nil, source.AuthenticationFailed(fmt.Errorf("failed to configure access to bucket '%s': %w", o.Spec.BucketName, err))
	}
	return store, nil
}

// check says which field asks for what is not served, or does not fit the others.
func check(spec sourcev1.BucketSpec) error {
	provider := spec.Provider
	if provider == "" {
		provider = sourcev1.BucketProviderGeneric
	}
	switch {
	case provider != sourcev1.BucketProviderGeneric && provider != sourcev1.BucketProviderAmazon:
		return source.Unsupported(sourcev1.InvalidProviderConfigurationReason, fmt.Sprintf("spec.provider %q", provider), sourcev1.BucketKind)
	case spec.ServiceAccountName != "":
		return source.Unsupported(sourcev1.InvalidProviderConfigurationReason, "spec.serviceAccountName", sourcev1.BucketKind)
	case spec.STS == nil:
		return nil
	case provider == sourcev1.BucketProviderGeneric && spec.STS.Provider != sourcev1.STSProviderLDAP,
		provider == sourcev1.BucketProviderAmazon && spec.STS.Provider != sourcev1.STSProviderAmazon:
		return source.Stalled(reasonSTS, fmt.Errorf("STS provider '%s' is not supported for '%s' bucket provider", spec.STS.Provider, provider))
	}
	return nil
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

// credentials are those of the Secret; without one those of a token service, on AWS those
// of the machine, and else none.
func (s secrets) credentials(spec sourcev1.BucketSpec) (*credentials.Credentials, error) {
	switch {
	case s.Login != nil:
		key, secret := string(s.Login["accesskey"]), string(s.Login["secretkey"])
		if key == "" || secret == "" {
			return nil, fmt.Errorf("invalid '%s' secret data: required fields 'accesskey' and 'secretkey'", spec.SecretRef.Name)
		}
		return credentials.NewStaticV4(key, secret, ""), nil
	case spec.STS != nil && spec.STS.Provider == sourcev1.STSProviderLDAP:
		return s.ldap(spec.STS)
	case spec.Provider == sourcev1.BucketProviderAmazon && spec.STS != nil:
		return credentials.NewIAM(spec.STS.Endpoint), nil
	case spec.Provider == sourcev1.BucketProviderAmazon:
		return credentials.NewIAM(""), nil
	}
	return credentials.NewStaticV4("", "", ""), nil
}

func (s secrets) ldap(sts *sourcev1.BucketSTSSpec) (*credentials.Credentials, error) {
	user, password := string(s.STSLogin["username"]), string(s.STSLogin["password"])
	if user == "" || password == "" {
		return nil, errors.New("spec.sts: the ldap provider needs a secretRef with 'username' and 'password'")
	}
	via, err := transport.FromData(s.STSTLS, s.Proxy)
	if err != nil {
		return nil, fmt.Errorf("spec.sts: %w", err)
	}
	return credentials.New(&credentials.LDAPIdentity{
		Client: &http.Client{Transport: via}, STSEndpoint: sts.Endpoint, LDAPUsername: user, LDAPPassword: password,
	}), nil
}
