package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-gitops/sluice/test/controlplane"
)

// images builds our images as a developer does, and the stand-ins of the others.
func (d *docker) images(ctx context.Context) error {
	say("make images")
	if _, err := d.run(ctx, "make", "images", "TAG=dev"); err != nil {
		return err
	}
	for _, standIn := range []struct {
		image string
		make  func(context.Context, string) error
	}{
		{"nats:2.15.2-alpine", d.nats}, {"versity/versitygw:v1.8.0", d.s3}, {"rancher/k3s:v1.36.3-k3s1", d.kubernetes},
	} {
		say("building a stand-in for %s from its Go module", standIn.image)
		folder := filepath.Join(d.folder, "image")
		if err := os.MkdirAll(filepath.Join(folder, "root", "tmp"), 0o755); err != nil {
			return fmt.Errorf("make folder of %s: %w", standIn.image, err)
		}
		if err := standIn.make(ctx, folder); err != nil {
			return fmt.Errorf("stand-in for %s: %w", standIn.image, err)
		}
		if _, err := d.run(ctx, "docker", "build", "-q", "-t", standIn.image, folder); err != nil {
			return err
		}
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	return nil
}

func (d *docker) nats(ctx context.Context, folder string) error {
	if err := d.goInstall(ctx, folder, "github.com/nats-io/nats-server/v2@v2.15.2"); err != nil {
		return err
	}
	return d.dockerfile(folder, "FROM scratch\nCOPY root/ /\nENV PATH=/bin\n", "wget")
}

func (d *docker) s3(ctx context.Context, folder string) error {
	if err := d.goInstall(ctx, folder, "github.com/versity/versitygw/cmd/versitygw@v1.8.0"); err != nil {
		return err
	}
	return d.dockerfile(folder, "FROM scratch\nCOPY root/ /\nENV PATH=/bin\nENTRYPOINT [\"/bin/versitygw\"]\n", "wget")
}

// kubernetes packs the control plane for tests the way controlplane.Build finds it.
func (d *docker) kubernetes(ctx context.Context, folder string) error {
	binaries, err := controlplane.Build(ctx, os.Stderr)
	if err != nil {
		return err
	}
	root := filepath.Join(folder, "root")
	cache := filepath.Join(root, "cache", "sluice", "controlplane", filepath.Base(binaries))
	module := filepath.Join(root, "sluice", "test", "controlplane", "binaries")
	for _, dir := range []string{filepath.Dir(cache), module, filepath.Join(root, "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.CopyFS(cache, os.DirFS(binaries)); err != nil {
		return err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(d.root, "test", "controlplane", "binaries", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(module, name), content, 0o644); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(root, "bin", "k3s"), "./compose/k3s")
	cmd.Dir = filepath.Join(d.root, "test")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build stand-in: %w\n%s", err, out)
	}
	if err := os.Symlink("k3s", filepath.Join(root, "bin", "kubectl")); err != nil {
		return err
	}
	return d.dockerfile(folder, "FROM scratch\nCOPY root/ /\nENV PATH=/bin XDG_CACHE_HOME=/cache\nWORKDIR /sluice\nENTRYPOINT [\"/bin/k3s\"]\n",
		"sh", "sed", "chmod", "cat")
}

// goInstall builds a program of another module into the image.
func (d *docker) goInstall(ctx context.Context, folder, program string) error {
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags", "-s -w", program)
	cmd.Dir = d.folder
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOBIN="+filepath.Join(folder, "root", "bin"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go install %s: %w\n%s", program, err, out)
	}
	return nil
}

// dockerfile completes an image with commands of a static busybox.
func (d *docker) dockerfile(folder, text string, commands ...string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	content, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	bin := filepath.Join(folder, "root", "bin")
	if err := os.WriteFile(filepath.Join(bin, "busybox"), content, 0o755); err != nil {
		return err
	}
	for _, command := range commands {
		if err := os.Symlink("busybox", filepath.Join(bin, command)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte(strings.TrimSpace(text)+"\n"), 0o644)
}
