package controlplane

import (
	"context"
	_ "embed"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NeverReadyLabel on a pod, with any value, keeps it from ever becoming ready.
const NeverReadyLabel = "controlplane/never-ready"

// stages tell kwok what becomes of nodes and pods.
//
//go:embed stages.yaml
var stages []byte

// startNodes starts scheduler and kwok, creates the nodes and waits until they are ready.
func (c *ControlPlane) startNodes(ctx context.Context) error {
	if err := os.WriteFile(c.file("stages.yaml"), stages, 0o600); err != nil {
		return fmt.Errorf("write stages of nodes: %w", err)
	}
	for i := range c.options.Nodes {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)}}
		node.Labels = map[string]string{corev1.LabelHostname: node.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"}
		if _, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create node %s: %w", node.Name, err)
		}
	}
	if err := c.run(scheduler, c.schedulerArgs()); err != nil {
		return err
	}
	if err := c.run(kwok, c.kwokArgs()); err != nil {
		return err
	}
	return c.await(ctx, "the nodes to be ready", c.nodesReady)
}

func (c *ControlPlane) nodesReady(ctx context.Context) error {
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready := 0
	for _, node := range nodes.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	if ready < c.options.Nodes {
		return fmt.Errorf("%d of %d nodes are ready", ready, c.options.Nodes)
	}
	return nil
}
