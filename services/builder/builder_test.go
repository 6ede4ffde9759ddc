package builder_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/internal/serve"
	"github.com/sluice-gitops/sluice/services/builder"
)

func TestBuilder(t *testing.T) {
	w := newWorld(t)
	began := time.Now()
	stop := w.start(func(c *builder.Config) { c.ExternalArtifacts = true })
	t.Run("side by side", func(t *testing.T) { sideBySide(t, w) })
	t.Run("accept", func(t *testing.T) { accepted(t, w) })
	t.Run("everything is built again after a wipe", func(t *testing.T) { wiped(t, w) })
	stop()
	onlyReads(t, w, began)
	t.Run("sources of other namespaces are refused when told so", func(t *testing.T) { crossNamespace(t, w) })
	t.Run("ExternalArtifact, gate off", func(t *testing.T) { externalGateOff(t, w) })
	t.Run("a sweep removes orphans and finds lost renders", func(t *testing.T) { swept(t, w) })
	t.Run("of old renders only the newest stay", func(t *testing.T) { onlyNewestStay(t, w) })
	t.Run("what is broken is not built for a change elsewhere", func(t *testing.T) { brokenOnce(t, w) })
	t.Run("the operator's age keys", func(t *testing.T) { operatorKeys(t, w) })
	t.Run("it waits for its keys", func(t *testing.T) { waitsForKeys(t, w) })
	t.Run("two replicas", func(t *testing.T) { twoReplicas(t, w) })
}

func sideBySide(t *testing.T, w *world) {
	for name, test := range map[string]func(*testing.T, *world){
		"a revision becomes a sealed render":                   revisionBecomesRender,
		"a revision that changes nothing moves only the head":  unchangedMovesHead,
		"a spec change builds again":                           specChangeBuilds,
		"a failure names the file and recovers":                failureRecovers,
		"failures of the source":                               sourceFailures,
		"a source that was not fetched yet":                    sourceNotFetchedYet,
		"encrypted files are built with the keys of a Secret":  decryption,
		"a way of decrypting that is not served stalls":        decryptionRefused,
		"sources of every kind, also of another namespace":     sourceKinds,
		"a lost event of the source is made good":              lostEvent,
		"a missing or damaged render is built again":           brokenRender,
		"ArtifactDownload":                                     brokenArtifact,
		"variables come from ConfigMaps and Secrets":           variables,
		"an optional source of variables comes and goes":       optionalVariables,
		"suspend holds, resume builds":                         suspend,
		"a deleted object leaves no render, its log stays":     deleted,
		"an object of the same name again is another":          recreated,
		"a failure is said once and retried":                   failureSaidOnce,
		"bad input of one object does not hold up another's":   othersGoOn,
		"a hook that names the object checks it":               hooked,
		"an artifact that is a bomb is refused":                bomb,
		"a failed build goes back to the render that is there": backToRender,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

// onlyReads checks that the builder wrote nothing to Kubernetes.
func onlyReads(t *testing.T, w *world, from time.Time) {
	requests, err := w.plane.Requests(from, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		if strings.HasPrefix(r.UserAgent, userAgent) && !slices.Contains([]string{"get", "list", "watch"}, r.Verb) {
			t.Errorf("the builder sent %s %s %s/%s", r.Verb, r.Resource, r.Namespace, r.Name)
		}
	}
}

func revisionBecomesRender(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	d := a.rendered("first revision")
	if d.Objects != 1 || a.value(d, "k") != "one" || a.open(d)[0].Origin != "app/a.yaml" {
		t.Errorf("got %d objects, %v", d.Objects, a.open(d))
	}
	a.push("main@sha1:2", files("two"))
	if d := a.rendered("second revision"); a.value(d, "k") != "two" {
		t.Errorf("got %v", a.value(d, "k"))
	}
}

func unchangedMovesHead(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	first := a.rendered("first revision")
	next := files("one")
	next["other/b.yaml"] = configMap("b", "changed")
	a.push("main@sha1:2", next)
	second := a.unchanged("a change elsewhere")
	if second.RenderID != first.RenderID || a.value(second.BuildRendered, "k") != "one" {
		t.Errorf("render %s became %s", first.RenderID, second.RenderID)
	}
	// a comment is read, so it is built, but changes nothing
	next["app/a.yaml"] = "# a comment\n" + next["app/a.yaml"]
	a.push("main@sha1:3", next)
	if third := a.unchanged("a comment"); third.RenderID != first.RenderID {
		t.Errorf("render %s became %s", first.RenderID, third.RenderID)
	}
	next["app/new.yaml"] = configMap("new", "x")
	a.push("main@sha1:4", next)
	if d := a.rendered("a new file in the folder"); d.Objects != 2 {
		t.Errorf("%d objects after a file was added", d.Objects)
	}
}

func specChangeBuilds(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	first := a.rendered("first spec")
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.TargetNamespace = "elsewhere" })
	d := await(a, "changed spec", func(d events.BuildRendered) bool { return d.RenderID != first.RenderID })
	if got := a.open(d)[0].GetNamespace(); got != "elsewhere" {
		t.Errorf("namespace is %s", got)
	}
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Prune = true })
	await(a, "a spec change that is the applier's business", func(u events.BuildUnchanged) bool {
		return u.RenderID == d.RenderID && u.SpecDigest != d.SpecDigest
	})
}

