package handle

import (
	"errors"
	"fmt"
	"testing"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
	"github.com/sluice-gitops/sluice/services/builder/internal/served"
)

func TestOlder(t *testing.T) {
	tests := []struct {
		reason, have, seen string
		want               bool
	}{
		{"the same", "12", "12", false},
		{"nobody noted a version", "12", "", false},
		{"the watch is ahead", "100", "99", false},
		{"the watch is behind", "99", "100", true},
		{"numbers, not words, are compared", "9", "10", true},
		{"what is no number is looked up", "a", "10", true},
	}
	for _, tt := range tests {
		if got := older(tt.have, tt.seen); got != tt.want {
			t.Errorf("%s: got %v", tt.reason, got)
		}
	}
}

func TestJitterStaysInItsShareAndIsStable(t *testing.T) {
	for _, uid := range []string{"a", "b", "c", "d"} {
		got := jitter(100*time.Second, 5, uid)
		if got < 95*time.Second || got > 105*time.Second || got != jitter(100*time.Second, 5, uid) {
			t.Errorf("%s: %v", uid, got)
		}
		if jitter(time.Minute, 0, uid) != time.Minute {
			t.Errorf("%s: no jitter was asked for", uid)
		}
	}
}

// TestSkippedCRDs leaves a chart's definitions out of the render of an action that makes none.
func TestSkippedCRDs(t *testing.T) {
	for _, tt := range []struct {
		reason         string
		install        helmv2.Install
		upgrade        helmv2.Upgrade
		atFirst, later bool
	}{
		{"they are made", helmv2.Install{}, helmv2.Upgrade{}, false, false},
		{"each action has a policy of its own", helmv2.Install{CRDs: "Skip"}, helmv2.Upgrade{CRDs: helmv2.CreateReplace}, true, false},
		{"an upgrade skips them", helmv2.Install{}, helmv2.Upgrade{CRDs: "Skip"}, false, true},
		{"the deprecated switch is the install's", helmv2.Install{SkipCRDs: true}, helmv2.Upgrade{}, true, false},
		{"the policy wins over the deprecated switch", helmv2.Install{SkipCRDs: true, CRDs: helmv2.Create}, helmv2.Upgrade{}, false, false},
	} {
		j := &releaseJob{job: &job{}, hr: &helmv2.HelmRelease{Spec: helmv2.HelmReleaseSpec{Install: &tt.install, Upgrade: &tt.upgrade}}}
		for action, want := range map[string]bool{render.Install: tt.atFirst, render.Upgrade: tt.later} {
			if got := j.request(helm.Cluster{}, events.RenderWanted{Action: action}).SkipCRDs; got != want {
				t.Errorf("%s: %s skips them %t, want %t", tt.reason, action, got, want)
			}
		}
	}
}

// TestExplain fails a build by name for what does not go away by itself, wherever it came from.
func TestExplain(t *testing.T) {
	hr := &helmv2.HelmRelease{Spec: helmv2.HelmReleaseSpec{ChartRef: &helmv2.CrossNamespaceSourceReference{Kind: "OCIRepository", Name: "app", Namespace: "ns"}}}
	wrong := errors.New("connection lost")
	for _, tt := range []struct {
		why          string
		err          error
		reason, text string
	}{
		{"a chart that is too much", fmt.Errorf("ask: %w", &served.LimitError{}), helmv2.UpgradeFailedReason, "the chart of OCIRepository ns/app cannot be rendered: "},
		{"a storage that may not be read", fmt.Errorf("ask: %w", &served.RefusedError{}), reasonClient, ""},
		{"what may go away", wrong, "", ""},
	} {
		err := (&releaseJob{job: &job{}, hr: hr}).explain(tt.err, events.RenderWanted{Action: render.Upgrade, Revision: 2})
		var f *failure
		if !errors.As(err, &f) {
			if tt.reason != "" || !errors.Is(err, wrong) {
				t.Errorf("%s: error %v, want the failure %s", tt.why, err, tt.reason)
			}
			continue
		}
		if f.reason != tt.reason || f.message != tt.text {
			t.Errorf("%s: it fails with %s: %s, want %s: %s", tt.why, f.reason, f.message, tt.reason, tt.text)
		}
	}
}
