package git

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// keyFile holds what keys the names of the mirrors beside it, so that they stay the same
// when the process is started again.
const keyFile = "names.key"

// keySize of it in bytes.
const keySize = 32

// mirrorKey reads the key in a folder. One that is not there, or is damaged, is made anew:
// then mirrors of before are found no more, and are deleted once they are idle.
func mirrorKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, keyFile)
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == keySize:
		return key, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("read what keys the names of git mirrors: %w", err)
	}
	key = make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	if err := os.WriteFile(path+".new", key, 0o600); err != nil {
		return nil, fmt.Errorf("keep what keys the names of git mirrors: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, fmt.Errorf("keep what keys the names of git mirrors: %w", err)
	}
	return key, nil
}
