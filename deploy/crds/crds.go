// Package crds holds the custom resource definitions that Sluice serves, as
// generated from their owners' Go types by generate.sh. It has no dependencies.
package crds

import (
	"embed"
	"fmt"
)

//go:generate ./generate.sh

// FS holds one YAML file per definition, named <group>_<plural>.yaml.
//
//go:embed *.fluxcd.io_*.yaml
var FS embed.FS

// All returns every definition as one YAML document each, ordered by file name.
func All() ([][]byte, error) {
	entries, err := FS.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list custom resource definitions: %w", err)
	}
	documents := make([][]byte, 0, len(entries))
	for _, entry := range entries {
		document, err := FS.ReadFile(entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read custom resource definition %s: %w", entry.Name(), err)
		}
		documents = append(documents, document)
	}
	return documents, nil
}
