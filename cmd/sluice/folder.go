package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// lockFolder makes the data folder and takes it for this process until unlock is
// called or the process ends: two NATS servers on one folder would destroy it.
func lockFolder(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data-dir: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	taken, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data-dir: lock %s: %w", lock.Path(), err)
	}
	if !taken {
		return nil, fmt.Errorf("data-dir %s is used by another sluice: stop that, or choose another folder with --data-dir", dir)
	}
	return lock.Unlock, nil
}
