package helmchart

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartfile"
)

// valuesFiles are those that change the chart: its own alone does not.
func valuesFiles(o *sourcev1.HelmChart) []string {
	files := o.Spec.ValuesFiles
	if len(files) == 1 && path.Clean(files[0]) == chartutil.ValuesfileName {
		return nil
	}
	return files
}

// setValues makes the merged values files the chart's own values, and returns which
// there were. What read does not find is fs.ErrNotExist.
func setValues(o *sourcev1.HelmChart, c *chartfile.Chart, read func(name string) (map[string]any, error)) ([]string, error) {
	names := valuesFiles(o)
	if len(names) == 0 {
		return nil, nil
	}
	merged := map[string]any{}
	var used []string
	for _, name := range names {
		values, err := read(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && o.Spec.IgnoreMissingValuesFiles:
			continue
		case errors.Is(err, fs.ErrNotExist):
			return nil, badValues.of(fmt.Errorf("failed to merge chart values: no values file found at path '%s'", name))
		case err != nil:
			return nil, badValues.of(fmt.Errorf("failed to merge chart values: '%s': %w", name, err))
		}
		merged = chartfile.Merge(merged, values)
		used = append(used, name)
	}
	if err := c.SetValues(merged); err != nil {
		return nil, badValues.of(err)
	}
	return used, nil
}
