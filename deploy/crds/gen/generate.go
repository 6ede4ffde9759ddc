package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	notificationv1beta3 "github.com/fluxcd/notification-controller/api/v1beta3"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	"sigs.k8s.io/yaml"
)

const (
	// partOfLabel is what the flux CLI selects its definitions by.
	partOfLabel = "app.kubernetes.io/part-of"
	// substituteAnnotation keeps variable substitution away from the definitions themselves.
	substituteAnnotation = "kustomize.toolkit.fluxcd.io/substitute"
)

// packages are the Go packages whose types are generated: one version a kind.
func packages() []string {
	return []string{
		"github.com/fluxcd/source-controller/api/" + sourcev1.GroupVersion.Version,
		"github.com/fluxcd/kustomize-controller/api/" + kustomizev1.GroupVersion.Version,
		"github.com/fluxcd/helm-controller/api/" + helmv2.GroupVersion.Version,
		"github.com/fluxcd/notification-controller/api/" + notificationv1.GroupVersion.Version,
		"github.com/fluxcd/notification-controller/api/" + notificationv1beta3.GroupVersion.Version,
		"github.com/fluxcd/source-watcher/api/v2/" + generatorv1.GroupVersion.Version,
	}
}

// generate writes one file per definition into the folder out.
func generate(ctx context.Context, out string) error {
	raw, err := os.MkdirTemp("", "crds-")
	if err != nil {
		return fmt.Errorf("make folder for raw definitions: %w", err)
	}
	defer os.RemoveAll(raw)
	cmd := exec.CommandContext(ctx, "go", "tool", "controller-gen", "crd:maxDescLen=0",
		"paths="+strings.Join(packages(), ";"), "output:crd:dir="+raw)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run controller-gen: %w\n%s", err, text)
	}
	files, err := filepath.Glob(filepath.Join(raw, "*.yaml"))
	if err != nil {
		return fmt.Errorf("list raw definitions: %w", err)
	}
	for _, file := range files {
		if err := finish(file, filepath.Join(out, filepath.Base(file))); err != nil {
			return fmt.Errorf("finish definition %s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

// finish adds the metadata that users' tools rely on.
func finish(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var definition map[string]any
	if err := yaml.Unmarshal(content, &definition); err != nil {
		return err
	}
	metadata, ok := definition["metadata"].(map[string]any)
	if !ok {
		return fmt.Errorf("no metadata")
	}
	metadata["labels"] = map[string]any{partOfLabel: "flux"}
	if name, isText := metadata["name"].(string); isText && !strings.HasSuffix(name, sourcev1.GroupVersion.Group) {
		annotations, isMap := metadata["annotations"].(map[string]any)
		if !isMap {
			annotations = map[string]any{}
		}
		annotations[substituteAnnotation] = "disabled"
		metadata["annotations"] = annotations
	}
	finished, err := yaml.Marshal(definition)
	if err != nil {
		return err
	}
	return os.WriteFile(to, append([]byte("---\n"), finished...), 0o644)
}