func failureRecovers(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", map[string]string{"app/bad.yaml": "a: b: c"})
	f := a.failed("invalid YAML", "app/bad.yaml")
	if f.Reason != "BuildFailed" || f.Stalled || f.Revision != "main@sha1:1" || f.SourceDigest != a.digest {
		t.Errorf("got %+v", f)
	}
	a.push("main@sha1:2", files("good"))
	if d := a.rendered("the repair"); a.value(d, "k") != "good" {
		t.Errorf("got %v", a.value(d, "k"))
	}
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Path = "./gone" })
	if f := a.failed("a path that is not there", "kustomization path not found: stat gone"); f.Reason != "ArtifactFailed" {
		t.Errorf("reason is %s", f.Reason)
	}
}

// brokenOnce shows that an app that cannot be built costs no build when a commit changes
// something else: many such apps would hold up those of the same repository that are well.
func brokenOnce(t *testing.T, w *world) {
	registry := prometheus.NewRegistry()
	defer w.start(func(c *builder.Config) { c.Registerer = registry })()
	a := w.newApp(t, nil)
	content := map[string]string{"app/bad.yaml": "a: b: c", "other/x.yaml": "one"}
	a.push("main@sha1:1", content)
	first := a.failed("invalid YAML", "app/bad.yaml")
	for i, value := range []string{"two", "three"} {
		content["other/x.yaml"] = value
		revision := fmt.Sprint("main@sha1:", i+2)
		a.push(revision, content)
		await(a, "a change elsewhere", func(f events.BuildFailed) bool { return f.Revision == revision && f.Message == first.Message })
	}
	if built, skipped := builds(t, registry, "failed"), builds(t, registry, "failed_skipped"); built != 1 || skipped != 2 {
		t.Errorf("%v builds failed and %v were known to, want 1 and 2", built, skipped)
	}
	content["app/bad.yaml"] = configMap("a", "mended")
	a.push("main@sha1:4", content)
	a.rendered("the repair")
}

// builds is how many builds had an outcome.
func builds(t *testing.T, registry *prometheus.Registry, outcome string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "sluice_builder_builds_total" && m.GetLabel()[0].GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func sourceFailures(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.SourceRef.Name = "missing" })
	if f := a.failed("no such source", "Source 'GitRepository/missing' not found"); f.Reason != "ArtifactFailed" {
		t.Errorf("reason is %s", f.Reason)
	}
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.SourceRef.Name = "repo" })
	a.push("main@sha1:1", files("one"))
	a.rendered("the artifact is there")
}

func sourceNotFetchedYet(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	js, err := jetstream.New(w.bus.Conn())
	a.must(err)
	stream, err := js.Stream(t.Context(), events.CheckStream(events.StageBuild))
	a.must(err)
	a.until("the builder waits", func() error {
		_, err := stream.GetLastMsgForSubject(t.Context(), events.TimerSubject(events.StageBuild, a.key()))
		return err
	})
	a.push("main@sha1:1", files("one"))
	a.rendered("the artifact is there")
	if all := a.history(); len(all) != 1 {
		t.Errorf("the wait for a source is an event: %v", all)
	}
}

