package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// The entries of a Secret for Azure.
const (
	keyTenant, keyClient, keyClientSecret = "tenantId", "clientId", "clientSecret"
	keyCertificate, keyPassword, keyChain = "clientCertificate", "clientCertificatePassword", "clientCertificateSendChain"
	keyAuthority, keyAccount, keySAS      = "authorityHost", "accountKey", "sasKey"
)

// text is an entry of the Secret without what surrounds it; blank ones count as missing.
func (s secrets) text(key string) string { return strings.TrimSpace(string(s.Login[key])) }

// ofMachine says that the Secret only names which of the identities of the machine
// counts: a client without a secret or a certificate of its own.
func (s secrets) ofMachine() bool {
	own := s.text(keyTenant) != "" && (s.text(keyClientSecret) != "" || s.text(keyCertificate) != "")
	return s.text(keyClient) != "" && !own
}

// fixed is a token that was got before.
type fixed azcore.AccessToken

// GetToken implements azcore.TokenCredential.
func (f fixed) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken(f), nil
}

// azure is a container of an Azure storage account.
type azure struct{ container *container.Client }

// azureLogin is how a container is read: by a token, by the account's key, or by the
// query of its URL.
type azureLogin struct {
	token   azcore.TokenCredential
	account *container.SharedKeyCredential
	query   url.Values
}

func newAzure(spec sourcev1.BucketSpec, login azureLogin, via http.RoundTripper) (store, error) {
	at, err := endpoint(spec)
	if err != nil {
		return nil, err
	}
	at = at.JoinPath(spec.BucketName)
	query := at.Query()
	for name, values := range login.query {
		query[name] = values
	}
	at.RawQuery = query.Encode()
	options := &container.ClientOptions{ClientOptions: azureOptions(via)}
	var made *container.Client
	switch {
	case login.token != nil:
		made, err = container.NewClient(at.String(), login.token, options)
	case login.account != nil:
		made, err = container.NewClientWithSharedKeyCredential(at.String(), login.account, options)
	default:
		made, err = container.NewClientWithNoCredential(at.String(), options)
	}
	return &azure{container: made}, err
}

func azureOptions(via http.RoundTripper) policy.ClientOptions {
	return policy.ClientOptions{
		Transport: &http.Client{Transport: via, CheckRedirect: noRedirect},
		Telemetry: policy.TelemetryOptions{ApplicationID: "sluice"},
		Retry: policy.RetryOptions{
			MaxRetries: 2, RetryDelay: 100 * time.Millisecond,
			// A server that asks to wait is not asked again in this pass.
			ShouldRetry: func(res *http.Response, err error) bool {
				var busy *transport.BusyError
				if err != nil {
					return !errors.As(err, &busy) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
				}
				return runtime.HasStatusCode(res, http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
					http.StatusServiceUnavailable, http.StatusGatewayTimeout)
			},
		},
	}
}

// azure reads a login from the Secret, in the order of the entries that Flux looks for.
func (s secrets) azure(spec sourcev1.BucketSpec, via http.RoundTripper) (login azureLogin, err error) {
	text := s.text
	tenant, client := text(keyTenant), text(keyClient)
	options := azureOptions(via)
	if host := text(keyAuthority); host != "" {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: host}
	}
	switch {
	case tenant != "" && client != "" && text(keyClientSecret) != "":
		login.token, err = azidentity.NewClientSecretCredential(tenant, client, text(keyClientSecret), &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	case s.ofMachine():
		login.token, err = azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(client)})
	case client != "":
		login.token, err = s.certificate(tenant, client, options)
	case text(keyAccount) != "":
		login.account, err = s.account(spec)
	case text(keySAS) != "":
		if login.query, err = url.ParseQuery(strings.TrimPrefix(text(keySAS), "?")); err != nil {
			err = errors.New("'sasKey' is no query of a URL") // the parser quotes it
		}
	default:
		err = fmt.Errorf("requires a '%s' or '%s' field, a combination of '%s', '%s' and '%s', or '%s', '%s' and '%s'",
			keyClient, keyAccount, keyTenant, keyClient, keyClientSecret, keyTenant, keyClient, keyCertificate)
	}
	if err != nil {
		err = fmt.Errorf("invalid '%s' secret data: %w", spec.SecretRef.Name, err)
	}
	return login, err
}

