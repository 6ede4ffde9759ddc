package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // the registry's storage
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/s3server"
	"github.com/sluice-gitops/sluice/test/harness"
)

// TestSources applies what is in a registry and in a bucket, and what is there next.
func TestSources(t *testing.T) {
	n := newTenant(t, "sources", map[string]string{"unused/README.md": "the sources are others"})
	r, s := startRegistry(t), startStorage(t)
	n.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {accesskey: " + s.at.AccessKey + ", secretkey: " + s.at.SecretKey + "}\n")
	for _, c := range []struct {
		kind, why, spec string
		put             func(value string)
	}{
		{"OCIRepository", "a tag of a registry", "url: oci://" + r.host + "/team/app", r.push},
		{"Bucket", "a bucket", "provider: generic\n  insecure: true\n  region: " + s.at.Region + "\n  bucketName: apps\n  endpoint: " + s.at.Addr + "\n  secretRef: {name: login}", s.put},
	} {
		t.Run(c.kind, func(t *testing.T) {
			n.t = t
			source := strings.ToLower(c.kind)
			c.put("one")
			n.apply("apiVersion: source.toolkit.fluxcd.io/v1\nkind: " + c.kind + "\nmetadata: {name: " + source + "}\nspec:\n  interval: 1h\n  " + c.spec + "\n")
			n.app(source, map[string]any{"path": "./", "wait": true, "targetNamespace": n.Namespace, "sourceRef": map[string]any{"kind": c.kind, "name": source}, "patches": []any{
				map[string]any{"patch": "- {op: replace, path: /metadata/name, value: from-" + source + "}", "target": map[string]any{"kind": "ConfigMap"}},
			}})
			n.await(harness.ConfigMapKind, "from-"+source, holds("value", "one"))
			c.put("two")
			n.patch(harness.GitRepositoryKind.GroupVersion().WithKind(c.kind), source, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
			n.await(harness.ConfigMapKind, "from-"+source, holds("value", "two"))
			n.await(harness.KustomizationKind, source, func(u *unstructured.Unstructured) bool {
				status, _, _ := harness.Condition(u, "Ready")
				return status == "True"
			})
		})
	}
}

func (n tenant) apply(manifest string) {
	n.t.Helper()
	if err := n.Cluster.Apply(within(n.t, limit), n.Namespace, []byte(manifest)); err != nil {
		n.t.Fatal(err)
	}
}

type registry struct {
	t    *testing.T
	host string
}

func startRegistry(t *testing.T) registry {
	t.Helper()
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": configuration.Parameters{}}}
	config.Log.Level, config.Log.AccessLog.Disabled, config.HTTP.Secret = "panic", true, "a secret of the test"
	server := httptest.NewServer(handlers.NewApp(t.Context(), config))
	t.Cleanup(server.Close)
	return registry{t: t, host: strings.TrimPrefix(server.URL, "http://")}
}

// push puts a ConfigMap with a value under the tag latest.
func (r registry) push(value string) {
	r.t.Helper()
	const layer = types.MediaType("application/vnd.cncf.flux.content.v1.tar+gzip")
	var archive bytes.Buffer
	zip := gzip.NewWriter(&archive)
	entries := tar.NewWriter(zip)
	manifest := configMap("shared", value)
	err := entries.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "app.yaml", Mode: 0o644, Size: int64(len(manifest))})
	if err == nil {
		_, err = entries.Write([]byte(manifest))
	}
	if err == nil {
		err = entries.Close()
	}
	if err == nil {
		err = zip.Close()
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	if err == nil {
		image, err = mutate.Append(image, mutate.Addendum{Layer: static.NewLayer(archive.Bytes(), layer), MediaType: layer})
	}
	if err == nil {
		var tag name.Tag
		if tag, err = name.NewTag(r.host + "/team/app:latest"); err == nil {
			err = remote.Write(tag, image, remote.WithContext(r.t.Context()))
		}
	}
	if err != nil {
		r.t.Fatalf("push: %v", err)
	}
}

type storage struct {
	t      *testing.T
	at     s3server.Endpoint
	client *minio.Client
}

func startStorage(t *testing.T) storage {
	t.Helper()
	server, err := s3server.Start(context.WithoutCancel(t.Context()), s3server.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stop S3: %v", err)
		}
	})
	at := server.Endpoint()
	client, err := minio.New(at.Addr, &minio.Options{Creds: credentials.NewStaticV4(at.AccessKey, at.SecretKey, ""), Region: at.Region})
	if err == nil {
		err = client.MakeBucket(t.Context(), "apps", minio.MakeBucketOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return storage{t: t, at: at, client: client}
}

// put puts a ConfigMap with a value into the bucket.
func (s storage) put(value string) {
	s.t.Helper()
	manifest := configMap("shared", value)
	_, err := s.client.PutObject(s.t.Context(), "apps", "app.yaml", strings.NewReader(manifest), int64(len(manifest)), minio.PutObjectOptions{})
	if err != nil {
		s.t.Fatal(fmt.Errorf("put object: %w", err))
	}
}
