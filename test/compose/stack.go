package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluice-gitops/sluice/test/gitserver"
	"github.com/sluice-gitops/sluice/test/harness"
)

const (
	password = "compose-test-only"
	scale    = 3
)

// names of the services, in the order a revision passes them.
var names = [...]string{"webhook", "fetcher", "builder", "applier"}

// stack is the Compose project on free ports.
type stack struct {
	*docker
	webhook, nats string
	kubePort      int
}

func newStack(d *docker) (*stack, error) {
	s := &stack{docker: d}
	ports := map[string]int{}
	for _, name := range []string{"WEBHOOK", "ARTIFACT", "K8S", "NATS"} {
		port, err := harness.FreePort()
		if err != nil {
			return nil, err
		}
		ports[name] = port
		d.env = append(d.env, "SLUICE_"+name+"_PORT="+strconv.Itoa(port))
	}
	d.env = append(d.env, "SLUICE_PASSWORD="+password, "SLUICE_S3_SECRET="+password)
	s.webhook = "http://127.0.0.1:" + strconv.Itoa(ports["WEBHOOK"])
	s.nats = "nats://127.0.0.1:" + strconv.Itoa(ports["NATS"])
	s.kubePort = ports["K8S"]
	return s, nil
}

// up starts the stack with some builders and waits until every container is healthy.
func (s *stack) up(ctx context.Context, builders int) error {
	if _, err := s.composeRun(ctx, "up", "-d", "--no-build", "--scale", "builder="+strconv.Itoa(builders)); err != nil {
		return err
	}
	for _, name := range names {
		want := 1
		if name == "builder" {
			want = builders
		}
		if err := s.healthy(ctx, name, want); err != nil {
			return err
		}
	}
	return nil
}

func (s *stack) containers(ctx context.Context, service string) ([]string, error) {
	out, err := s.composeRun(ctx, "ps", "-q", service)
	return strings.Fields(out), err
}

func (s *stack) healthy(ctx context.Context, service string, want int) error {
	var states []string
	err := harness.Until(ctx, 500*time.Millisecond, func(ctx context.Context) (bool, error) {
		ids, err := s.containers(ctx, service)
		if err != nil || len(ids) != want {
			return false, err
		}
		out, err := s.run(ctx, "docker", append([]string{"inspect", "-f", "{{.State.Health.Status}}"}, ids...)...)
		if err != nil {
			return false, err
		}
		states = strings.Fields(out)
		return strings.Count(out, "healthy") == want && !strings.Contains(out, "unhealthy"), nil
	})
	if err != nil {
		return fmt.Errorf("%d containers of %s do not become healthy (%v): %w", want, service, states, err)
	}
	return nil
}

// kill ends the newest container's process of a service as a crash would; its
// restart policy brings it back.
func (s *stack) kill(ctx context.Context, service string) error {
	ids, err := s.containers(ctx, service)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return fmt.Errorf("kill %s: it has no container", service)
	}
	out, err := s.run(ctx, "docker", "inspect", "-f", "{{.State.Pid}}", ids[len(ids)-1])
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || pid <= 1 {
		return fmt.Errorf("kill %s: its process is %q", service, strings.TrimSpace(out))
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", service, err)
	}
	return nil
}

// world connects to what the stack published, with a Git server that its
// containers reach.
func (s *stack) world(ctx context.Context) (*harness.World, error) {
	ids, err := s.containers(ctx, "kubernetes")
	if err != nil || len(ids) != 1 {
		return nil, errors.Join(err, fmt.Errorf("kubernetes has containers %v", ids))
	}
	kubeconfig, err := s.run(ctx, "docker", "exec", ids[0], "cat", "/kubeconfig/admin")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.folder, "kubeconfig")
	kubeconfig = strings.ReplaceAll(kubeconfig, "127.0.0.1:6443", "127.0.0.1:"+strconv.Itoa(s.kubePort))
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		return nil, err
	}
	w, err := harness.NewWorld(ctx, harness.WorldOptions{Kubeconfig: path, Token: password, WithoutSluice: true})
	if err != nil {
		return nil, err
	}
	gateway, err := s.gateway(ctx, ids[0])
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.HTTP, err = w.Store.ServeHTTP(ctx, gitserver.HTTPOptions{Address: gateway + ":0"})
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.OnClose(w.HTTP.Close)
	return w, nil
}

// gateway returns the address of this machine as a container reaches it. The default network of a
// daemon may not say it until it is used, so the container's own is asked.
func (s *stack) gateway(ctx context.Context, container string) (string, error) {
	out, err := s.run(ctx, "docker", "inspect", container, "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}} {{end}}")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(out)
	if len(fields) == 0 {
		return "", fmt.Errorf("container %s has no gateway: its network says nothing of one", container)
	}
	return fields[0], nil
}

// asUser authenticates to NATS as a user of deploy/nats.
func asUser(name string) []nats.Option {
	return []nats.Option{nats.UserInfo(name, password), nats.CustomInboxPrefix("_INBOX_" + name)}
}

// complain shows what the containers said last.
func (s *stack) complain() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, args := range [][]string{{"ps"}, {"logs", "--no-color", "--tail", "25"}} {
		out, err := s.composeRun(ctx, args...)
		fmt.Fprintln(os.Stderr, out, errors.Join(err))
	}
}

// down removes containers, networks and volumes, and checks that nothing is left.
func (s *stack) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if _, err := s.composeRun(ctx, "down", "-v", "--timeout", "40"); err != nil {
		return err
	}
	left, err := s.run(ctx, "docker", "ps", "-aq", "--filter", "label=com.docker.compose.project=sluice-test")
	if err != nil {
		return err
	}
	if left != "" {
		return fmt.Errorf("containers are left: %s", strings.Join(strings.Fields(left), " "))
	}
	return nil
}
