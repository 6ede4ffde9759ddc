package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// s3 is a bucket of a server that speaks S3.
type s3 struct {
	server *minio.Core
	bucket string
}

func newS3(spec sourcev1.BucketSpec, login *credentials.Credentials, via http.RoundTripper) (store, error) {
	if _, err := endpoint(spec); err != nil {
		return nil, err // the library would take, or quote, a login in it
	}
	server, err := minio.NewCore(spec.Endpoint, &minio.Options{
		Creds: login, Secure: !spec.Insecure, Region: spec.Region, Transport: via, MaxRetries: 2,
	})
	return &s3{server: server, bucket: spec.BucketName}, err
}

func (s *s3) list(ctx context.Context, prefix string, found func(object)) error {
	for info := range s.server.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		switch {
		case minio.ToErrorResponse(info.Err).Code == minio.NoSuchBucket:
			return errNoBucket
		case info.Err != nil:
			return info.Err
		case !strings.HasSuffix(info.Key, "/"):
			found(object{key: info.Key, etag: info.ETag, size: info.Size})
		}
	}
	return ctx.Err() // which ends a listing without another word
}

func (s *s3) open(ctx context.Context, o object) (io.ReadCloser, error) {
	var options minio.GetObjectOptions
	if o.etag != "" {
		if err := options.SetMatchETag(o.etag); err != nil {
			return nil, err
		}
	}
	body, _, _, err := s.server.GetObject(transport.Streamed(ctx), s.bucket, o.key, options)
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil, errNoObject
	}
	return body, err
}

// keys are those of the Secret.
func (s secrets) keys(spec sourcev1.BucketSpec) (*credentials.Credentials, error) {
	key, secret := string(s.Login["accesskey"]), string(s.Login["secretkey"])
	if key == "" || secret == "" {
		return nil, fmt.Errorf("invalid '%s' secret data: required fields 'accesskey' and 'secretkey'", spec.SecretRef.Name)
	}
	return credentials.NewStaticV4(key, secret, ""), nil
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
		Client: &http.Client{Transport: transport.Guard(via), CheckRedirect: noRedirect}, STSEndpoint: sts.Endpoint, LDAPUsername: user, LDAPPassword: password,
	}), nil
}
