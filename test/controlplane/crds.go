package controlplane

import (
	"context"
	"fmt"
	"slices"

	"github.com/sluice-gitops/sluice/deploy/crds"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// InstallCRDs applies the custom resource definitions of deploy/crds and returns
// when the API server serves all of them.
func (c *ControlPlane) InstallCRDs(ctx context.Context) error {
	documents, err := crds.All()
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(c.admin)
	if err != nil {
		return fmt.Errorf("make client for custom resource definitions: %w", err)
	}
	definitions := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	var names []string
	for _, document := range documents {
		var u unstructured.Unstructured
		if err := yaml.Unmarshal(document, &u.Object); err != nil {
			return fmt.Errorf("read custom resource definition: %w", err)
		}
		if _, err := definitions.Apply(ctx, u.GetName(), &u, metav1.ApplyOptions{FieldManager: "controlplane", Force: true}); err != nil {
			return fmt.Errorf("apply custom resource definition %s: %w", u.GetName(), err)
		}
		names = append(names, u.GetName())
	}
	return c.await(ctx, "the custom resources to be served", func(context.Context) error {
		return c.served(names)
	})
}

// served says which of the definitions (named <plural>.<group>) discovery does not show yet.
func (c *ControlPlane) served(names []string) error {
	_, lists, err := c.client.Discovery().ServerGroupsAndResources()
	if err != nil {
		return err
	}
	var served []string
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return err
		}
		for _, resource := range list.APIResources {
			served = append(served, resource.Name+"."+version.Group)
		}
	}
	for _, name := range names {
		if !slices.Contains(served, name) {
			return fmt.Errorf("%s is not served", name)
		}
	}
	return nil
}