func lostEvent(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	a.rendered("first revision")
	a.pushQuietly("main@sha1:2", files("two"))
	a.rendered("a revision nobody told of")
}

func brokenRender(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	d := a.rendered("first revision")
	for reason, damage := range map[string]func() error{
		"gone": func() error { return a.blobs.Delete(t.Context(), d.Render) },
		"damaged": func() error {
			return a.damage(d.Render)
		},
		"forged": func() error {
			return a.blobs.Replace(t.Context(), d.Render, []byte("rubbish"), blob.Digest([]byte("rubbish")))
		},
	} {
		before := len(a.history())
		a.must(damage())
		a.ask()
		a.until(reason, func() error {
			if len(a.history()) == before {
				return errors.New("no new event")
			}
			return nil
		})
		if u := a.unchanged(reason); a.value(u.BuildRendered, "k") != "one" {
			t.Errorf("%s: got %v", reason, a.value(u.BuildRendered, "k"))
		}
	}
}

// brokenArtifact loses, damages and restores an artifact in storage: it fails, retries
// by itself and recovers.
func brokenArtifact(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	body := pack(t, files("only here"))
	a.revision, a.digest = "main@sha1:1", blob.Digest(body)
	a.moveSource()
	a.announce()
	if f := a.failed("missing", "Source is not ready, artifact not found, retrying in 5s"); f.Reason != "ArtifactFailed" {
		t.Errorf("reason is %s", f.Reason)
	}
	a.must(a.blobs.Put(t.Context(), a.artifact(), body, a.digest))
	a.must(a.damage(a.artifact()))
	a.ask()
	if f := a.failed("damaged", "Source artifact is damaged in storage"); f.Reason != "ArtifactFailed" {
		t.Errorf("reason is %s", f.Reason)
	}
	a.must(a.blobs.Replace(t.Context(), a.artifact(), body, a.digest))
	a.rendered("repaired, found by the retry")
}

func variables(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.PostBuild = &kustomizev1.PostBuild{
			Substitute: map[string]string{"inline": "i"},
			SubstituteFrom: []kustomizev1.SubstituteReference{
				{Kind: "ConfigMap", Name: "vars"}, {Kind: "Secret", Name: "secret"}, {Kind: "ConfigMap", Name: "maybe", Optional: true},
			},
		}
	})
	a.push("main@sha1:1", map[string]string{"app/a.yaml": configMap("a", "${both}-${inline}-${only}")})
	a.failed("a source of variables is missing", `substitute from 'ConfigMap/vars' error: configmaps "vars" not found`)
	watched := map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}
	vars := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "vars", Labels: watched},
		Data:       map[string]string{"both": "map", "only": "one\nline", "inline": "overridden"},
	}
	a.must(a.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "secret"}, StringData: map[string]string{"both": "hidden"},
	}))
	a.must(a.Create(t.Context(), vars))
	d := a.rendered("a labelled ConfigMap appeared")
	if got := a.value(d, "k"); got != "hidden-i-oneline" {
		t.Errorf("got %v", got)
	}
	if strings.Contains(fmt.Sprint(d), "hidden") {
		t.Error("a variable of a Secret is in the event")
	}
	vars.Data["only"] = "changed"
	a.must(a.Update(t.Context(), vars))
	d = await(a, "a labelled ConfigMap changed", func(n events.BuildRendered) bool { return n.RenderID != d.RenderID })
	if got := a.value(d, "k"); got != "hidden-i-changed" {
		t.Errorf("got %v", got)
	}
	a.push("main@sha1:2", map[string]string{"app/a.yaml": configMap("a", "${nowhere}")})
	f := a.failed("a variable without value", "variable not set (strict mode)")
	if !strings.Contains(f.Message, "app/a.yaml") || f.Reason != "BuildFailed" {
		t.Errorf("got %s: %s", f.Reason, f.Message)
	}
}

