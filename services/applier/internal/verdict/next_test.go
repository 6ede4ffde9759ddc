package verdict

import (
	"math"
	"strings"
	"testing"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	helmtime "helm.sh/helm/v3/pkg/time"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// revision is a stored release of chart web@version.
func revision(n int, status helmrelease.Status, version string) *helmstore.Record {
	return &helmstore.Record{Release: &helmrelease.Release{
		Name: "app", Namespace: "ns", Version: n, Config: map[string]any{"a": "b"},
		Chart: &chart.Chart{Metadata: &chart.Metadata{Name: "web", Version: version}},
		Info:  &helmrelease.Info{Status: status, LastDeployed: helmtime.Time{Time: now.Add(-time.Minute)}},
	}}
}

// known is a HelmRelease whose status remembers revisions.
func known(t *testing.T, revisions ...*helmstore.Record) *helmv2.HelmRelease {
	t.Helper()
	hr := &helmv2.HelmRelease{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	hr.Status.ObservedGeneration = 1
	hr.Status.LastAttemptedReleaseAction = helmv2.ReleaseActionUpgrade
	for _, r := range revisions {
		s, err := Snapshot(r, helmv2.ReleaseActionUpgrade)
		if err != nil {
			t.Fatal(err)
		}
		hr.Status.History = append(hr.Status.History, s)
	}
	return hr
}

func wanted(t *testing.T, version string) Wanted {
	t.Helper()
	config, err := ConfigDigest(map[string]any{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	return Wanted{ChartName: "web", ChartVersion: version, ConfigDigest: config}
}

// TestState is the reference's table of states.
func TestState(t *testing.T) {
	deployed, byHelm := revision(1, helmrelease.StatusDeployed, "1.0.0"), revision(1, helmrelease.StatusDeployed, "1.0.0")
	byHelm.Hooks = []*helmrelease.Hook{{
		Name: "a", Events: []helmrelease.HookEvent{helmrelease.HookTest},
		LastRun: helmrelease.HookExecution{StartedAt: helmtime.Time{Time: now}, Phase: helmrelease.HookPhaseFailed},
	}}
	for _, tt := range []struct {
		why    string
		all    []*helmstore.Record
		known  []*helmstore.Record
		change func(*helmv2.HelmRelease, *Wanted)
		want   State
	}{
		{"nothing is stored", nil, nil, nil, Absent},
		{"it is uninstalled, its history kept", []*helmstore.Record{revision(1, helmrelease.StatusUninstalled, "1.0.0")}, nil, nil, Absent},
		{"an install that was killed", []*helmstore.Record{revision(1, helmrelease.StatusPendingInstall, "1.0.0")}, nil, nil, Locked},
		{"an upgrade that was killed", []*helmstore.Record{deployed, revision(2, helmrelease.StatusPendingUpgrade, "1.0.0")}, nil, nil, Locked},
		{"a rollback that was killed", []*helmstore.Record{deployed, revision(2, helmrelease.StatusPendingRollback, "1.0.0")}, nil, nil, Locked},
		{"somebody else made it", []*helmstore.Record{deployed}, nil, nil, Unmanaged},
		{"somebody else upgraded it", []*helmstore.Record{deployed, revision(2, helmrelease.StatusDeployed, "1.0.0")}, []*helmstore.Record{deployed}, nil, Unmanaged},
		{"somebody else changed it", []*helmstore.Record{revision(1, helmrelease.StatusDeployed, "1.0.1")}, []*helmstore.Record{deployed}, nil, Unmanaged},
		{"all is as it should be", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, nil, InSync},
		{"another version", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, func(_ *helmv2.HelmRelease, w *Wanted) { w.ChartVersion = "2.0.0" }, OutOfSync},
		{"another chart", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, func(_ *helmv2.HelmRelease, w *Wanted) { w.ChartName = "other" }, OutOfSync},
		{"other values", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, func(_ *helmv2.HelmRelease, w *Wanted) { w.ConfigDigest = "sha256:0" }, OutOfSync},
		{"other post-renderers", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, func(_ *helmv2.HelmRelease, w *Wanted) { w.PostRenderers = "sha256:0" }, OutOfSync},
		{"other metadata", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, func(_ *helmv2.HelmRelease, w *Wanted) { w.CommonMetadata = "sha256:0" }, OutOfSync},
		{
			"the digest of post-renderers alone, of the same generation, is no reason", []*helmstore.Record{deployed}, []*helmstore.Record{deployed},
			func(hr *helmv2.HelmRelease, w *Wanted) { hr.Status.ObservedGeneration, w.PostRenderers = 2, "sha256:0" }, InSync,
		},
		{"tests have not run", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, func(hr *helmv2.HelmRelease, _ *Wanted) { hr.Spec.Test = &helmv2.Test{Enable: true} }, Untested},
		{"helm ran its tests, which failed", []*helmstore.Record{byHelm}, []*helmstore.Record{byHelm}, func(hr *helmv2.HelmRelease, _ *Wanted) { hr.Spec.Test = &helmv2.Test{Enable: true} }, Untested},
		{"there are no tests", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, tested(nil), InSync},
		{"a test failed", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, tested(map[string]*helmv2.TestHookStatus{"a": {Phase: "Failed"}}), Failed},
		{"a test succeeded", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, tested(map[string]*helmv2.TestHookStatus{"a": {Phase: "Succeeded"}}), InSync},
		{
			"a test failed and does not matter", []*helmstore.Record{deployed}, []*helmstore.Record{deployed}, func(hr *helmv2.HelmRelease, w *Wanted) {
				tested(map[string]*helmv2.TestHookStatus{"a": {Phase: "Failed"}})(hr, w)
				hr.Spec.Test.IgnoreFailures = true
			}, InSync,
		},
		{"it failed", []*helmstore.Record{revision(1, helmrelease.StatusFailed, "1.0.0")}, []*helmstore.Record{revision(1, helmrelease.StatusFailed, "1.0.0")}, nil, Failed},
	} {
		hr, w := known(t, tt.known...), wanted(t, "1.0.0")
		if tt.change != nil {
			tt.change(hr, &w)
		}
		got, why, err := Of(hr, tt.all, w)
		if err != nil || got != tt.want {
			t.Errorf("%s: %s (%s), error %v, want %s", tt.why, got, why, err, tt.want)
		}
	}
}

func tested(hooks map[string]*helmv2.TestHookStatus) func(*helmv2.HelmRelease, *Wanted) {
	return func(hr *helmv2.HelmRelease, _ *Wanted) {
		hr.Spec.Test = &helmv2.Test{Enable: true}
		if hooks == nil {
			hooks = map[string]*helmv2.TestHookStatus{}
		}
		hr.Status.History.Latest().SetTestHooks(hooks)
	}
}

// TestNext is the reference's table of what each state asks for.
func TestNext(t *testing.T) {
	good, bad := revision(1, helmrelease.StatusSuperseded, "1.0.0"), revision(2, helmrelease.StatusFailed, "1.0.0")
	both := []*helmstore.Record{good, bad}
	retries := func(n int) func(*helmv2.HelmRelease) {
		return func(hr *helmv2.HelmRelease) {
			hr.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{Retries: n}}
			hr.Status.Failures, hr.Status.UpgradeFailures = 1, 1
		}
	}
	for _, tt := range []struct {
		why    string
		state  State
		all    []*helmstore.Record
		change func(*helmv2.HelmRelease)
		force  bool
		want   Kind
		says   string
	}{
		{"nothing there", Absent, nil, nil, false, Install, ""},
		{
			"the installs are used up", Absent, nil, func(hr *helmv2.HelmRelease) { hr.Status.InstallFailures = 1 }, false,
			Stop, "Failed to install after 1 attempt(s)",
		},
		{"somebody asks for one all the same", Absent, nil, func(hr *helmv2.HelmRelease) { hr.Status.InstallFailures = 1 }, true, Install, ""},
		{"installs never end when they are retried", Absent, nil, func(hr *helmv2.HelmRelease) {
			hr.Status.InstallFailures = 9
			hr.Spec.Install = &helmv2.Install{Strategy: &helmv2.InstallStrategy{Name: string(helmv2.ActionStrategyRetryOnFailure)}}
		}, false, Install, ""},
		{"pending", Locked, both, nil, false, Unlock, ""},
		{"of somebody else", Unmanaged, both, nil, false, Upgrade, ""},
		{"not as wanted", OutOfSync, both, nil, false, Upgrade, ""},
		{"not as wanted, after a rollback with no retries left", OutOfSync, both, retries(0), false, Stop, "Failed to upgrade after 1 attempt(s)"},
		{"not as wanted, after a rollback with retries left", OutOfSync, both, retries(1), false, Upgrade, ""},
		{"in sync", InSync, both, nil, false, Nothing, ""},
		{"in sync, and somebody asks", InSync, both, nil, true, Upgrade, ""},
		{"untested", Untested, both, nil, false, Test, ""},
		{"failed, but nothing of these inputs has", Failed, both, nil, false, Upgrade, ""},
		{"failed, no retries and no remediation", Failed, both, retries(0), false, Stop, "Failed to upgrade after 1 attempt(s)"},
		{"failed, with retries", Failed, both, retries(1), false, Rollback, ""},
		{"failed, retries without end", Failed, both, retries(-1), false, Rollback, ""},
		{"failed, and somebody asks", Failed, both, retries(0), true, Upgrade, ""},
		{"failed, to be uninstalled", Failed, both, func(hr *helmv2.HelmRelease) {
			retries(1)(hr)
			hr.Spec.Upgrade.Remediation.Strategy = ptr.To(helmv2.UninstallRemediationStrategy)
		}, false, Uninstall, ""},
		{"failed, nothing to go back to", Failed, []*helmstore.Record{bad}, func(hr *helmv2.HelmRelease) {
			retries(1)(hr)
			hr.Status.History = hr.Status.History[1:]
		}, false, Stop, "missing target release for rollback"},
		{"failed, what it would go back to is gone", Failed, []*helmstore.Record{bad}, retries(1), false, Upgrade, "changed or deleted by somebody else"},
		{"failed once more, what it would go back to is gone", Failed, []*helmstore.Record{bad}, func(hr *helmv2.HelmRelease) {
			retries(1)(hr)
			hr.Status.UpgradeFailures = 2
		}, false, Upgrade, "changed or deleted by somebody else"},
		{"failed in place of the rollback too", Failed, []*helmstore.Record{bad}, func(hr *helmv2.HelmRelease) {
			retries(1)(hr)
			hr.Status.UpgradeFailures = 3
		}, false, Stop, "Failed to upgrade after 3 attempt(s)"},
		{"failed, the retry is not due", Failed, both, func(hr *helmv2.HelmRelease) {
			retries(0)(hr)
			hr.Spec.Upgrade.Strategy = &helmv2.UpgradeStrategy{Name: string(helmv2.ActionStrategyRetryOnFailure)}
		}, false, Wait, ""},
		{"failed, the retry is due", Failed, both, func(hr *helmv2.HelmRelease) {
			retries(0)(hr)
			hr.Spec.Upgrade.Strategy = &helmv2.UpgradeStrategy{Name: string(helmv2.ActionStrategyRetryOnFailure), RetryInterval: &metav1.Duration{Duration: time.Second}}
		}, false, Upgrade, ""},
		{"a failed install is uninstalled", Failed, both, func(hr *helmv2.HelmRelease) {
			hr.Status.LastAttemptedReleaseAction = helmv2.ReleaseActionInstall
			hr.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{Retries: 1}}
			hr.Status.Failures, hr.Status.InstallFailures = 1, 1
		}, false, Uninstall, ""},
	} {
		hr := known(t, good, bad)
		if tt.change != nil {
			tt.change(hr)
		}
		got, err := For(hr, tt.state, "why", tt.all, tt.force, now)
		if err != nil || got.Kind != tt.want || !strings.Contains(got.Message, tt.says) {
			t.Errorf("%s: %s (%s), error %v, want %s (%s)", tt.why, got.Kind, got.Message, err, tt.want, tt.says)
		}
		reason := map[bool]string{true: "MissingRollbackTarget", false: "RetriesExceeded"}[strings.Contains(tt.says, "missing target")]
		if got.Kind == Stop && got.Reason != reason {
			t.Errorf("%s: the reason is %s, want %s", tt.why, got.Reason, reason)
		}
		if got.Kind == Rollback && got.To.Version != 1 {
			t.Errorf("%s: back to %d", tt.why, got.To.Version)
		}
	}
	hr := known(t, good, bad)
	retries(1)(hr)
	broken := revision(1, helmrelease.StatusSuperseded, "1.0.0")
	broken.Config["a"] = math.NaN()
	if next, err := For(hr, Failed, "", []*helmstore.Record{broken, bad}, false, now); err == nil {
		t.Errorf("a revision that cannot be compared is decided about: %s", next.Kind)
	}
	if _, err := For(known(t), "Odd", "", nil, false, now); err == nil {
		t.Error("a state that is not known is decided")
	}
}

// TestFarBack goes back to the newest revision whose tests did not fail, be it so old that there is an outline of it only:
// what it holds is compared once it is read as a whole.
func TestFarBack(t *testing.T) {
	good, deployed := revision(1, helmrelease.StatusSuperseded, "1.0.0"), revision(12, helmrelease.StatusDeployed, "1.0.0")
	all := []*helmstore.Record{good}
	for n := 2; n <= 11; n++ {
		all = append(all, revision(n, helmrelease.StatusSuperseded, "1.0.0"))
	}
	all = append(all, deployed)
	hr := known(t, all...)
	for _, s := range hr.Status.History[1:] {
		s.SetTestHooks(map[string]*helmv2.TestHookStatus{"a": {Phase: "Failed"}})
	}
	hr.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{Retries: 1}}
	hr.Status.Failures, hr.Status.UpgradeFailures = 1, 1
	for _, tt := range []struct {
		why    string
		target *helmstore.Record
		want   Kind
	}{
		{"as a whole", good, Rollback},
		{"an outline", &helmstore.Record{Outline: true, Release: &helmrelease.Release{
			Name: "app", Version: 1, Info: &helmrelease.Info{Status: helmrelease.StatusSuperseded}, Chart: &chart.Chart{Metadata: &chart.Metadata{}},
		}}, Rollback},
		{"changed by somebody", revision(1, helmrelease.StatusSuperseded, "1.0.1"), Upgrade},
	} {
		all[0] = tt.target
		got, err := For(hr, Failed, "why", all, false, now)
		if err != nil || got.Kind != tt.want || got.Kind == Rollback && got.To != tt.target {
			t.Errorf("%s: %s (%s), error %v, want %s", tt.why, got.Kind, got.Message, err, tt.want)
		}
	}
}

// TestKeep brings the status of an older revision up to date, and takes over nothing else that became of it: a
// rollback believes the history.
func TestKeep(t *testing.T) {
	for _, c := range []struct {
		why    string
		edit   func(*helmstore.Record)
		status helmrelease.Status
		known  bool
	}{
		{"it was superseded", func(*helmstore.Record) {}, helmrelease.StatusSuperseded, true},
		{"somebody changed it meanwhile", func(r *helmstore.Record) { r.Manifest = "planted" }, helmrelease.StatusDeployed, false},
	} {
		old, made := revision(1, helmrelease.StatusDeployed, "1.0.0"), revision(2, helmrelease.StatusDeployed, "2.0.0")
		before := known(t, old).Status.History
		old.Info.Status = helmrelease.StatusSuperseded
		c.edit(old)
		snapshot, err := Snapshot(made, helmv2.ReleaseActionUpgrade)
		if err != nil {
			t.Fatal(err)
		}
		history, err := Keep(before, snapshot, []*helmstore.Record{old, made})
		if err != nil {
			t.Fatal(err)
		}
		knows, err := Knows(history, old)
		if got := history[1]; err != nil || got.Version != 1 || got.Status != c.status.String() || knows != c.known {
			t.Errorf("%s: revision %d is %s, known %t, error %v; want %s, %t", c.why, got.Version, got.Status, knows, err, c.status, c.known)
		}
	}
}
