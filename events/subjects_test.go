package events_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-gitops/sluice/events"
)

func TestSubjects(t *testing.T) {
	key := events.NewKey("GitRepository", "team.a", "fleet.main.v2")
	lane := map[int]string{0: "0", 1: "1", 2: "2", 3: "3", 4: "4", 5: "5", 6: "6", 7: "7"}[key.Lane()]
	got := map[string]string{
		"source": events.SourceSubject(key), "build": events.BuildSubject("eu.west", key), "apply": events.ApplySubject("eu.west", key),
		"hook": events.HookSubject("team.a", "git.hub"), "check": events.CheckSubject(events.StageFetch, key),
		"timer": events.TimerSubject(events.StageFetch, key), "retry": events.RetrySubject(events.StageFetch, key),
		"lease": events.LeaseSubject(events.StageFetch, key), "dead": events.DeadSubject(events.StageFetch, key),
		"filter": events.CheckFilter(events.StageFetch, key.Lane()), "marker": events.MarkerSubject(events.StageFetch),
		"fan-out": events.DeadFanOutSubject("builder"), "loss": events.LossSubject(events.StageFetch, key),
	}
	want := map[string]string{
		"source": "sluice.source.gitrepository.team_a.fleet_main_v2",
		"build":  "sluice.build.eu_west.gitrepository.team_a.fleet_main_v2",
		"apply":  "sluice.apply.eu_west.gitrepository.team_a.fleet_main_v2",
		"hook":   "sluice.hook.team_a.git_hub",
		"check":  "sluice.check.fetch." + lane + ".gitrepository.team_a.fleet_main_v2",
		"timer":  "sluice.timer.fetch." + lane + ".gitrepository.team_a.fleet_main_v2",
		"retry":  "sluice.timer.fetch." + lane + ".gitrepository.team_a.fleet_main_v2.retry",
		"lease":  "sluice.lease.fetch.gitrepository.team_a.fleet_main_v2",
		"loss":   "sluice.lease.fetch.gitrepository.team_a.fleet_main_v2.lost",
		"dead":   "sluice.dead.fetch.gitrepository.team_a.fleet_main_v2",
		"filter": "sluice.check.fetch." + lane + ".>", "marker": "sluice.timer.fetch.marker", "fan-out": "sluice.dead.fanout.builder",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"source", "build", "apply"} {
		if back, err := events.ParseSubject(got[name]); err != nil || back != key {
			t.Errorf("%s: got %v, %v", name, back, err)
		}
	}
	if back, err := events.ParseSubject(got["hook"]); err != nil || back != events.NewKey("Receiver", "team.a", "git.hub") {
		t.Errorf("hook: got %v, %v", back, err)
	}
	if namespace := events.AskNamespace(events.AskSubject("eu.west", key)); namespace != "team.a" {
		t.Errorf("a question is of namespace %q", namespace)
	}
	stage, back, err := events.ParseCheckSubject(got["check"])
	if err != nil || stage != events.StageFetch || back != key {
		t.Errorf("check: got %s %v, %v", stage, back, err)
	}
}

func TestForeignSubjects(t *testing.T) {
	for _, subject := range []string{
		"", "sluice", "sluice.source.a.b", "sluice.source.a.b.c.d", "sluice.build.hub.a.b", "sluice.hook.a", "other.source.a.b.c", "sluice.lease.fetch.a.b.c",
	} {
		if key, err := events.ParseSubject(subject); err == nil {
			t.Errorf("%q is %v, want an error", subject, key)
		}
		if _, key, err := events.ParseCheckSubject(subject); err == nil {
			t.Errorf("%q is a check of %v, want an error", subject, key)
		}
		if namespace := events.AskNamespace(subject); namespace != "" {
			t.Errorf("%q is a question of namespace %q, want none", subject, namespace)
		}
	}
}

func TestLanes(t *testing.T) {
	used := map[int]bool{}
	for _, namespace := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "apps", "infra", "flux-system"} {
		one, other := events.NewKey("GitRepository", namespace, "x").Lane(), events.NewKey("Kustomization", namespace, "y").Lane()
		if one != other || one < 0 || one >= events.Lanes {
			t.Errorf("namespace %s is in lanes %d and %d", namespace, one, other)
		}
		used[one] = true
	}
	if len(used) < events.Lanes/2 {
		t.Errorf("19 namespaces share %d lanes", len(used))
	}
}

// Whatever a name is, it is one token of a subject that stands for nothing else, and comes back as it was.
func TestSubjectsOfAnyName(t *testing.T) {
	subjects := map[string]string{}
	for _, name := range []string{"*", ">", "a b", "a\tb", "a\nb", "a\x00b", "a_b", "a.b", "a%5Fb", "a%b", "a%2", "%", "\u00e9", "\x7f"} {
		key := events.Key{Kind: "gitrepository", Namespace: name, Name: name}
		for what, subject := range map[string]string{
			"source": events.SourceSubject(key), "kind": events.SourceSubject(events.Key{Kind: name, Namespace: "a", Name: "b"}),
			"build": events.BuildSubject(name, key), "hook": events.HookSubject(name, name), "check": events.CheckSubject(events.StageFetch, key),
		} {
			if strings.ContainsAny(subject, "*> \t\r\n\x00\x7f") {
				t.Errorf("%s of %q is %q", what, name, subject)
			}
			if other, twice := subjects[subject]; twice {
				t.Errorf("%s of %q is that of %q", what, name, other)
			}
			subjects[subject] = name
		}
		if back, err := events.ParseSubject(events.SourceSubject(key)); err != nil || back != key {
			t.Errorf("%q comes back as %v, %v", name, back, err)
		}
		if _, back, err := events.ParseCheckSubject(events.CheckSubject(events.StageFetch, key)); err != nil || back != key {
			t.Errorf("%q comes back as %v, %v", name, back, err)
		}
	}
}
