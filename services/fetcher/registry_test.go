package fetcher_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // the registry's login
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // the registry's storage
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/bcrypt"
)

// ociRegistry is a real registry that notes what is asked.
type ociRegistry struct {
	// host is its host:port; login is for those who may read.
	host  string
	login authn.Authenticator
	via   http.RoundTripper

	mu       sync.Mutex
	requests []string
}

const registryUser, registryPassword = "someone", "pass-phrase"

// newRegistry starts a registry, with a login and with TLS if asked for.
func newRegistry(t *testing.T, login bool, secure *tls.Config) *ociRegistry {
	t.Helper()
	auth := configuration.Auth{}
	r := &ociRegistry{login: authn.Anonymous, via: http.DefaultTransport}
	if login {
		hash, err := bcrypt.GenerateFromPassword([]byte(registryPassword), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "htpasswd")
		if err := os.WriteFile(path, fmt.Appendf(nil, "%s:%s\n", registryUser, hash), 0o600); err != nil {
			t.Fatal(err)
		}
		auth = configuration.Auth{"htpasswd": configuration.Parameters{"realm": "test", "path": path}}
		r.login = &authn.Basic{Username: registryUser, Password: registryPassword}
	}
	app := registryApp(t, auth)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, q.Method+" "+q.URL.Path)
		r.mu.Unlock()
		app.ServeHTTP(w, q)
	}))
	if secure != nil {
		server.TLS = secure
		server.StartTLS()
		r.via = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	_, r.host, _ = strings.Cut(server.URL, "://")
	return r
}

// registryApp is a real registry that keeps everything in memory.
func registryApp(t *testing.T, auth configuration.Auth) http.Handler {
	t.Helper()
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": configuration.Parameters{}}, Auth: auth}
	config.Log.Level, config.Log.AccessLog.Disabled = "panic", true
	config.HTTP.Secret = "a secret of the test"
	return handlers.NewApp(t.Context(), config)
}

// since returns the requests after the first n.
func (r *ociRegistry) since(n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests[n:])
}

// layer is one of an artifact.
type layer struct {
	mediaType   string
	content     []byte
	annotations map[string]string
}

const fluxLayer = "application/vnd.cncf.flux.content.v1.tar+gzip"

// push puts an artifact under a tag and returns its digest.
func (r *ociRegistry) push(t *testing.T, path, tag string, annotations map[string]string, layers ...layer) string {
	t.Helper()
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.cncf.flux.config.v1+json")
	for _, l := range layers {
		var err error
		if image, err = mutate.Append(image, mutate.Addendum{
			Layer: static.NewLayer(l.content, types.MediaType(l.mediaType)), MediaType: types.MediaType(l.mediaType), Annotations: l.annotations,
		}); err != nil {
			t.Fatal(err)
		}
	}
	return r.write(t, path, tag, mutate.Annotations(image, annotations).(v1.Image))
}

func (r *ociRegistry) write(t *testing.T, path, tag string, image v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(r.host + "/" + path + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithAuth(r.login), remote.WithTransport(r.via), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// tarred packs files as tar and gzip.
func tarred(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644, Size: int64(len(files[path]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[path])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
