package generator

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// A pattern that matches the folders of a large source makes no more of them than a status has room for.
func TestOutputsAreBounded(t *testing.T) {
	var files []pack.File
	for n := range 100 {
		files = append(files, pack.File{Path: fmt.Sprintf("apps/a%d", n), Dir: true})
	}
	from := &sources{by: map[string]*origin{"src": {tree: &pack.Unpacked{Files: files}}}}
	for each, fails := range map[int]bool{1: false, maxOutputs / 100: false, maxOutputs/100 + 1: true} {
		o := &generatorv1.ArtifactGenerator{Spec: generatorv1.ArtifactGeneratorSpec{PathPattern: "@src/apps/{app}"}}
		for n := range each {
			o.Spec.OutputArtifacts = append(o.Spec.OutputArtifacts, generatorv1.OutputArtifact{Name: fmt.Sprintf("{app}-%d", n)})
		}
		found, err := outputs(o, from)
		var failed *failure
		switch {
		case fails && (!errors.As(err, &failed) || !failed.stalled || !strings.Contains(err.Error(), fmt.Sprintf("more than %d artifacts", maxOutputs))):
			t.Errorf("%d artifacts of each folder: got %d, %v", each, len(found), err)
		case !fails && (err != nil || len(found) != 100*each):
			t.Errorf("%d artifacts of each folder: got %d, %v", each, len(found), err)
		}
	}
}
