package chaos

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
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
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// newUpstreams starts an upstream of each kind.
func newUpstreams(ctx context.Context, t *testing.T, g *ground) []*upstream {
	t.Helper()
	return []*upstream{
		gitUpstream(ctx, t, g.world, "git-one"), gitUpstream(ctx, t, g.world, "git-two"),
		registryUpstream(t), chartUpstream(t), bucketUpstream(ctx, t, g),
	}
}

func kindOf(kind, name string) source {
	return source{kind: harness.GitRepositoryKind.GroupVersion().WithKind(kind), name: name}
}

func manifestOf(kind, name, spec string) string {
	return "apiVersion: source.toolkit.fluxcd.io/v1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec:\n  interval: 1h\n  " +
		strings.ReplaceAll(spec, "\n", "\n  ") + "\n---\n"
}

// revisionHas says that the artifact's revision has a mark in it.
func revisionHas(u *unstructured.Unstructured, mark string) bool {
	revision, _, _ := unstructured.NestedString(u.Object, "status", "artifact", "revision")
	return strings.Contains(revision, mark)
}

// gitUpstream is a repository that two objects follow, one of them with rules of its own, a third one
// that includes the first, and an artifact that is made of a part of it.
func gitUpstream(ctx context.Context, t *testing.T, world *harness.World, namespace string) *upstream {
	t.Helper()
	repo, err := world.Store.NewRepo(ctx, namespace)
	if err != nil {
		t.Fatal(err)
	}
	spec := "url: " + world.HTTP.URL(repo) + "\nref: {branch: " + harness.Branch + "}"
	return &upstream{
		namespace: namespace,
		objects:   []source{kindOf("GitRepository", "whole"), kindOf("GitRepository", "part"), kindOf("GitRepository", "including"), kindOf("ExternalArtifact", "generated")},
		manifest: manifestOf("GitRepository", "whole", spec) + manifestOf("GitRepository", "part", spec+"\nignore: /notes") +
			manifestOf("GitRepository", "including", spec+"\ninclude: [{repository: {name: whole}, toPath: below}]") + generator,
		put: func(ctx context.Context, n int) (string, error) {
			return repo.Commit(ctx, harness.Branch, "Change "+strconv.Itoa(n), map[string]string{
				"config.yaml": configMap(namespace, n), "notes/" + strconv.Itoa(n%7): strconv.Itoa(n),
			})
		},
		at: revisionHas,
	}
}

// generator makes an artifact of a part of a repository, at the repository's revision.
const generator = `apiVersion: source.extensions.fluxcd.io/v1beta1
kind: ArtifactGenerator
metadata: {name: generator}
spec:
  sources: [{alias: repo, kind: GitRepository, name: whole}]
  artifacts:
  - {name: generated, revision: "@repo", copy: [{from: "@repo/config.yaml", to: "@artifact/"}]}
---
`

func configMap(name string, n int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {change: %q}\n", name, strconv.Itoa(n))
}

// registryUpstream is a tag of a registry whose layer one object unpacks and another copies.
func registryUpstream(t *testing.T) *upstream {
	t.Helper()
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": configuration.Parameters{}}}
	config.Log.Level, config.Log.AccessLog.Disabled, config.HTTP.Secret = "panic", true, "a secret of the test"
	server := httptest.NewServer(handlers.NewApp(t.Context(), config))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	spec := "insecure: true\nref: {tag: newest}\nurl: oci://" + host + "/team/app"
	return &upstream{
		namespace: "registry",
		objects:   []source{kindOf("OCIRepository", "unpacked"), kindOf("OCIRepository", "copied")},
		manifest:  manifestOf("OCIRepository", "unpacked", spec) + manifestOf("OCIRepository", "copied", spec+"\nlayerSelector: {operation: copy}"),
		put: func(ctx context.Context, n int) (string, error) {
			archive, err := tarball(map[string]string{"config.yaml": configMap("registry", n)})
			if err != nil {
				return "", err
			}
			return push(ctx, host+"/team/app:newest", archive)
		},
		at: revisionHas,
	}
}

// push puts an archive under a tag and returns the artifact's digest.
func push(ctx context.Context, ref string, archive []byte) (string, error) {
	const layer = types.MediaType("application/vnd.cncf.flux.content.v1.tar+gzip")
	image, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{Layer: static.NewLayer(archive, layer), MediaType: layer})
	if err != nil {
		return "", err
	}
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(tag, image, remote.WithContext(ctx)); err != nil {
		return "", err
	}
	digest, err := image.Digest()
	return digest.String(), err
}

