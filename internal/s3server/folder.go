package s3server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/versity/versitygw/backend/meta"
)

// lookEvery is how often the folder is looked for.
const lookEvery = time.Second

func (c Config) data() string { return filepath.Join(c.Dir, "data") }
func (c Config) side() string { return filepath.Join(c.Dir, "meta") }

// sidecar decides where metadata lives. A folder that was started with sidecar files
// keeps them, or its objects would lose their metadata.
func (c Config) sidecar() bool {
	if c.Sidecar || (meta.XattrMeta{}).Test(c.data()) != nil {
		return true
	}
	_, err := os.Stat(c.side())
	return err == nil
}

func (c Config) makeFolders() error {
	if err := os.MkdirAll(c.data(), 0o700); err != nil {
		return fmt.Errorf("create S3 folder: %w", err)
	}
	if !c.sidecar() {
		return nil
	}
	if err := os.MkdirAll(c.side(), 0o700); err != nil {
		return fmt.Errorf("create S3 metadata folder: %w", err)
	}
	return nil
}

// keepFolder makes the folder anew, empty, when somebody removed it, until ctx ends.
// The gateway reaches its objects through the working directory of the process.
func (c Config) keepFolder(ctx context.Context) {
	opened, _ := os.Stat(c.data()) // gone already: the first look says so
	c.Sidecar = c.sidecar()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := os.Stat(c.data())
		if err == nil && os.SameFile(opened, now) {
			continue
		}
		if err = c.makeFolders(); err == nil {
			err = os.Chdir(c.data())
		}
		if err == nil {
			opened, err = os.Stat(c.data())
		}
		if c.Logger != nil {
			c.Logger.Error("the folder of the S3 server was removed, so all that it stored is lost; it is made anew",
				"folder", c.Dir, "error", err)
		}
	}
}
