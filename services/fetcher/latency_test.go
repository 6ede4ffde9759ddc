package fetcher_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// noChange proves that a pass on the timer lists the references and does nothing else.
func noChange(t *testing.T, w *world) {
	server := gittest.ServeHTTP(t, w.root, false, nil)
	repo := gittest.NewRepo(t, w.root, "quiet")
	sha := repo.Commit("main", "first", map[string]string{"a": "1"})
	w.create("quiet", sourcev1.GitRepositorySpec{URL: server.URL + "/quiet", Reference: branch("main"), Interval: metav1.Duration{Duration: time.Second}})
	before := w.await("the artifact", "quiet", at("main@sha1:"+sha))
	server.Requests()
	from := time.Now()
	var seen []string
	w.eventually("three passes", func() bool { seen = append(seen, server.Requests()...); return len(seen) >= 3 }, func() any { return seen })
	to := time.Now()
	for _, request := range seen {
		if request != "GET /quiet/info/refs" {
			t.Errorf("a quiet pass sent %s", request)
		}
	}
	after := w.await("the same object", "quiet", ready)
	if after.ResourceVersion != before.ResourceVersion {
		t.Error("a quiet pass wrote the object")
	}
	requests, err := w.cluster.Requests(from.Add(100*time.Millisecond), to)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		if r.Verb != "watch" && r.Resource == "gitrepositories" && r.Name == "quiet" {
			t.Errorf("a quiet pass asked the API server: %+v", r)
		}
	}
	if err := w.client.Delete(t.Context(), after); err != nil {
		t.Fatal(err)
	}
}

// latency measures from the check that a hook leads to until the event is out, beside git's commit
// and push.
func latency(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "fast")
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("apps/%03d/deployment.yaml", i)] = fmt.Sprintf("kind: Deployment\nmetadata:\n  name: app-%d\n", i)
	}
	sha := repo.Commit("main", "first", files)
	published, err := w.bus.Conn().SubscribeSync(events.SourceSubject(key("fast")))
	if err != nil {
		t.Fatal(err)
	}
	w.create("fast", sourcev1.GitRepositorySpec{URL: w.http.URL + "/fast", Reference: branch("main")})
	w.await("the artifact", "fast", at("main@sha1:"+sha))
	if _, err := published.NextMsg(longest); err != nil {
		t.Fatalf("no first event: %v", err)
	}
	var took, pushed []time.Duration
	for i := range 15 {
		began := time.Now()
		sha := repo.Commit("main", "next", map[string]string{"apps/007/deployment.yaml": fmt.Sprint("round ", i)})
		pushed = append(pushed, time.Since(began))
		began = time.Now()
		if err := w.bus.Check(t.Context(), bus.Target{Stage: events.StageFetch, Key: key("fast"), Note: bus.Note{Reason: "hook"}}); err != nil {
			t.Fatal(err)
		}
		msg, err := published.NextMsg(longest)
		if err != nil {
			t.Fatalf("no event: %v", err)
		}
		took = append(took, time.Since(began))
		e, err := events.FromHeaders(msg.Header, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if changed, err := events.Decode[events.SourceChanged](e); err != nil || changed.Revision != "main@sha1:"+sha {
			t.Fatalf("the event is about %+v, %v", changed, err)
		}
	}
	slices.Sort(took)
	slices.Sort(pushed)
	median, push := took[len(took)/2], pushed[len(pushed)/2]
	t.Logf("hook to source.changed, 300 files: median %s, max %s; git's commit and push: median %s", median, took[len(took)-1], push)
	// What git needs tells how busy the machine is.
	if median > max(250*time.Millisecond, 4*push) {
		t.Errorf("median is %s", median)
	}
}
