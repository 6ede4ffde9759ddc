package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/recorder"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/bucket"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartrepo"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/cosign"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/external"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/gateway"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/generator"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/gitrepository"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/handle"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/helmchart"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/helmrepository"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/ocirepository"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/plan"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/verify"
)

// service holds the parts of a running fetcher.
type service struct {
	Config
	quiet   *transport.Quiet
	manager ctrl.Manager
	git     *git.Client
	buckets *bucket.Kind
	kinds   source.Kinds
	handler *handle.Handler
	// external and generator are nil unless external artifacts are allowed and served.
	external  *external.Kind
	generator *generator.Kind
	watched   []source.Watched
	planner   *plan.Planner
	started   atomic.Bool
}

// Run serves until ctx ends.
func Run(ctx context.Context, c Config) (err error) {
	if err := c.Validate(); err != nil {
		return err
	}
	s := &service{Config: c.withDefaults()}
	s.quiet = &transport.Quiet{Logger: s.Logger}
	if err := s.openGit(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.git.Close()) }()
	if err := kube.AwaitKinds(ctx, s.REST, s.Ready.Waiting("fetcher", s.Logger), kinds()...); err != nil {
		return err
	}
	if err := s.assemble(); err != nil {
		return err
	}
	s.Ready.Add("fetcher", s.ready)
	if err := s.manager.Start(ctx); err != nil {
		return fmt.Errorf("run fetcher: %w", err)
	}
	return nil
}

// assemble puts the service together, once the cluster has the kinds.
func (s *service) assemble() (err error) {
	if s.manager, err = newManager(s.Config); err != nil {
		return err
	}
	tell, err := recorder.New(s.manager, "sluice-fetcher", s.Logger)
	if err != nil {
		return err
	}
	s.makeKinds()
	artifacts := shelf.Shelf{Store: s.Blob, Scratch: s.scratch(), Limits: s.limits()}
	s.handler = handle.New(handle.Cluster{
		Cached: s.manager.GetCache(), Live: s.manager.GetAPIReader(), Writer: s.manager.GetClient(), Events: tell,
	}, s.kinds, artifacts, s.Bus, handle.Config{
		AdvertisedHost: s.advertised(), JitterPercent: s.IntervalJitter, PerHost: s.PerHost, PerHostRate: s.PerHostRate, Skew: s.skew(), Logger: s.Logger,
	})
	if s.watched, err = s.beyondSources(artifacts, tell); err != nil {
		return err
	}
	for _, kind := range s.kinds.Sorted() {
		s.watched = append(s.watched, kind)
	}
	s.planner = plan.New(s.Bus, s.watched, s.manager.GetCache())
	return s.addParts()
}

// makeKinds makes the kinds of sources, with what several of them share.
func (s *service) makeKinds() {
	live := s.manager.GetAPIReader()
	tables := chartindex.NewTables(cachedTables)
	charts := chartrepo.New(chartrepo.Config{
		Scratch: s.scratch(), MaxIndex: s.MaxIndexBytes, MaxChart: s.MaxChartBytes, Tables: tables, Quiet: s.quiet,
	})
	registries := oci.New(s.scratch(), s.quiet)
	identities := identity.New(s.manager.GetClient(), identity.Config{
		Service: "fetcher", Field: "spec.serviceAccountName", ServiceAccounts: s.ServiceAccountIdentities, DefaultAccount: s.DefaultServiceAccount,
	})
	verifier := &verify.Verifier{Live: live, Roots: &cosign.Roots{File: s.SigstoreRoot, Cache: filepath.Join(s.DataDir, "fetcher", "sigstore")}}
	s.buckets = bucket.New(live, bucket.Config{
		Limits: s.limits(), Dir: filepath.Join(s.DataDir, "fetcher", "buckets"), Identities: identities, Quiet: s.quiet,
	})
	s.kinds = source.ByName(
		gitrepository.New(s.git, live, gitrepository.Config{
			Limits: s.limits(), Scratch: s.scratch(), Artifact: s.openArtifact, Identities: identities,
		}),
		helmrepository.New(charts, live),
		s.buckets,
		ocirepository.New(registries, live, verifier, ocirepository.Config{Limits: s.limits(), Scratch: s.scratch(), Identities: identities}),
		helmchart.New(charts, registries, live, verifier, helmchart.Config{
			Limits: s.limits(), MaxChart: s.MaxChartBytes, MaxFile: s.MaxChartFileBytes, Scratch: s.scratch(),
			Tables: tables, Artifact: s.openArtifact, Identities: identities,
		}),
	)
}

