package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-gitops/sluice/test/harness"
)

// docker runs docker and docker-compose, against a daemon of its own if there is none.
type docker struct {
	root, folder string
	env          []string
	compose      []string
	daemon       *exec.Cmd
	ended        chan error
}

// packages are Debian's, by the program each brings.
var packages = [...][2]string{{"dockerd", "docker.io"}, {"docker-compose", "docker-compose"}, {"iptables", "iptables"}, {"busybox", "busybox-static"}}

func (d *docker) install(ctx context.Context) error {
	var missing []string
	for _, p := range packages {
		if _, err := exec.LookPath(p[0]); err != nil {
			missing = append(missing, p[1])
		}
	}
	if len(missing) == 0 {
		return nil
	}
	say("installing %s", strings.Join(missing, ", "))
	if _, err := d.run(ctx, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	_, err := d.run(ctx, "apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)...)
	return err
}

// start finds a daemon or starts one.
func (d *docker) start(ctx context.Context) error {
	d.env = []string{"DOCKER_BUILDKIT=0", "COMPOSE_PROJECT_NAME=sluice-test", "COMPOSE_FILE=docker-compose.yaml:test/compose/standin.yaml"}
	d.compose = []string{"docker-compose"}
	if _, err := d.run(ctx, "docker", "compose", "version"); err == nil {
		d.compose = []string{"docker", "compose"}
	}
	if _, err := d.run(ctx, "docker", "info"); err == nil {
		if out, err := d.run(ctx, "docker", "version", "--format", "{{.Server.Version}}"); err == nil {
			say("using the Docker daemon that runs, version %s", strings.TrimSpace(out))
			return nil
		}
	}
	socket := "unix://" + filepath.Join(d.folder, "docker.sock")
	log, err := os.Create(filepath.Join(d.folder, "dockerd.log"))
	if err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	d.daemon = exec.Command("dockerd", "-H", socket, "--data-root", filepath.Join(d.folder, "data"),
		"--exec-root", filepath.Join(d.folder, "exec"), "--pidfile", filepath.Join(d.folder, "dockerd.pid"))
	d.daemon.Stdout, d.daemon.Stderr = log, log
	if err := d.daemon.Start(); err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.daemon.Wait() }()
	d.env = append(d.env, "DOCKER_HOST="+socket)
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = harness.Until(ready, 200*time.Millisecond, func(ctx context.Context) (bool, error) {
		_, err := d.run(ctx, "docker", "version")
		return err == nil, nil
	})
	if err != nil {
		text, readErr := os.ReadFile(log.Name())
		return errors.Join(fmt.Errorf("dockerd does not start: %w\n%s", err, text), readErr, d.stop())
	}
	say("started a Docker daemon with a folder of its own")
	return nil
}

func (d *docker) stop() error {
	if d.daemon == nil {
		return nil
	}
	if err := d.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop dockerd: %w", err)
	}
	select {
	case <-d.ended:
		return nil
	case <-time.After(time.Minute):
		return errors.Join(errors.New("dockerd did not stop in a minute"), d.daemon.Process.Kill())
	}
}

// run runs a command in the repository's root and returns what it printed.
func (d *docker) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = d.root
	cmd.Env = append(os.Environ(), d.env...)
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out, failure.String())
	}
	return string(out), nil
}

func (d *docker) composeRun(ctx context.Context, args ...string) (string, error) {
	return d.run(ctx, d.compose[0], append(append([]string{}, d.compose[1:]...), args...)...)
}
