package controlplane

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The programs of a control plane.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	kwok              = "kwok"
)

// program is one binary and the package that it is built from.
type program struct{ name, pkg string }

func programs() []program {
	return []program{
		{etcd, "go.etcd.io/etcd/server/v3"},
		{apiServer, "k8s.io/kubernetes/cmd/kube-apiserver"},
		{controllerManager, "k8s.io/kubernetes/cmd/kube-controller-manager"},
		{scheduler, "k8s.io/kubernetes/cmd/kube-scheduler"},
		{kwok, "sigs.k8s.io/kwok/cmd/kwok"},
	}
}

// recipe is what decides the content of the binaries.
type recipe struct {
	module  string // folder of the module that names the versions
	version string // of Kubernetes, such as v1.36.3
	ldflags string
	folder  string // where the binaries are kept
}

// Build makes sure that the binaries exist and returns their folder. Processes
// that build at the same time take turns. The first build takes minutes and says so on progress.
func Build(ctx context.Context, progress io.Writer) (string, error) {
	r, err := newRecipe()
	if err != nil {
		return "", err
	}
	if r.complete() {
		return r.folder, nil
	}
	if err := os.MkdirAll(r.folder, 0o755); err != nil {
		return "", fmt.Errorf("make folder for control plane binaries: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(r.folder, "lock"), progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := r.build(ctx, progress); err != nil {
		return "", err
	}
	return r.folder, nil
}

func newRecipe() (recipe, error) {
	module, err := binariesModule()
	if err != nil {
		return recipe{}, err
	}
	requirements, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return recipe{}, fmt.Errorf("read versions of the control plane: %w", err)
	}
	sums, err := os.ReadFile(filepath.Join(module, "go.sum"))
	if err != nil {
		return recipe{}, fmt.Errorf("read sums of the control plane: %w", err)
	}
	version, err := kubernetesVersion(requirements)
	if err != nil {
		return recipe{}, err
	}
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	const pkg = "k8s.io/component-base/version."
	ldflags := fmt.Sprintf("-s -w -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s", pkg, version, parts[0], parts[1])
	cache, err := os.UserCacheDir()
	if err != nil {
		return recipe{}, fmt.Errorf("find cache folder: %w", err)
	}
	hash := sha256.New()
	for _, part := range [][]byte{requirements, sums, []byte(ldflags)} {
		fmt.Fprintf(hash, "%d\n%s", len(part), part)
	}
	name := hex.EncodeToString(hash.Sum(nil))[:16]
	return recipe{module: module, version: version, ldflags: ldflags, folder: filepath.Join(cache, "sluice", "controlplane", name)}, nil
}

// binariesModule finds the module beside this file; in a binary that does not
// know its source folder, at or above the working folder.
func binariesModule() (string, error) {
	var candidates []string
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		candidates = append(candidates, filepath.Join(filepath.Dir(file), "binaries"))
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find working folder: %w", err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		candidates = append(candidates, filepath.Join(dir, "test", "controlplane", "binaries"))
	}
	for _, candidate := range candidates {
		if _, err := os.Stat(filepath.Join(candidate, "go.mod")); err == nil {
			return candidate, nil
		}
	}
	return "", errors.New("find module test/controlplane/binaries: run inside a checkout of the repository")
}

func kubernetesVersion(requirements []byte) (string, error) {
	lines := bufio.NewScanner(bytes.NewReader(requirements))
	for lines.Scan() {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(lines.Text()), "require "))
		if len(fields) >= 2 && fields[0] == "k8s.io/kubernetes" && strings.Count(fields[1], ".") == 2 {
			return fields[1], nil
		}
	}
	return "", errors.New("find version of k8s.io/kubernetes in test/controlplane/binaries/go.mod")
}

func (r recipe) complete() bool { return len(r.missing()) == 0 }

func (r recipe) missing() []program {
	var missing []program
	for _, p := range programs() {
		if _, err := os.Stat(filepath.Join(r.folder, p.name)); err != nil {
			missing = append(missing, p)
		}
	}
	return missing
}

func (r recipe) build(ctx context.Context, progress io.Writer) error {
	missing := r.missing()
	if len(missing) == 0 {
		return nil
	}
	fmt.Fprintf(progress, "Building a Kubernetes %s control plane from its Go modules (%d programs).\n", r.version, len(missing))
	fmt.Fprintf(progress, "This takes some minutes, once; the result is kept in %s.\n", r.folder)
	start := time.Now()
	for i, p := range missing {
		step := fmt.Sprintf("[%d/%d] %s", i+1, len(missing), p.name)
		if err := announce(progress, step, func() error { return r.compile(ctx, p) }); err != nil {
			return fmt.Errorf("build %s: %w", p.name, err)
		}
	}
	fmt.Fprintf(progress, "Control plane built in %s.\n", time.Since(start).Round(time.Second))
	return nil
}

// compile leaves either a whole binary under its name or none.
func (r recipe) compile(ctx context.Context, p program) error {
	partial := filepath.Join(r.folder, p.name+".partial")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags", r.ldflags, "-o", partial, p.pkg)
	cmd.Dir = r.module
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return os.Rename(partial, filepath.Join(r.folder, p.name))
}

// announce runs work and says every few seconds that it still goes on.
func announce(progress io.Writer, step string, work func() error) error {
	start := time.Now()
	fmt.Fprintf(progress, "%s: building\n", step)
	done := make(chan error, 1)
	go func() { done <- work() }()
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err == nil {
				fmt.Fprintf(progress, "%s: done in %s\n", step, time.Since(start).Round(time.Second))
			}
			return err
		case <-tick.C:
			fmt.Fprintf(progress, "%s: still building, %s so far\n", step, time.Since(start).Round(time.Second))
		}
	}
}
