package helm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestBombs renders charts that are far more than they look: each fails by the name of its release and says what helps, no
// release beside them waits, and what mends a chart is installed.
func TestBombs(t *testing.T) {
	const helps = "make the chart or its values smaller"
	crd := definition("bombs", "bombs.helm.example.com", "Bomb")
	bombs := []struct{ name, file, body, mended, says string }{
		{
			"definitions", "crds/crd.yaml", crd + "x-text: &text \"" + strings.Repeat("x", 1<<20) + "\"\nx-all: [" + strings.Repeat("*text, ", 63) + "*text]\n",
			crd, "rendering the chart needed too much memory and was killed",
		},
		{"output", "templates/NOTES.txt", "{{ repeat 60000000 \"x\" }}", "", "is too large: its render needs"},
		{"values", "templates/values.yaml", "{{ range until 1000000000 }}{{ end }}\n", "", "rendering the chart needed too much memory and was killed"},
	}
	files := map[string]string{}
	for _, b := range bombs {
		files[b.name+"/Chart.yaml"] = fmt.Sprintf("apiVersion: v2\nname: %s\nversion: 1.0.0\n", b.name)
		files[b.name+"/templates/config.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {a: b}\n"
		files[b.name+"/"+b.file] = b.body
	}
	n, quiet := newTenant(t, "bombs", files), newTenant(t, "no-bombs", webChart())
	quiet.release("web", "web", "values: {message: one}\n")
	quiet.ready("web")
	for _, b := range bombs {
		n.release(b.name, b.name, "")
	}
	began := time.Now()
	for _, value := range []string{"two", "three"} {
		quiet.patch(releaseKind, "web", `{"spec":{"values":{"message":"`+value+`"}}}`)
		quiet.await(harness.ConfigMapKind, "web", holds("message", value))
		quiet.ready("web")
	}
	took := time.Since(began)
	mended := map[string]string{}
	for _, b := range bombs {
		n.await(releaseKind, b.name, all(says("Ready", "False", "InstallFailed", "Helm install failed for release "+n.Namespace+"/"+b.name+": "),
			says("Ready", "False", "InstallFailed", b.says), says("Ready", "False", "InstallFailed", helps)))
		n.unreleased(b.name)
		mended[b.name+"/"+b.file] = b.mended
	}
	t.Logf("two upgrades beside them took %s, all of them %s", took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	if took > limit/3 {
		t.Errorf("two upgrades beside them took %s", took)
	}
	if err := n.Push(within(t), mended); err != nil {
		t.Fatal(err)
	}
	for _, b := range bombs {
		n.ready(b.name)
	}
}
