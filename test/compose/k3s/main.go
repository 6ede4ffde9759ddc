// Command k3s stands in for k3s where no image can be pulled: the part of it that
// docker-compose.yaml uses, on the control plane for tests.
//
//	k3s server --tls-san=kubernetes     a cluster on port 6443, its kubeconfig, its manifests
//	kubectl --kubeconfig F get --raw=P  (by that name) one request
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/harness"
)

const (
	listen    = ":6443"
	manifests = "/var/lib/rancher/k3s/server/manifests"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if filepath.Base(os.Args[0]) == "kubectl" {
		err = get(ctx, os.Args[1:])
	} else {
		err = serve(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

func serve(ctx context.Context) error {
	plane, err := controlplane.Start(ctx, controlplane.Options{NoNodes: true, Progress: os.Stdout})
	if err != nil {
		return err
	}
	address, err := url.Parse(plane.URL)
	if err != nil {
		return errors.Join(err, plane.Stop())
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return forward(groupCtx, address.Host) })
	group.Go(func() error {
		select {
		case <-plane.Done():
			return plane.Err()
		case <-groupCtx.Done():
			return plane.Stop()
		}
	})
	group.Go(func() error {
		if err := writeKubeconfig(plane.KubeconfigPath, plane.URL); err != nil {
			return err
		}
		return apply(groupCtx, plane)
	})
	return group.Wait()
}

// writeKubeconfig writes what K3S_KUBECONFIG_OUTPUT asks for, with the public port.
func writeKubeconfig(from, url string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(string(content), url, "https://127.0.0.1"+listen)
	return os.WriteFile(os.Getenv("K3S_KUBECONFIG_OUTPUT"), []byte(text), 0o600)
}

// apply applies the YAML files of the manifests folder, in the order of their names.
func apply(ctx context.Context, plane *controlplane.ControlPlane) error {
	cluster, err := harness.Connect(plane.RESTConfig())
	if err != nil {
		return err
	}
	return filepath.WalkDir(manifests, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" || entry.Name() == "kustomization.yaml" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return cluster.Apply(ctx, "", content)
	})
}

// forward carries connections from the public port to the API server's.
func forward(ctx context.Context, to string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			return nil
		default:
			return err
		}
		go carry(c, to)
	}
}

func carry(c net.Conn, to string) {
	defer c.Close()
	d, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		return
	}
	defer d.Close()
	done := make(chan struct{}, 2)
	go func() { copyAll(d, c); done <- struct{}{} }()
	go func() { copyAll(c, d); done <- struct{}{} }()
	<-done
}

// get is kubectl get --raw.
func get(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("kubectl", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	raw, found := strings.CutPrefix(flags.Arg(1), "--raw=")
	if flags.Arg(0) != "get" || !found {
		return fmt.Errorf("this stand-in knows only get --raw=PATH, not %q", args)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	body, err := client.RESTClient().Get().AbsPath(raw).DoRaw(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%.200s\n", body)
	return nil
}
