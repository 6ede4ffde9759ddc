package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

// wiped empties the bucket and deletes the streams under the four services, and waits until
// the cluster is what Git is: at a commit that no hook told of.
func wiped(ctx context.Context, t *testing.T, g *ground, admin *nats.Conn, tenant *harness.Tenant, push int) {
	t.Helper()
	files, newest := map[string]string{}, map[int]int{}
	for i := range apps {
		files[file(i)], newest[i] = content(i, push), push
	}
	if err := tenant.Write(ctx, files); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.emptyBucket(), deleteStreams(ctx, js)); err != nil {
		t.Fatalf("wipe: %v", err)
	}
	start := time.Now()
	if err := settle(ctx, tenant, newest); err != nil {
		t.Errorf("after streams and bucket were wiped: %v", err)
	}
	t.Logf("everything at the newest revision %s after streams and bucket were wiped", time.Since(start).Round(time.Millisecond))
}

// deleteStreams deletes what the pipeline works with, consumers and timers included.
func deleteStreams(ctx context.Context, js jetstream.JetStream) error {
	names := []string{events.StreamEvents, events.StreamLeases}
	for _, stage := range events.Stages() {
		names = append(names, events.CheckStream(stage))
	}
	var errs []error
	for _, name := range names {
		if err := js.DeleteStream(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("delete %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// emptyBucket removes every object on disk, behind the back of the S3 server.
func (g *ground) emptyBucket() error {
	objects, err := filepath.Glob(filepath.Join(g.world.Folder, "s3", "data", "*", "*"))
	if err == nil && len(objects) == 0 {
		err = errors.New("the bucket is empty already")
	}
	errs := []error{err}
	for _, path := range objects {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}
