package chartfile

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

func definition() map[string][]byte {
	return map[string][]byte{"x/Chart.yaml": []byte("apiVersion: v2\nname: x\nversion: 1.0.0\n")}
}

// Values files take from the bound of the chart that they are read for.
func TestValuesFilesExpandToLittle(t *testing.T) {
	c, err := Open(packed(t, definition(), 0))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 40<<10)
	for n := 1; err == nil; n++ {
		if _, err = c.ParseValues(fmt.Appendf(nil, "a: &a %s\nb: [%s]\n", text, strings.Repeat("*a,", 300))); n == 20 && err == nil {
			t.Fatal("twenty files of 12 MiB were read for one chart")
		}
	}
	if !errors.Is(err, pack.ErrLimit) {
		t.Errorf("error %v", err)
	}
}

// What is indented at each of many levels is not written.
func TestDeepValuesAreNotWritten(t *testing.T) {
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	files := definition()
	files["x/Chart.yaml"] = append(files["x/Chart.yaml"], "dependencies: [{name: a, version: 1.0.0, import-values: "+deep+"}]\n"...)
	c, err := Open(packed(t, files, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetVersion("1.0.1"); !errors.Is(err, pack.ErrLimit) {
		t.Errorf("import-values: error %v", err)
	}
	values, err := c.ParseValues([]byte("a: " + deep))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetValues(values); !errors.Is(err, pack.ErrLimit) {
		t.Errorf("values: error %v", err)
	}
}
