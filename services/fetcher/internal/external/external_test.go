package external_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
	"github.com/sluice-gitops/sluice/internal/s3server"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/external"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/publish"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// one is an API server that has one object, or none, and a generator, which names some.
type one struct {
	client.Reader

	object *sourcev1.ExternalArtifact
	named  []string
}

// Get implements client.Reader.
func (o one) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if o.object == nil {
		return apierrors.NewNotFound(sourcev1.GroupVersion.WithResource("externalartifacts").GroupResource(), key.Name)
	}
	o.object.DeepCopyInto(into.(*sourcev1.ExternalArtifact))
	return nil
}

// List implements client.Reader.
func (o one) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	var generator generatorv1.ArtifactGenerator
	for _, name := range o.named {
		generator.Status.Inventory = append(generator.Status.Inventory, generatorv1.ExternalArtifactReference{Namespace: "apps", Name: name})
	}
	into.(*generatorv1.ArtifactGeneratorList).Items = []generatorv1.ArtifactGenerator{generator}
	return nil
}

func freely(ctx context.Context, _ bus.Check) (context.Context, func()) { return ctx, func() {} }

func newShelf(t *testing.T) shelf.Shelf {
	t.Helper()
	server, err := s3server.Start(context.WithoutCancel(t.Context()), s3server.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.WithoutCancel(t.Context())) })
	e := server.Endpoint()
	store, err := blob.Open(t.Context(), blob.Config{Endpoint: e.Addr, AccessKey: e.AccessKey, SecretKey: e.SecretKey, Region: e.Region, Bucket: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return shelf.Shelf{Store: store, Scratch: t.TempDir(), Limits: pack.Limits{Entries: 10, Bytes: 1 << 20}}
}

// An artifact that storage lost is asked of the generator that made it, and of nobody else. As long
// as none comes that is a failure, so that who is asked in vain is asked ever more rarely.
func TestAGeneratorThatMakesNothing(t *testing.T) {
	gateway := httptest.NewServer(http.NotFoundHandler())
	defer gateway.Close()
	host := strings.TrimPrefix(gateway.URL, "http://")
	for why, c := range map[string]struct {
		maker *meta.NamespacedObjectKindReference
		// asks says that the maker is asked.
		asks bool
		want string
	}{
		"a generator": {&meta.NamespacedObjectKindReference{APIVersion: "source.extensions.fluxcd.io/v1beta1", Kind: "ArtifactGenerator", Name: "maker"},
			true, "ArtifactGenerator 'apps/maker' was asked to make it anew"},
		"who says that a source made it": {&meta.NamespacedObjectKindReference{APIVersion: "source.toolkit.fluxcd.io/v1", Kind: "GitRepository", Name: "maker"},
			false, "answered 404 Not Found"},
		"nobody": {nil, false, "answered 404 Not Found"},
	} {
		t.Run(why, func(t *testing.T) {
			digest := blob.Digest([]byte("lost"))
			object := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "made", UID: "uid"}}
			object.Spec.SourceRef = c.maker
			object.Status.Artifact = &meta.Artifact{Path: "a.tar.gz", URL: "http://" + host + "/a.tar.gz", Revision: "latest@" + digest, Digest: digest}
			b, recorder := bustest.Run(t), record.NewFakeRecorder(10)
			kind := external.New(external.Config{
				Live: one{object: object}, Shelf: newShelf(t), Bus: b, AdvertisedHost: host, Quiet: &transport.Quiet{}, Asking: freely,
				Recorder: recorder, Logger: bustest.Logger(t),
			})
			key := events.NewKey("ExternalArtifact", "apps", "made")
			for n := range 3 {
				if n == 2 { // it is deleted, and made again: its first failure is news again
					kind.Forget(key)
				}
				result, err := kind.Handle(t.Context(), bus.Check{Key: key})
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %+v, %v, want an error with %q", result, err, c.want)
				}
			}
			close(recorder.Events)
			var told []string
			for event := range recorder.Events {
				told = append(told, event)
			}
			if len(told) != 2 || !strings.HasPrefix(told[0], corev1.EventTypeWarning+" FetchFailed ") || !strings.Contains(told[0], c.want) {
				t.Errorf("the Kubernetes Events are %q", told)
			}
			asked := asked(t, b)
			if c.asks != (asked == events.NewKey("ArtifactGenerator", "apps", "maker")) || !c.asks && asked != (events.Key{}) {
				t.Errorf("asked is %q", asked)
			}
		})
	}
}