func optionalVariables(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.PostBuild = &kustomizev1.PostBuild{
			Substitute:     map[string]string{"other": "x"}, // without any variable nothing is substituted
			SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "maybe", Optional: true}},
		}
	})
	a.push("main@sha1:1", map[string]string{"app/a.yaml": configMap("a", "${v:=none}")})
	is := func(reason, want string) {
		t.Helper()
		a.until(reason, func() error {
			if got := a.value(a.rendered(reason), "k"); got != want {
				return fmt.Errorf("got %v, want %s", got, want)
			}
			return nil
		})
	}
	is("it is not there", "none")
	maybe := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "maybe", Labels: map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}},
		Data:       map[string]string{"v": "some"},
	}
	a.must(a.Create(t.Context(), maybe))
	is("it came", "some")
	a.must(a.Delete(t.Context(), maybe))
	is("it went", "none")
}

func suspend(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	a.rendered("first revision")
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = true })
	before := len(a.history())
	a.push("main@sha1:2", files("two"))
	other := w.newApp(t, nil)
	other.push("main@sha1:1", files("one"))
	other.rendered("another object meanwhile")
	if n := len(a.history()) - before; n != 0 {
		t.Errorf("%d events while suspended", n)
	}
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = false })
	a.rendered("resumed")
}

func deleted(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	a.rendered("first revision")
	before := len(a.history())
	a.must(a.Delete(t.Context(), a.get()))
	a.until("renders are gone", func() error {
		if r := a.renders(); len(r) > 0 {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
	if len(a.history()) != before {
		t.Error("the log of a deleted object changed")
	}
}

func recreated(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	first := a.rendered("first object")
	a.must(a.Delete(t.Context(), a.get()))
	a.create(nil)
	d := await(a, "second object", func(d events.BuildRendered) bool { return d.UID != first.UID })
	if a.value(d, "k") != "one" {
		t.Errorf("got %v", a.value(d, "k"))
	}
}

func onlyNewestStay(t *testing.T, w *world) {
	defer w.start(func(c *builder.Config) { c.SweepEvery = 100 * time.Millisecond })()
	a := w.newApp(t, nil)
	var all []string
	for i := range 6 {
		a.push(fmt.Sprintf("main@sha1:%d", i), files(fmt.Sprint("value", i)))
		all = append(all, a.rendered("revision").Render)
	}
	if got := a.renders(); len(got) != len(all) {
		t.Errorf("young renders are gone, %d are left", len(got))
	}
	for i, name := range all {
		a.age(name, time.Duration(10-i)*time.Hour)
	}
	a.until("old renders are gone", func() error {
		if got := a.renders(); len(got) != 3 || !slices.Contains(got, all[5]) || !slices.Contains(got, all[4]) || !slices.Contains(got, all[3]) {
			return fmt.Errorf("have %v", got)
		}
		return nil
	})
}

func failureSaidOnce(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.Path = "later"
		ks.Spec.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "vars"}}}
		ks.Spec.RetryInterval = &metav1.Duration{Duration: time.Second}
	})
	a.push("main@sha1:1", map[string]string{"later/a.yaml": configMap("a", "${v}")})
	a.failed("no variables", "substitute from 'ConfigMap/vars' error")
	// nothing tells of this ConfigMap: only the retry finds it
	a.must(a.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "vars"}, Data: map[string]string{"v": "x"}}))
	a.rendered("found by the retry")
	failures := 0
	for _, e := range a.history() {
		if e.Type() == events.TypeBuildFailed && strings.Contains(string(e.Data()), `"revision":"main@sha1:1"`) {
			failures++
		}
	}
	if failures != 1 {
		t.Errorf("the failure was said %d times", failures)
	}
}

func othersGoOn(t *testing.T, w *world) {
	bad := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.Timeout = &metav1.Duration{Duration: 30 * time.Second} })
	loop := "resources: [../b]\n"
	bad.push("main@sha1:1", map[string]string{"app/kustomization.yaml": loop, "b/kustomization.yaml": "resources: [../app]\n"})
	good := w.newApp(t, nil)
	good.push("main@sha1:1", files("one"))
	good.rendered("an object beside a loop")
	bad.failed("a loop", "the kustomizations form a loop")
	bad.push("main@sha1:2", map[string]string{"app/kustomization.yaml": "resources: ['https://user:hunter2@example.com/x.git']\n"})
	if f := bad.failed("a remote base", "remote bases and files are not allowed in a build"); strings.Contains(f.Message, "hunter2") {
		t.Errorf("a password in %s", f.Message)
	}
	bad.push("main@sha1:3", map[string]string{"app/kustomization.yaml": "resources: [../../../etc/passwd]\n"})
	bad.failed("a path that leaves the artifact", `app/kustomization.yaml: resources: path "../../../etc/passwd" leaves the artifact`)
}

