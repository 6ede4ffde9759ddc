package charts

import "maps"

// Chart is a chart and values for it.
type Chart struct {
	// Files by their path below the chart's folder.
	Files map[string]string
	// Values are sets of values, as YAML; the empty one is among them.
	Values []string
	// Live says that an API server takes what it renders, with each of the sets.
	Live bool
}

// Corpus returns the charts by name.
func Corpus() map[string]Chart {
	out := map[string]Chart{}
	for _, part := range []map[string]Chart{shapes(), workloads(), platform(), texts()} {
		maps.Copy(out, part)
	}
	return out
}

// Under puts a chart's files below a folder.
func Under(folder string, files map[string]string) map[string]string {
	out := map[string]string{}
	for name, body := range files {
		out[folder+"/"+name] = body
	}
	return out
}

func joined(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, files := range all {
		maps.Copy(out, files)
	}
	return out
}
