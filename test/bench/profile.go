package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
)

// profileTime is how much of each measured side is profiled, from its begin.
const profileTime = 10 * time.Second

// profiled runs do, and keeps processor profiles of the first seconds of it in the
// folder for profiles, if there is one: of sluice and of the API server.
func (w *world) profiled(ctx context.Context, name string, do func() (time.Duration, error)) (took time.Duration, err error) {
	if w.profiles == "" {
		return do()
	}
	path := fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(profileTime.Seconds()))
	apiserver, err := kubernetes.NewForConfig(w.REST)
	if err != nil {
		return 0, fmt.Errorf("profile: %w", err)
	}
	keep := func(of string, body []byte, err error) error {
		if err != nil {
			return fmt.Errorf("profile %s of %s: %w", name, of, err)
		}
		return os.WriteFile(filepath.Join(w.profiles, name+"-"+of+".pprof"), body, 0o644)
	}
	var errs [2]error
	var profiles sync.WaitGroup
	profiles.Go(func() {
		body, err := w.probe(ctx, path)
		errs[0] = keep("sluice", []byte(body), err)
	})
	profiles.Go(func() {
		body, err := apiserver.Discovery().RESTClient().Get().RequestURI(path).DoRaw(ctx)
		errs[1] = keep("apiserver", body, err)
	})
	took, err = do()
	profiles.Wait()
	return took, errors.Join(err, errs[0], errs[1])
}
