package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

// wipeLimit bounds how long it may take until everything is as it was: a purge
// that nothing tells of is noticed at the next look at the streams.
const wipeLimit = 60 * time.Second

// The streams and the bucket are working memory: whoever wipes them while sluice
// runs loses history and nothing else. The commit made right before each wipe has
// no hook, so only the recovery can bring it live.
func TestWipe(t *testing.T) {
	n := newTenant(t, "wipe", map[string]string{"one/settings.yaml": configMap("one", "first"), "two/settings.yaml": configMap("two", "first")})
	n.app("one", nil)
	n.app("two", map[string]any{"dependsOn": []any{map[string]any{"name": "one"}}})
	n.live("one", "two")
	admin := connectAdmin(t)
	deleteAll := func(ctx context.Context) error { return onStreams(ctx, admin.DeleteStream) }
	purgeAll := func(ctx context.Context) error {
		return onStreams(ctx, func(ctx context.Context, name string) error {
			stream, err := admin.Stream(ctx, name)
			if err != nil {
				return err
			}
			return stream.Purge(ctx)
		})
	}
	for _, c := range []struct {
		name, why string
		wipe      func(context.Context) error
		unnoticed bool // nothing tells of it before the next push or drift
	}{
		{"deleted", "the streams are gone, with their consumers and timers", deleteAll, false},
		{"purged", "the streams are there and empty", purgeAll, false},
		{"emptied", "the bucket is empty", emptyBucket, true},
		{"removed", "the folder of the embedded S3 server is gone", removeBucketFolder, true},
		{"everything", "streams and bucket at once", func(ctx context.Context) error { return errors.Join(emptyBucket(ctx), deleteAll(ctx)) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := tenant{n.Tenant, t}
			files := map[string]string{"one/settings.yaml": configMap("one", c.name), "two/settings.yaml": configMap("two", c.name)}
			if !c.unnoticed {
				if err := own.Write(within(t, limit), files); err != nil {
					t.Fatal(err)
				}
			}
			good := c.name
			if c.unnoticed {
				good = text(own.get(harness.ConfigMapKind, "one"), "data", "value")
			}
			start := time.Now()
			if err := c.wipe(within(t, limit)); err != nil {
				t.Fatalf("wipe: %v", err)
			}
			if err := own.Live(within(t, wipeLimit), "one", "two"); err != nil {
				t.Fatal(err)
			}
			t.Logf("Ready at the right revision %s after the wipe", time.Since(start).Round(time.Millisecond))
			own.patch(harness.ConfigMapKind, "one", `{"data":{"value":"by hand"}}`)
			own.awaitWithin(wipeLimit, harness.ConfigMapKind, "one", holds("value", good))
			own.push(map[string]string{"one/settings.yaml": configMap("one", c.name+" again"), "two/settings.yaml": configMap("two", c.name+" again")})
			own.awaitWithin(wipeLimit, harness.ConfigMapKind, "two", holds("value", c.name+" again"))
			own.live("one", "two")
			own.artifact()
		})
	}
}

// onStreams does something to each stream that the pipeline works with.
func onStreams(ctx context.Context, act func(context.Context, string) error) error {
	names := []string{events.StreamEvents, events.StreamLeases}
	for _, stage := range events.Stages() {
		names = append(names, events.CheckStream(stage))
	}
	var errs []error
	for _, name := range names {
		if err := act(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// removeBucketFolder takes the ground from under the embedded S3 server.
func removeBucketFolder(context.Context) error {
	return os.RemoveAll(filepath.Join(world.Sluice.Data(), "s3"))
}

// emptyBucket removes every object, on disk, behind the back of the S3 server.
func emptyBucket(context.Context) error {
	buckets, err := filepath.Glob(filepath.Join(world.Sluice.Data(), "s3", "data", "*", "*"))
	if err != nil {
		return err
	}
	if len(buckets) == 0 {
		return errors.New("the bucket is empty already")
	}
	var errs []error
	for _, path := range buckets {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}