// skew is how far apart the clocks of this process and of the bus may be. What runs in one
// process has one clock.
func (s *service) skew() time.Duration {
	if s.Single {
		return 0
	}
	return time.Second
}

// kinds are those that the cluster must serve.
func kinds() []schema.GroupVersionKind {
	var all []schema.GroupVersionKind
	for _, kind := range []string{
		sourcev1.GitRepositoryKind, sourcev1.OCIRepositoryKind, sourcev1.HelmRepositoryKind, sourcev1.HelmChartKind, sourcev1.BucketKind,
	} {
		all = append(all, sourcev1.GroupVersion.WithKind(kind))
	}
	return all
}

// beyondSources makes the kinds that are there only where external artifacts are allowed.
func (s *service) beyondSources(artifacts shelf.Shelf, tell *recorder.Recorder) (watched []source.Watched, err error) {
	if !s.ExternalArtifacts {
		return nil, nil
	}
	live := s.manager.GetAPIReader()
	s.external = external.New(external.Config{
		Live: live, Shelf: artifacts, Bus: s.Bus, AdvertisedHost: s.advertised(), Quiet: s.quiet, Asking: s.handler.Asking,
		Recorder: tell, Logger: s.Logger,
	})
	watched = append(watched, s.external)
	// Where Flux was installed without source-watcher, this kind is missing.
	gvk := generatorv1.GroupVersion.WithKind(generatorv1.ArtifactGeneratorKind)
	_, err = s.manager.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	switch {
	case apimeta.IsNoMatchError(err):
		s.Logger.Warn("the cluster has no ArtifactGenerators, so none are served: install their definition from deploy/crds and restart")
		return watched, nil
	case err != nil:
		return nil, fmt.Errorf("look for ArtifactGenerators: %w", err)
	}
	s.generator = generator.New(generator.Config{
		Live: live, Writer: s.manager.GetClient(), Shelf: artifacts, Bus: s.Bus, Artifact: s.openArtifact,
		AdvertisedHost: s.advertised(), NoCrossNamespaceRefs: s.NoCrossNamespaceRefs, Recorder: tell, Logger: s.Logger,
	})
	return append(watched, s.generator), nil
}

// handle gives a check to the kind that it is of.
func (s *service) handle(ctx context.Context, check bus.Check) (bus.Result, error) {
	switch {
	case s.external != nil && check.Key.Kind == s.external.Name():
		return s.external.Handle(ctx, check)
	case s.generator != nil && check.Key.Kind == s.generator.Name():
		return s.generator.Handle(ctx, check)
	}
	return s.handler.Handle(ctx, check)
}

// forget drops what this process remembers of an object that is gone.
func (s *service) forget(key events.Key) {
	switch {
	case s.external != nil && key.Kind == s.external.Name():
		s.external.Forget(key)
	case s.generator != nil && key.Kind == s.generator.Name():
		s.generator.Forget(key)
	default:
		s.handler.Forget(key)
	}
}

// cachedTables is how many bytes of Helm indexes stay in memory, all indexes together: about
// 200,000 versions of charts.
const cachedTables = 40 << 20

func (s *service) limits() pack.Limits { return pack.Limits{Entries: s.MaxEntries, Bytes: s.MaxBytes} }

// openArtifact reads a stored artifact of a source.
func (s *service) openArtifact(ctx context.Context, key events.Key, digest string) (io.ReadCloser, error) {
	return s.Blob.Reader(ctx, shelf.BlobName(key, digest), digest)
}

func (s *service) scratch() string { return filepath.Join(s.DataDir, "fetcher", "scratch") }

