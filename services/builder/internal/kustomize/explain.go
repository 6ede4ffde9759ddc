package kustomize

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// explain turns an error of kustomize's into one that names the file by its path
// in the artifact and nothing by its path on disk.
func (f *files) explain(err error) error {
	if errors.Is(err, ErrPath) {
		return err
	}
	text := err.Error()
	text = strings.ReplaceAll(text, top+"/", "")
	text = strings.ReplaceAll(text, top, ".")
	text = strings.TrimSpace(addresses.ReplaceAllString(text, "0x"))
	if hint := hintOf(text); hint != "" {
		text = hint + ": " + text
	}
	file := f.culprit(text)
	if file == "" {
		file = f.main
	}
	if file != "" && !strings.Contains(text, file) {
		text = file + ": " + text
	}
	return fmt.Errorf("kustomize build failed: %s", text)
}

// addresses of memory are in some messages, and would make the same error another
// one each time.
var addresses = regexp.MustCompile(`0x[0-9a-f]{8,}`)

// quoted are the names in an error's text.
var quoted = regexp.MustCompile(`[A-Za-z0-9_.\-/]+\.(?:yaml|yml|json)|Kustomization\b`)

// culprit finds the file that a message speaks of: the last one read whose name
// it holds.
func (f *files) culprit(text string) string {
	names := quoted.FindAllString(text, -1)
	slices.Reverse(names)
	for _, name := range names {
		for _, file := range slices.Backward(f.reads.order) {
			if file == name || strings.HasSuffix(file, "/"+path.Clean(name)) || path.Base(file) == path.Base(name) {
				return file
			}
		}
	}
	return ""
}

// hintOf says in our words what some messages of kustomize mean.
func hintOf(text string) string {
	switch {
	case strings.Contains(text, "external plugins disabled"), strings.Contains(text, "fn_execution"),
		strings.Contains(text, "unable to load external plugin"):
		return "exec and function plugins are not allowed in a build"
	case strings.Contains(text, "must specify --enable-helm"):
		return "Helm charts in a kustomization are not allowed in a build: render the chart with helm template and commit what it prints"
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "no 'git' program"),
		strings.Contains(text, "socket: operation not permitted"), strings.Contains(text, "mkdir /tmp/"):
		return "remote bases and files are not allowed in a build: copy them into the repository, or fetch them with a source of their own"
	case strings.Contains(text, "cycle detected"):
		return "the kustomizations form a loop"
	}
	return ""
}
