package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// portAttempts is how often another port is tried when a stranger took the chosen one first.
const portAttempts = 5

// startAPIServer starts kube-apiserver on a free port and waits until it is ready.
func (c *ControlPlane) startAPIServer(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := c.tryAPIServer(ctx)
		if err == nil {
			return nil
		}
		last := c.processes[len(c.processes)-1]
		taken := last.name == apiServer && bytes.Contains(last.tail(), []byte("address already in use"))
		if !taken || attempt == portAttempts {
			return err
		}
		if err := last.stop(); err != nil {
			return err
		}
		c.processes = c.processes[:len(c.processes)-1]
	}
}

func (c *ControlPlane) tryAPIServer(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	args, err := c.apiServerArgs(port)
	if err != nil {
		return err
	}
	if err := c.run(apiServer, args); err != nil {
		return err
	}
	c.URL = fmt.Sprintf("https://127.0.0.1:%d", port)
	if err := c.writeKubeconfigs(); err != nil {
		return err
	}
	if err := c.await(ctx, "kube-apiserver to be ready", c.isReady); err != nil {
		return err
	}
	version, err := c.client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("read server version: %w", err)
	}
	c.ServerVersion = version.GitVersion
	return nil
}

func (c *ControlPlane) isReady(ctx context.Context) error {
	return c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (c *ControlPlane) hasDefaultServiceAccount(ctx context.Context) error {
	_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	return err
}

// await repeats check until it returns nil. It gives up when ctx ends or a component dies.
func (c *ControlPlane) await(ctx context.Context, what string, check func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			select {
			case <-p.done:
				return p.failure()
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last: %w); the end of %s's log:\n%s", what, ctx.Err(), err, c.newest().name, c.newest().tail())
		case <-tick.C:
		}
	}
}

// newest is the component started last, which is the one being waited for.
func (c *ControlPlane) newest() *process { return c.processes[len(c.processes)-1] }