// openGit opens the mirrors, and empties the scratch folder of an earlier life.
func (s *service) openGit() (err error) {
	if err := os.RemoveAll(s.scratch()); err != nil {
		return fmt.Errorf("empty scratch folder: %w", err)
	}
	if err := os.MkdirAll(s.scratch(), 0o700); err != nil {
		return fmt.Errorf("create scratch folder: %w", err)
	}
	s.git, err = git.New(git.Config{
		Dir: filepath.Join(s.DataDir, "fetcher", "mirrors"), MaxPackBytes: s.MaxPackBytes, IdleAfter: s.MirrorIdle,
		KeyExchanges: s.SSHKeyExchanges, HostKeys: s.SSHHostKeys, Quiet: s.quiet,
	})
	return err
}

// addParts gives the manager the parts to run: on every replica, or where it leads.
func (s *service) addParts() error {
	if err := s.planner.Watch(s.manager); err != nil {
		return err
	}
	for _, part := range []part{
		{run: s.work}, {run: s.fanOut}, {run: s.serveArtifacts}, {run: s.trim},
		{run: s.resync, leader: true}, {run: s.sweep, leader: true},
	} {
		if err := s.manager.Add(part); err != nil {
			return fmt.Errorf("assemble fetcher: %w", err)
		}
	}
	return nil
}

func (s *service) work(ctx context.Context) error {
	gone := bus.NewGone(s.forget)
	for _, kind := range s.watched { // on every replica, whichever gets the check of the deletion
		if err := kube.OnDelete(ctx, s.manager.GetCache(), kind.New(), func(name types.NamespacedName) {
			gone.Forget(events.NewKey(kind.Name(), name.Namespace, name.Name))
		}); err != nil {
			return err
		}
	}
	s.started.Store(true)
	return s.Bus.Work(ctx, bus.WorkConfig{
		Stage: events.StageFetch, Workers: s.Concurrency, Deadline: 15 * time.Minute, Alone: s.Single,
	}, gone.Around(s.handle))
}

func (s *service) fanOut(ctx context.Context) error {
	return s.Bus.FanOut(ctx, bus.FanOutConfig{Name: "fetcher", Subjects: []string{"sluice.hook.>", "sluice.source.>"}}, s.planner.FanOut)
}

func (s *service) ready(context.Context) error {
	if !s.started.Load() {
		return errors.New("caches are not filled yet")
	}
	return nil
}

// resync checks every source after streams were wiped.
func (s *service) resync(ctx context.Context) error {
	recovered := s.Bus.Recovered()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-recovered:
		}
		if err := s.planner.Resync(ctx); err != nil {
			s.Logger.Error("cannot check all sources after the streams were wiped", "error", err)
		}
	}
}

// liveReads is how many times a second the gateway may ask the API server for an
// artifact that nothing else knows.
const liveReads = 50

// serveArtifacts runs the gateway.
func (s *service) serveArtifacts(ctx context.Context) error {
	if s.ArtifactAddr == "" {
		<-ctx.Done()
		return nil
	}
	kinds := slices.Collect(maps.Keys(s.kinds))
	if s.external != nil {
		kinds = append(kinds, s.external.Name())
	}
	sources := gateway.Sources{
		Kinds: kinds, Current: s.artifact, History: s.Bus.History, Blob: shelf.BlobName, Live: rate.NewLimiter(liveReads, 2*liveReads),
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.ArtifactAddr)
	if err != nil {
		return fmt.Errorf("serve artifacts: %w", err)
	}
	server := &http.Server{
		Handler:           gateway.New(sources.Find, s.Blob),
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, WriteTimeout: 10 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve artifacts: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}

// artifact returns what the status of a source says, nil when there is no such source.
func (s *service) artifact(ctx context.Context, key events.Key, live bool) (*meta.Artifact, error) {
	var reader client.Reader = s.manager.GetCache()
	if live {
		reader = s.manager.GetAPIReader()
	}
	if s.external != nil && key.Kind == s.external.Name() {
		return s.external.Artifact(ctx, reader, key)
	}
	kind := s.kinds[key.Kind]
	if kind == nil {
		return nil, nil
	}
	obj := kind.New()
	err := reader.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: key.Name}, obj)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if !live {
		obj = s.handler.Newest(key, obj)
	}
	return *kind.State(obj).Artifact, nil
}
