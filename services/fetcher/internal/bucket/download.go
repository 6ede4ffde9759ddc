package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

const (
	// parallel is how many objects of a bucket are downloaded at once.
	parallel = 16
	// unused is how long the objects of a bucket stay that is not looked at, and late how much later than a pass a watch may
	// tell of an object.
	unused = 24 * time.Hour
	late   = 15 * time.Minute
)

// download brings the folder of the bucket's objects up to date, and returns what is in
// it as files. An object that is there under its etag is not downloaded again.
func (k *Kind) download(ctx context.Context, o *sourcev1.Bucket, from store, index *index) ([]pack.File, error) {
	dir := k.folder(o)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep objects: %w", err)
	}
	wanted := make(map[string]bool, len(index.objects))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, l := range index.objects {
		name := l.local(o)
		wanted[name] = true
		target := filepath.Join(dir, name)
		if have, err := os.Stat(target); err == nil && have.Size() == l.size {
			continue
		}
		group.Go(func() error { return get(ctx, from, l, target) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return files(o, index, dir), keep(dir, wanted)
}

// folder is that of a bucket's objects.
func (k *Kind) folder(o *sourcev1.Bucket) string { return filepath.Join(k.config.Dir, string(o.UID)) }

// renew lets the folder of a bucket stay that is still looked at, if it is there.
func (k *Kind) renew(o *sourcev1.Bucket) error {
	now := time.Now()
	if err := os.Chtimes(k.folder(o), now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep objects: %w", err)
	}
	return nil
}

// local is the name of an object's content on disk. The bucket belongs to it: the spec
// may come to name another.
func (l object) local(o *sourcev1.Bucket) string {
	hash := sha256.New()
	for _, part := range []string{o.Spec.Endpoint, o.Spec.BucketName, l.key, l.etag} {
		fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// get downloads an object, if it still is the one that was listed.
func get(ctx context.Context, from store, l object, target string) (err error) {
	body, err := from.open(ctx, l)
	if err != nil {
		return fmt.Errorf("object '%s': %w", l.key, err)
	}
	defer body.Close()
	part, err := os.CreateTemp(filepath.Dir(target), "part-*")
	if err != nil {
		return fmt.Errorf("keep object '%s': %w", l.key, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	n, err := io.Copy(part, io.LimitReader(body, l.size+1))
	if err == nil && n != l.size {
		err = fmt.Errorf("it has not the %d bytes it should: %w", l.size, io.ErrUnexpectedEOF)
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return fmt.Errorf("object '%s': %w", l.key, err)
	}
	if err := os.Rename(part.Name(), target); err != nil {
		return fmt.Errorf("keep object '%s': %w", l.key, err)
	}
	return nil
}

// keep removes what of a folder is not wanted.
func keep(dir string, wanted map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("tidy objects: %w", err)
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("tidy objects: %w", err)
			}
		}
	}
	return nil
}

// Trim removes the folders of Buckets that are gone, which are those that known does not list, and of those that nobody looked
// at for a day.
func (k *Kind) Trim(ctx context.Context, known client.Reader, now time.Time) error {
	entries, err := os.ReadDir(k.config.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("tidy objects: %w", err)
	}
	var all sourcev1.BucketList
	if err := known.List(ctx, &all); err != nil {
		return fmt.Errorf("tidy objects: %w", err)
	}
	stays := make(map[string]time.Duration, len(all.Items))
	for _, o := range all.Items {
		stays[string(o.UID)] = unused
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || now.Sub(info.ModTime()) < max(stays[e.Name()], late) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(k.config.Dir, e.Name())); err != nil {
			return fmt.Errorf("tidy objects: %w", err)
		}
	}
	return nil
}

// files are the objects and the folders that lead to them, in the order of a walk.
func files(o *sourcev1.Bucket, index *index, dir string) []pack.File {
	var all []pack.File
	folders := map[string]bool{".": true}
	for _, l := range index.objects {
		var missing []string
		for folder := path.Dir(l.path); !folders[folder]; folder = path.Dir(folder) {
			folders[folder] = true
			missing = append(missing, folder)
		}
		for n := len(missing) - 1; n >= 0; n-- {
			all = append(all, pack.File{Path: missing[n], Dir: true})
		}
		name := filepath.Join(dir, l.local(o))
		all = append(all, pack.File{Path: l.path, Open: func() (int64, io.ReadCloser, error) {
			f, err := os.Open(name)
			if err != nil {
				return 0, nil, fmt.Errorf("open object '%s': %w", strings.TrimPrefix(l.key, "/"), err)
			}
			return l.size, f, nil
		}})
	}
	return all
}