func tarball(files map[string]string) ([]byte, error) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	entries := tar.NewWriter(zip)
	for name, content := range files {
		if err := entries.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(entries, content); err != nil {
			return nil, err
		}
	}
	err := errors.Join(entries.Close(), zip.Close())
	return out.Bytes(), err
}

// chartUpstream is a Helm repository, and the newest version of a chart of it. The chart's mark is
// its version; the repository's, which changes with it, is not looked at.
func chartUpstream(t *testing.T) *upstream {
	t.Helper()
	var mu sync.Mutex
	files := map[string][]byte{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		body, ok := files[r.URL.Path]
		mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(body) // the fetcher may be dead
	}))
	t.Cleanup(server.Close)
	return &upstream{
		namespace: "charts",
		objects:   []source{kindOf("HelmRepository", "charts"), kindOf("HelmChart", "app")},
		manifest: manifestOf("HelmRepository", "charts", "url: "+server.URL) +
			manifestOf("HelmChart", "app", "chart: app\nversion: \"*\"\nsourceRef: {kind: HelmRepository, name: charts}"),
		put: func(_ context.Context, n int) (string, error) {
			version := fmt.Sprintf("1.0.%d", n)
			archive, err := tarball(map[string]string{
				"app/Chart.yaml":            "apiVersion: v2\nname: app\nversion: " + version + "\n",
				"app/templates/config.yaml": configMap("chart", n),
			})
			mu.Lock()
			defer mu.Unlock()
			files["/app-"+version+".tgz"] = archive
			files["/index.yaml"] = fmt.Appendf(nil, "apiVersion: v1\nentries:\n  app:\n  - {name: app, version: %s, urls: [app-%s.tgz]}\n", version, version)
			return version, err
		},
		at: func(u *unstructured.Unstructured, version string) bool {
			revision, _, _ := unstructured.NestedString(u.Object, "status", "artifact", "revision")
			return u.GetKind() == "HelmRepository" || revision == version
		},
	}
}

// bucketUpstream is a bucket that two objects follow.
func bucketUpstream(ctx context.Context, t *testing.T, g *ground) *upstream {
	t.Helper()
	store := g.storage(t)
	const bucket = "upstream"
	if err := store.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	spec := "provider: generic\ninsecure: true\nregion: " + g.s3.Region + "\nbucketName: " + bucket + "\nendpoint: " + g.s3.Addr + "\nsecretRef: {name: login}"
	put := func(ctx context.Context, key, content string) (string, error) {
		info, err := store.PutObject(ctx, bucket, key, strings.NewReader(content), int64(len(content)), minio.PutObjectOptions{})
		return key + " " + info.ETag + "\n", err
	}
	return &upstream{
		namespace: "bucket",
		objects:   []source{kindOf("Bucket", "all"), kindOf("Bucket", "same")},
		manifest: "apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {accesskey: " + g.s3.AccessKey + ", secretkey: " + g.s3.SecretKey + "}\n---\n" +
			manifestOf("Bucket", "all", spec) + manifestOf("Bucket", "same", spec),
		put: func(ctx context.Context, n int) (string, error) {
			one, err := put(ctx, "a/config.yaml", configMap("bucket", n))
			if err != nil {
				return "", err
			}
			two, err := put(ctx, "b/notes", strconv.Itoa(n))
			// The revision of a bucket is the digest of keys and etags.
			sum := sha256.Sum256([]byte(one + two))
			return "sha256:" + hex.EncodeToString(sum[:]), err
		},
		at: revisionHas,
	}
}

func keysBelow(ctx context.Context, store *minio.Client, folder string) (keys []string, err error) {
	for found := range store.ListObjects(ctx, "sluice", minio.ListObjectsOptions{Prefix: folder, Recursive: true}) {
		if found.Err != nil {
			return nil, found.Err
		}
		keys = append(keys, found.Key)
	}
	return keys, nil
}

func digestOf(ctx context.Context, store *minio.Client, key string) (string, error) {
	object, err := store.GetObject(ctx, "sluice", key, minio.GetObjectOptions{})
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	_, err = io.Copy(hash, object)
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), errors.Join(err, object.Close())
}
