package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/test/pki"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ControlPlane is a running Kubernetes control plane.
type ControlPlane struct {
	// Folder holds data, certificates, kubeconfigs and one <component>.log each.
	Folder string
	// KubeconfigPath is an administrator's kubeconfig.
	KubeconfigPath string
	// URL is the API server's address, https on loopback.
	URL string
	// ServerVersion is what the API server says it is, such as v1.36.3.
	ServerVersion string

	options   Options
	binaries  string
	authority *pki.Authority
	admin     *rest.Config
	client    kubernetes.Interface
	processes []*process
	stopping  chan struct{} // closed when Stop begins
	ended     chan struct{} // closed when everything has ended
	stopOnce  sync.Once
	stopErr   error
	failOnce  sync.Once
	failed    error // why it ended by itself; to be read after ended
}

// Start builds the binaries if they are missing, starts a control plane and
// returns when it is ready. It stops when ctx ends, when Stop is called, or when
// one of its components dies.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	options = options.withDefaults()
	binaries, err := Build(ctx, options.Progress)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "sluice-controlplane-")
	if err != nil {
		return nil, fmt.Errorf("make folder of control plane: %w", err)
	}
	c := &ControlPlane{
		Folder:         folder,
		KubeconfigPath: filepath.Join(folder, "admin.kubeconfig"),
		options:        options,
		binaries:       binaries,
		stopping:       make(chan struct{}),
		ended:          make(chan struct{}),
	}
	startCtx, cancel := context.WithTimeout(ctx, options.StartTimeout)
	defer cancel()
	if err := c.start(startCtx); err != nil {
		return nil, errors.Join(fmt.Errorf("start control plane: %w", err), c.Stop())
	}
	context.AfterFunc(ctx, func() { c.stopOnce.Do(c.stop) })
	go c.supervise()
	return c, nil
}

// Stop ends every process and removes the folder. It may be called more than once.
func (c *ControlPlane) Stop() error {
	c.stopOnce.Do(c.stop)
	<-c.ended
	return c.stopErr
}

// Done is closed when the control plane has ended, for whatever reason.
func (c *ControlPlane) Done() <-chan struct{} { return c.ended }

// Err says, once Done is closed, which component died; nil after an ordinary stop.
func (c *ControlPlane) Err() error {
	select {
	case <-c.ended:
		return c.failed
	default:
		return nil
	}
}

func (c *ControlPlane) stop() {
	close(c.stopping)
	var errs []error
	for i := len(c.processes) - 1; i >= 0; i-- {
		errs = append(errs, c.processes[i].stop())
	}
	if !c.options.KeepFolder {
		errs = append(errs, os.RemoveAll(c.Folder))
	}
	c.stopErr = errors.Join(errs...)
	close(c.ended)
}

// supervise stops everything when one component ends by itself.
func (c *ControlPlane) supervise() {
	var wait sync.WaitGroup
	for _, p := range c.processes {
		wait.Go(func() {
			select {
			case <-p.done:
				c.fail(p)
			case <-c.ended:
			}
		})
	}
	wait.Wait()
}

func (c *ControlPlane) fail(p *process) {
	select {
	case <-c.stopping:
		return
	default:
	}
	c.failOnce.Do(func() {
		failed := p.failure()
		c.stopOnce.Do(func() {
			c.failed = failed
			c.stop()
		})
	})
}

func (c *ControlPlane) start(ctx context.Context) error {
	begin := time.Now()
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.run(etcd, c.etcdArgs()); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	if !c.options.NoControllerManager {
		if err := c.run(controllerManager, c.controllerManagerArgs()); err != nil {
			return err
		}
	}
	if c.options.Nodes > 0 {
		if err := c.startNodes(ctx); err != nil {
			return err
		}
	}
	if !c.options.NoControllerManager {
		if err := c.await(ctx, "the default service account", c.hasDefaultServiceAccount); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.options.Progress, "Kubernetes %s control plane ready in %.1f s at %s\n", c.ServerVersion, time.Since(begin).Seconds(), c.URL)
	return nil
}

// writeKubeconfigs writes one kubeconfig for each component that talks to the API server.
func (c *ControlPlane) writeKubeconfigs() error {
	users := map[string]string{
		"admin": "admin", "controller-manager": "system:kube-controller-manager",
		"scheduler": "system:kube-scheduler", "kwok": "kwok",
	}
	for name, user := range users {
		if err := c.Kubeconfig(c.file(name+".kubeconfig"), user, masters); err != nil {
			return err
		}
	}
	admin, err := clientcmd.BuildConfigFromFlags("", c.KubeconfigPath)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	admin.QPS = -1
	c.admin = admin
	c.client, err = kubernetes.NewForConfig(admin)
	if err != nil {
		return fmt.Errorf("make client of control plane: %w", err)
	}
	return nil
}

func (c *ControlPlane) run(name string, args []string) error {
	p, err := startProcess(filepath.Join(c.binaries, name), c.Folder, args...)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}
