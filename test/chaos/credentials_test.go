package chaos

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/nats-io/nats.go/jetstream"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/test/harness"
)

// noCredentialIsTold looks for credentials in all that the services say and store: those of every
// Secret, those that the services themselves work with, and the tokens by which they reach the cluster.
func noCredentialIsTold(ctx context.Context, t *testing.T, g *ground, all []*service) {
	t.Helper()
	secrets, err := g.secrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	places := map[string][]byte{}
	for _, collect := range []func() error{
		func() error { return g.objects(ctx, places) },
		func() error { return g.messages(ctx, t, places) },
		func() error { return g.stored(ctx, t, places) },
		func() error { return said(ctx, all, places) },
	} {
		if err := collect(); err != nil {
			t.Fatal(err)
		}
	}
	for place, text := range places {
		for value, where := range secrets {
			if bytes.Contains(text, []byte(value)) {
				t.Errorf("%s tells the credential %s", place, where)
			}
		}
	}
	t.Logf("%d credentials were looked for in %d places", len(secrets), len(places))
	if len(secrets) < 5 || len(places) < 10 {
		t.Error("too little was looked at: the test has shown nothing about credentials")
	}
}

// public are the entries of Secrets that are no credentials: names of users and of keys (current, of
// those that seal renders), certificates, public keys.
var public = regexp.MustCompile(`^(username|accesskey|current|known_hosts|ca\.crt|tls\.crt|.*\.pub)$`)

// secrets are the values, with where each is from.
func (g *ground) secrets(ctx context.Context) (map[string]string, error) {
	found := map[string]string{password: "password of NATS", g.s3.SecretKey: "secret key of S3", g.world.Token: "token of the webhooks"}
	add := func(value, where string) {
		if lines := strings.Split(strings.TrimSpace(value), "\n"); len(lines) > 2 {
			value = lines[len(lines)/2] // of a key one line in its middle will do
		}
		if len(value) >= 8 {
			found[value], found[base64.StdEncoding.EncodeToString([]byte(value))] = where, where+" in base64"
		}
	}
	r, err := g.world.Cluster.Resource(schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, "")
	if err != nil {
		return nil, err
	}
	list, err := r.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, secret := range list.Items {
		if kind, _, _ := unstructured.NestedString(secret.Object, "type"); strings.HasPrefix(kind, "helm.sh/") {
			continue // Helm's storage is a release, not a credential
		}
		data, _, err := unstructured.NestedStringMap(secret.Object, "data")
		if err != nil {
			return nil, err
		}
		for entry, encoded := range data {
			value, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil {
				return nil, err
			}
			if !public.MatchString(entry) {
				add(string(value), secret.GetNamespace()+"/"+secret.GetName()+"/"+entry)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(g.world.Folder, "*.kubeconfig"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, token := range regexp.MustCompile(`token: (\S+)`).FindAllStringSubmatch(string(text), -1) {
			add(token[1], "token in "+filepath.Base(file))
		}
	}
	return found, nil
}

// objects are what everybody may read in the cluster: events, and the objects that the services
// write statuses of.
func (g *ground) objects(ctx context.Context, places map[string][]byte) error {
	kinds := []schema.GroupVersionKind{harness.EventKind, harness.ReceiverKind, harness.KustomizationKind, harness.ConfigMapKind,
		{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: "HelmRelease"}, {Group: "source.extensions.fluxcd.io", Version: "v1beta1", Kind: "ArtifactGenerator"}}
	for _, kind := range []string{"GitRepository", "OCIRepository", "HelmRepository", "HelmChart", "Bucket", "ExternalArtifact"} {
		kinds = append(kinds, harness.GitRepositoryKind.GroupVersion().WithKind(kind))
	}
	for _, kind := range kinds {
		r, err := g.world.Cluster.Resource(kind, "")
		if err != nil {
			return err
		}
		list, err := r.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if places["objects of kind "+kind.Kind], err = json.Marshal(list); err != nil {
			return err
		}
	}
	return nil
}

// messages are all that is on the bus.
func (g *ground) messages(ctx context.Context, t *testing.T, places map[string][]byte) error {
	js, err := jetstream.New(g.connect(t, "admin"))
	if err != nil {
		return err
	}
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		state := stream.CachedInfo().State
		var text bytes.Buffer
		for sequence := state.FirstSeq; sequence <= state.LastSeq && state.Msgs > 0; sequence++ {
			if m, err := stream.GetMsg(ctx, sequence); err == nil { // else it is gone: the newest of a subject stays
				fmt.Fprintf(&text, "%s %v %s\n", m.Subject, m.Header, m.Data)
			}
		}
		places["stream "+name] = text.Bytes()
	}
	return names.Err()
}

// stored is what is in object storage, uncompressed.
func (g *ground) stored(ctx context.Context, t *testing.T, places map[string][]byte) error {
	store := g.storage(t)
	keys, err := keysBelow(ctx, store, "")
	if err != nil {
		return err
	}
	for _, key := range keys {
		object, err := store.GetObject(ctx, "sluice", key, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		text, err := io.ReadAll(object)
		if err != nil {
			return err
		}
		if zip, err := gzip.NewReader(bytes.NewReader(text)); err == nil {
			if plain, err := io.ReadAll(zip); err == nil {
				text = plain
			}
		}
		places["stored "+key] = text
	}
	return nil
}

// said is what the services log, and their metrics.
func said(ctx context.Context, all []*service, places map[string][]byte) error {
	for _, s := range all {
		text, err := os.ReadFile(s.log)
		if err != nil {
			return err
		}
		places["log of "+s.name] = text
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.health, "/readyz")+"/metrics", http.NoBody)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		text, err = io.ReadAll(res.Body)
		_ = res.Body.Close() // it was read to its end
		if err != nil || !bytes.Contains(text, []byte("sluice")) {
			return fmt.Errorf("metrics of %s: %s, %d bytes: %w", s.name, res.Status, len(text), err)
		}
		places["metrics of "+s.name] = text
	}
	return nil
}