var errSeen = errors.New("seen")

// asked returns the key that is asked for, none when there is none.
func asked(t *testing.T, b *bus.Bus) events.Key {
	t.Helper()
	// What is asked for after everything else comes after it.
	last := events.NewKey("GitRepository", "apps", "last")
	if err := b.Check(t.Context(), bus.Target{Stage: events.StageFetch, Key: last}); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancelCause(t.Context())
	var found events.Key
	err := b.Work(ctx, bus.WorkConfig{Stage: events.StageFetch, Workers: 1, Alone: true}, func(_ context.Context, check bus.Check) (bus.Result, error) {
		if check.Key == last {
			end(errSeen)
		} else {
			found = check.Key
		}
		return bus.Result{}, nil
	})
	if err != nil || !errors.Is(context.Cause(ctx), errSeen) {
		t.Fatal(err, context.Cause(ctx))
	}
	return found
}

// A generator tells of an artifact before it tidies: what was current until then is known to it alone,
// and stays for who has just read the status, however old it is.
func TestWhatAGeneratorToldOfIsTidiedByIt(t *testing.T) {
	key, s, b := events.NewKey("ExternalArtifact", "apps", "made"), newShelf(t), bustest.Run(t)
	var digests []string
	for _, content := range []string{"was", "b", "c", "now"} {
		stored, err := s.Copy(t.Context(), key, strings.NewReader(content), "")
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, stored.Digest)
	}
	object := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "made", UID: "uid"}}
	object.Status.Artifact = &meta.Artifact{Path: "a.tar.gz", URL: "http://example.com/a.tar.gz", Revision: "latest@" + digests[3], Digest: digests[3]}
	if err := publish.Changed(t.Context(), b, external.Changed(key, "uid", object.Status.Artifact)); err != nil {
		t.Fatal(err)
	}
	kind := external.New(external.Config{
		Live: one{object: object}, Shelf: s, Bus: b, AdvertisedHost: "example.com", Quiet: &transport.Quiet{}, Asking: freely,
		Recorder: record.NewFakeRecorder(10), Logger: bustest.Logger(t),
	})
	if _, err := kind.Handle(t.Context(), bus.Check{Key: key}); err != nil {
		t.Fatal(err)
	}
	for n, digest := range digests {
		if _, err := s.Store.Stat(t.Context(), shelf.BlobName(key, digest)); err != nil {
			t.Errorf("artifact %d: %v", n, err)
		}
	}
}

// The artifact of an object that somebody deleted goes with it, unless a generator names it: that may be making it anew.
func TestArtifactOfADeletedObject(t *testing.T) {
	key := events.NewKey("ExternalArtifact", "apps", "made")
	for why, c := range map[string]struct {
		named []string
		stays bool
	}{
		"somebody else's": {[]string{"other"}, false},
		"a generator's":   {[]string{"other", "made"}, true},
	} {
		t.Run(why, func(t *testing.T) {
			artifacts := newShelf(t)
			stored, err := artifacts.Copy(t.Context(), key, strings.NewReader("content"), "")
			if err != nil {
				t.Fatal(err)
			}
			log := bustest.Connect(t, bustest.Server(t), bus.Config{})
			kind := external.New(external.Config{Live: one{named: c.named}, Shelf: artifacts, Bus: log, Asking: freely})
			if _, err := kind.Handle(t.Context(), bus.Check{Key: key}); err != nil {
				t.Fatal(err)
			}
			_, err = artifacts.Store.Stat(t.Context(), shelf.BlobName(key, stored.Digest))
			if stays := err == nil; stays != c.stays {
				t.Errorf("it stays: %t (%v)", stays, err)
			}
		})
	}
}
