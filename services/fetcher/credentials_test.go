package fetcher_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// record keeps what is written to it.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.text.Bytes())
}

// secretEntries are the entries of Secrets that are credentials. Names of users, public
// keys and certificates are not.
var secretEntries = []string{
	"password", "bearerToken", "identity", "secretkey", "githubAppPrivateKey", "tls.key", "keyFile", corev1.DockerConfigJsonKey,
	"clientSecret", "clientCertificate", "clientCertificatePassword", "accountKey", "sasKey", "serviceaccount", "token", "keys.agekey",
}

// needles returns what must be found nowhere: the credentials of every Secret that the
// other scenarios made, as they are and as HTTP sends them.
func needles(t *testing.T, w *world) map[string]string {
	t.Helper()
	var list corev1.SecretList
	if err := w.client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	add := func(value, where string) {
		// Of a key one line in its middle will do.
		if lines := strings.Split(strings.TrimSpace(value), "\n"); len(lines) > 2 {
			value = lines[len(lines)/2]
		}
		if len(value) >= 8 {
			found[value] = where
		}
	}
	for _, secret := range list.Items {
		for _, entry := range secretEntries {
			value := string(secret.Data[entry])
			where := secret.Name + "/" + entry
			if entry != corev1.DockerConfigJsonKey {
				add(value, where)
				if user := string(secret.Data["username"]); entry == "password" && user != "" {
					add(base64.StdEncoding.EncodeToString([]byte(user+":"+value)), where)
				}
				continue
			}
			var logins struct {
				Auths map[string]struct{ Auth string }
			}
			if len(value) > 0 && json.Unmarshal([]byte(value), &logins) != nil {
				t.Fatalf("%s is no JSON", where)
			}
			for _, login := range logins.Auths {
				plain, err := base64.StdEncoding.DecodeString(login.Auth)
				if err != nil {
					t.Fatal(err)
				}
				_, password, _ := strings.Cut(string(plain), ":")
				add(password, where)
				add(login.Auth, where)
			}
		}
	}
	return found
}

// noCredentialIsTold looks for credentials in all that the fetcher says and stores.
func noCredentialIsTold(t *testing.T, w *world) {
	secret := needles(t, w)
	maps.Copy(secret, internet.Secrets())
	secret[appToken] = "token of a GitHub App"
	if len(secret) < 15 {
		t.Fatalf("only %d credentials are known: is this scenario the last one?", len(secret))
	}
	places := map[string][]byte{"the log": w.log.bytes(), "traces": w.traces.bytes()}
	for kind, list := range map[string]client.ObjectList{
		"Kubernetes Events": &corev1.EventList{}, "GitRepositories": &sourcev1.GitRepositoryList{}, "OCIRepositories": &sourcev1.OCIRepositoryList{},
		"HelmRepositories": &sourcev1.HelmRepositoryList{}, "HelmCharts": &sourcev1.HelmChartList{}, "Buckets": &sourcev1.BucketList{},
		"ExternalArtifacts": &sourcev1.ExternalArtifactList{}, "ArtifactGenerators": &generatorv1.ArtifactGeneratorList{},
	} {
		if err := w.client.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		places[kind] = text
	}
	metrics, err := w.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	places["metrics"] = fmt.Append(nil, metrics)
	for stream, text := range w.streams() {
		places["stream "+stream] = text
	}
	for name, text := range stored(t, w.bucket) {
		places["stored "+name] = text
	}
	for place, text := range places {
		for value, where := range secret {
			if bytes.Contains(text, []byte(value)) {
				t.Errorf("%s tell the credential %s", place, where)
			}
		}
	}
	// What finds nothing has to be able to find something.
	for _, place := range []string{"the log", "traces", "metrics", "Kubernetes Events", "HelmCharts", "stream EVENTS"} {
		if !bytes.Contains(places[place], []byte("helmchart")) && !bytes.Contains(places[place], []byte("HelmChart")) && !bytes.Contains(places[place], []byte("sluice")) {
			t.Errorf("%s (%d bytes) tell nothing at all", place, len(places[place]))
		}
	}
}

// streams returns all messages of all streams, with their subjects and headers.
func (w *world) streams() map[string][]byte {
	w.t.Helper()
	js, err := jetstream.New(w.bus.Conn())
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string][]byte{}
	names := js.StreamNames(w.t.Context())
	for name := range names.Name() {
		stream, err := js.Stream(w.t.Context(), name)
		if err != nil {
			w.t.Fatal(err)
		}
		state := stream.CachedInfo().State
		var text bytes.Buffer
		for sequence := state.FirstSeq; sequence <= state.LastSeq && state.Msgs > 0; sequence++ {
			m, err := stream.GetMsg(w.t.Context(), sequence)
			if err != nil {
				continue // it is gone: the newest of a subject stays
			}
			fmt.Fprintf(&text, "%s %v %s\n", m.Subject, m.Header, m.Data)
		}
		all[name] = text.Bytes()
	}
	if err := names.Err(); err != nil {
		w.t.Fatal(err)
	}
	return all
}

// stored returns the objects in storage, uncompressed where they are compressed.
func stored(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || slices.Contains([]string{"users.json", "users.json.backup"}, entry.Name()) {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if zip, err := gzip.NewReader(bytes.NewReader(text)); err == nil {
			if plain, err := io.ReadAll(zip); err == nil {
				text = plain
			}
		}
		all[strings.TrimPrefix(path, dir)] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