func hooked(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	d := a.rendered("first revision")
	a.must(a.blobs.Delete(t.Context(), d.Render))
	receiver := events.NewKey("Receiver", a.namespace, "hook")
	log, err := a.bus.Open(t.Context(), events.HookSubject(a.namespace, "hook"))
	a.must(err)
	e, err := events.New("webhook", receiver, events.HookReceived{Receiver: receiver, Resources: []events.Key{a.key()}}, time.Now())
	a.must(err)
	a.must(log.Append(t.Context(), e))
	a.unchanged("a hook found the render missing")
}

func bomb(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	content := map[string]string{"../evil": "x"}
	a.push("main@sha1:1", content)
	if f := a.failed("an archive that leaves its folder", `"../evil" leaves it`); f.Reason != "ArtifactFailed" {
		t.Errorf("reason is %s", f.Reason)
	}
}

func backToRender(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	first := a.rendered("first revision")
	broken := maps.Clone(files("one"))
	broken["app/a.yaml"] = ":"
	a.push("main@sha1:2", broken)
	a.failed("broken", "a.yaml")
	a.push("main@sha1:3", files("one"))
	if u := a.unchanged("repaired"); u.RenderID != first.RenderID {
		t.Errorf("render %s became %s", first.RenderID, u.RenderID)
	}
}

func crossNamespace(t *testing.T, w *world) {
	defer w.start(func(c *builder.Config) { c.NoCrossNamespaceRefs = true })()
	owner := w.newApp(t, nil)
	owner.push("main@sha1:1", files("one"))
	owner.rendered("the source's own namespace")
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.SourceRef.Namespace = owner.namespace })
	want := fmt.Sprintf("can't access 'GitRepository/%s/repo', cross-namespace references have been blocked", owner.namespace)
	if f := a.failed("another namespace", want); f.Reason != "AccessDenied" || !f.Stalled {
		t.Errorf("got %+v", f)
	}
}

func externalGateOff(t *testing.T, w *world) {
	defer w.start(nil)()
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.SourceRef.Kind = "ExternalArtifact" })
	want := fmt.Sprintf("can't access 'ExternalArtifact/%s/repo', ExternalArtifact feature gate is disabled", a.namespace)
	if f := a.failed("no operator allowed it", want); f.Reason != "AccessDenied" || !f.Stalled {
		t.Errorf("got %+v", f)
	}
}

func wiped(t *testing.T, w *world) {
	var apps []*app
	for range 5 {
		a := w.newApp(t, nil)
		a.push("main@sha1:1", files("one"))
		a.rendered("first revision")
		apps = append(apps, a)
	}
	renders, err := w.blobs.List(t.Context(), "renders/")
	apps[0].must(err)
	for _, r := range renders {
		apps[0].must(w.blobs.Delete(t.Context(), r.Name))
	}
	js, err := jetStream(w)
	apps[0].must(err)
	for _, stream := range []string{"EVENTS", "BUILD", "LEASES"} {
		apps[0].must(js.DeleteStream(t.Context(), stream))
	}
	for _, a := range apps {
		if d := a.rendered("after the wipe"); a.value(d, "k") != "one" {
			t.Errorf("got %v", a.value(d, "k"))
		}
	}
}

