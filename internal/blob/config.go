package blob

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Config says which bucket to use and how to reach it.
type Config struct {
	// Endpoint is host:port of the S3 service, without a scheme.
	Endpoint string
	// Bucket is the bucket's name. Open creates it if it is missing.
	Bucket string
	// AccessKey and SecretKey are the credentials. Both empty means the
	// standard AWS sources: environment, web identity, instance metadata.
	AccessKey, SecretKey string
	// Region defaults to us-east-1, which every S3 server accepts.
	Region string
	// TLS asks for https.
	TLS bool
	// CAFile is a PEM file of the authorities to trust beside the system's.
	CAFile string
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	if c.Endpoint == "" {
		return errors.New("s3-endpoint is empty: set it to host:port")
	}
	if strings.Contains(c.Endpoint, "/") {
		return errors.New("s3-endpoint has a slash: it must be host:port, without a scheme or path; s3-tls asks for https")
	}
	if c.Bucket == "" {
		return errors.New("s3-bucket is empty: name the bucket for artifacts and renders")
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return errors.New("set both s3-access-key and s3-secret-key, or neither")
	}
	if c.CAFile != "" && !c.TLS {
		return errors.New("s3-ca needs s3-tls")
	}
	return nil
}

// attempts is how often the client itself tries one request. Callers retry
// with their own backoff, so this only hides a dropped connection.
const attempts = 3

func (c Config) client(transport *http.Transport) (*minio.Client, error) {
	creds := credentials.NewStaticV4(c.AccessKey, c.SecretKey, "")
	if c.AccessKey == "" {
		creds = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{},
			&credentials.IAM{Client: &http.Client{Transport: transport, Timeout: 10 * time.Second}},
		})
	}
	return minio.New(c.Endpoint, &minio.Options{
		Creds: creds, Secure: c.TLS, Region: c.region(), Transport: transport, MaxRetries: attempts,
	})
}

func (c Config) region() string {
	if c.Region == "" {
		return "us-east-1"
	}
	return c.Region
}

func (c Config) transport() (*http.Transport, error) {
	t, err := minio.DefaultTransport(c.TLS)
	if err != nil {
		return nil, fmt.Errorf("prepare S3 transport: %w", err)
	}
	t.ResponseHeaderTimeout = 30 * time.Second
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read s3-ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("load system certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("s3-ca: %s holds no certificate in PEM form", c.CAFile)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}