func (s secrets) certificate(tenant, client string, options policy.ClientOptions) (azcore.TokenCredential, error) {
	certificates, key, err := azidentity.ParseCertificates(s.Login[keyCertificate], s.Login[keyPassword])
	if err != nil {
		return nil, fmt.Errorf("'%s' holds no certificate and private key that '%s' opens", keyCertificate, keyPassword)
	}
	chain := strings.ToLower(string(s.Login[keyChain]))
	return azidentity.NewClientCertificateCredential(tenant, client, certificates, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: options, SendCertificateChain: chain == "1" || chain == "true",
	})
}

// account is the login by the key of the account, whose name is the first part of the
// endpoint's host.
func (s secrets) account(spec sourcev1.BucketSpec) (*container.SharedKeyCredential, error) {
	at, err := endpoint(spec)
	if err != nil {
		return nil, err
	}
	name, rest, _ := strings.Cut(at.Hostname(), ".")
	if !strings.Contains(rest, ".") {
		return nil, fmt.Errorf("'%s' needs a spec.endpoint whose host begins with the account's name, such as https://name.blob.core.windows.net", keyAccount)
	}
	login, err := container.NewSharedKeyCredential(name, strings.TrimSpace(string(s.Login[keyAccount])))
	if err != nil {
		return nil, fmt.Errorf("'%s' is not encoded in base64", keyAccount) // the parser quotes it
	}
	return login, nil
}

// pageOfBlobs is how many blobs a page of a listing has: with all that is said of each, 5,000 are more than is read at once.
const pageOfBlobs = 1000

func (a *azure) list(ctx context.Context, prefix string, found func(object)) error {
	most := int32(pageOfBlobs)
	options := &container.ListBlobsFlatOptions{MaxResults: &most}
	if prefix != "" {
		options.Prefix = &prefix
	}
	for pages := a.container.NewListBlobsFlatPager(options); pages.More(); {
		page, err := pages.NextPage(ctx)
		if bloberror.HasCode(err, bloberror.ContainerNotFound) {
			return errNoBucket
		}
		if err != nil {
			return azureError(err)
		}
		if page.Segment == nil {
			continue
		}
		for _, item := range page.Segment.BlobItems {
			if o, ok := listedBlob(item); ok {
				found(o)
			}
		}
	}
	return nil
}

// listedBlob is an item of a listing as an object. The folders of accounts that have any
// are none.
func listedBlob(item *container.BlobItem) (object, bool) {
	if item == nil || item.Name == nil || item.Properties == nil || strings.HasSuffix(*item.Name, "/") {
		return object{}, false
	}
	p := item.Properties
	if p.ResourceType != nil && *p.ResourceType == "directory" {
		return object{}, false
	}
	o := object{key: *item.Name}
	if p.ETag != nil {
		// Listings leave out the quotes that an etag has (RFC 9110).
		o.etag = `"` + strings.Trim(string(*p.ETag), `"`) + `"`
	}
	if p.ContentLength != nil {
		o.size = *p.ContentLength
	}
	return o, true
}

func (a *azure) open(ctx context.Context, o object) (io.ReadCloser, error) {
	options := &blob.DownloadStreamOptions{}
	if o.etag != "" {
		etag := azcore.ETag(o.etag)
		options.AccessConditions = &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &etag}}
	}
	res, err := a.container.NewBlobClient(o.key).DownloadStream(transport.Streamed(ctx), options)
	if bloberror.HasCode(err, bloberror.BlobNotFound) {
		return nil, errNoObject
	}
	if err != nil {
		return nil, azureError(err)
	}
	return res.Body, nil
}

// azureError is brief, and says what else a login that is refused may mean.
func azureError(err error) error {
	if bloberror.HasCode(err, bloberror.AuthenticationFailed) {
		return fmt.Errorf("the bucket may not exist, or the credentials may not read it: %w", identity.Brief(err))
	}
	return identity.Brief(err)
}