func swept(t *testing.T, w *world) {
	defer w.start(func(c *builder.Config) { c.SweepEvery = 100 * time.Millisecond })()
	a := w.newApp(t, nil)
	a.push("main@sha1:1", files("one"))
	d := a.rendered("first revision")
	orphan := "renders/local/kustomization/ghost/app/1234"
	a.must(a.blobs.Put(t.Context(), orphan, []byte("x"), blob.Digest([]byte("x"))))
	young := "renders/local/kustomization/ghost/app/5678"
	a.must(a.blobs.Put(t.Context(), young, []byte("x"), blob.Digest([]byte("x"))))
	a.age(orphan, 2*time.Hour)
	a.age(d.Render, 2*time.Hour)
	a.until("the orphan is gone", func() error {
		if _, err := a.blobs.Stat(t.Context(), orphan); !errors.Is(err, blob.ErrNotFound) {
			return fmt.Errorf("the orphan is there: %w", err)
		}
		return nil
	})
	for _, name := range []string{young, d.Render} {
		if _, err := a.blobs.Stat(t.Context(), name); err != nil {
			t.Errorf("%s was removed: %v", name, err)
		}
	}
	a.must(a.blobs.Delete(t.Context(), d.Render))
	a.unchanged("the lost render is back")
}

func waitsForKeys(t *testing.T, w *world) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "sluice-system"}}
	a := w.newApp(t, nil)
	a.must(client.IgnoreAlreadyExists(w.Create(t.Context(), namespace)))
	ready := newReadiness()
	defer w.start(func(c *builder.Config) { c.Keys, c.Ready = nil, ready })()
	a.push("main@sha1:1", files("one"))
	a.until("readiness says what is missing", func() error {
		err := ready.Check(t.Context())
		if err == nil || !strings.Contains(err.Error(), "sluice-system/sluice-keys") {
			return fmt.Errorf("readiness is %w", errors.Join(err, errors.New("not about the keys")))
		}
		return nil
	})
	ring, data := newKeys(t)
	before := w.keys
	w.keys, a.keys = ring, ring
	defer func() { w.keys = before }()
	a.must(w.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: "sluice-keys"}, Data: data}))
	d := a.rendered("with keys")
	if diff := cmp.Diff("one", a.value(d, "k")); diff != "" {
		t.Error(diff)
	}
	a.must(ready.Check(t.Context()))

	// A new key is used as soon as it is there, without a look at the Secret for a build.
	from := time.Now()
	rotated, err := seal.RotateKeyringData(data)
	a.must(err)
	a.must(w.Update(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: "sluice-keys"}, Data: rotated}))
	for entry := range data {
		if strings.HasPrefix(entry, "key.") {
			delete(rotated, entry)
		}
	}
	newest, err := seal.ParseKeyring(rotated)
	a.must(err)
	a.until("a build with the new key", func() error {
		a.push(fmt.Sprint("main@sha1:", time.Now().UnixNano()), files(fmt.Sprint("two", time.Now().UnixNano())))
		d = a.rendered("after the rotation")
		_, err := newest.VerifyHead(d.Head, seal.Identity{Cluster: cluster, Kind: "Kustomization", Namespace: a.namespace, Name: a.name, UID: string(a.get().UID)})
		return err
	})
	requests, err := w.plane.Requests(from, time.Now())
	a.must(err)
	for _, r := range requests {
		if r.Resource == "secrets" && r.Name == "sluice-keys" && r.Verb != "update" {
			t.Errorf("a build asked the API server: %+v", r)
		}
	}
}

// twoReplicas runs two builders with leader election beside each other.
func twoReplicas(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.must(client.IgnoreAlreadyExists(w.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "sluice-system"}})))
	ring, data := newKeys(t)
	before := w.keys
	w.keys, a.keys = ring, ring
	defer func() { w.keys = before }()
	a.must(client.IgnoreNotFound(w.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: "sluice-keys"}})))
	a.must(w.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: "sluice-keys"}, Data: data}))
	ready := []*serve.Readiness{newReadiness(), newReadiness()}
	replica := func(n int) func(*builder.Config) {
		return func(c *builder.Config) { c.Single, c.Keys, c.Ready = false, nil, ready[n] }
	}
	stop := w.start(replica(0))
	defer w.start(replica(1))()
	a.until("each replica is ready, the one too that does not lead", func() error {
		return errors.Join(ready[0].Check(t.Context()), ready[1].Check(t.Context()))
	})
	for i := range 10 {
		a.push(fmt.Sprintf("main@sha1:%d", i), files(fmt.Sprint("value", i)))
		if d := a.rendered("revision"); a.value(d, "k") != fmt.Sprint("value", i) {
			t.Errorf("revision %d gave %v", i, a.value(d, "k"))
		}
		if i == 5 {
			stop()
		}
	}
}
