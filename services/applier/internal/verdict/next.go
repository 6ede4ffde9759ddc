package verdict

import (
	"fmt"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"

	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

// Kind is what has to be done.
type Kind string

// What can have to be done.
const (
	Nothing   Kind = "nothing"
	Install   Kind = "install"
	Upgrade   Kind = "upgrade"
	Test      Kind = "test"
	Unlock    Kind = "unlock"
	Rollback  Kind = "rollback"
	Uninstall Kind = "uninstall"
	// Wait waits for Next.After, Stop until somebody changes something.
	Wait Kind = "wait"
	Stop Kind = "stop"
)

// The reasons of a release that is not tried again.
const (
	ReasonRetriesExceeded = "RetriesExceeded"
	ReasonMissingTarget   = "MissingRollbackTarget"
)

// Next is what has to be done next.
type Next struct {
	Kind Kind
	// Reason and Message say why it stops, or why it acts.
	Reason, Message string
	// After is how long to wait.
	After time.Duration
	// To is the revision that a rollback goes back to. Where it is an outline, nobody knows yet whether it is the one that
	// the status remembers: with it read as a whole, For is to be asked again.
	To *helmstore.Record
	// Forget says that the history is not of this release.
	Forget bool
}

// For returns what a state asks for. force says that somebody asked for an upgrade once.
func For(hr *helmv2.HelmRelease, state State, why string, all []*helmstore.Record, force bool, now time.Time) (Next, error) {
	switch state {
	case Absent:
		return absent(hr, why, force), nil
	case Locked:
		return Next{Kind: Unlock, Message: why}, nil
	case Unmanaged:
		return Next{Kind: Upgrade, Message: why, Forget: true}, nil
	case OutOfSync:
		remediation := hr.GetUpgrade().GetRemediation()
		if !force && hr.GetUpgrade().GetRetry(false) == nil && hr.Status.UpgradeFailures > 0 && remediation.RetriesExhausted(hr) {
			return exceeded("upgrade", hr.Status.UpgradeFailures), nil
		}
		return Next{Kind: Upgrade, Message: why}, nil
	case Untested:
		return Next{Kind: Test, Message: why}, nil
	case Failed:
		return failed(hr, why, all, force, now)
	case InSync:
		if force {
			return Next{Kind: Upgrade, Message: "forced upgrade"}, nil
		}
		return Next{Kind: Nothing}, nil
	}
	return Next{}, fmt.Errorf("release state %q is not known", state)
}

func absent(hr *helmv2.HelmRelease, why string, force bool) Next {
	remediation := hr.GetInstall().GetRemediation()
	if !force && hr.GetInstall().GetRetry(false) == nil && remediation.RetriesExhausted(hr) && hr.Status.InstallFailures > 0 {
		return exceeded("install", hr.Status.InstallFailures)
	}
	return Next{Kind: Install, Message: why}
}

func exceeded(action string, failures int64) Next {
	return Next{Kind: Stop, Reason: ReasonRetriesExceeded, Message: fmt.Sprintf("Failed to %s after %d attempt(s)", action, failures)}
}

// failed decides about a release that failed: again, back to the last good revision, away
// with it, or no more.
func failed(hr *helmv2.HelmRelease, why string, all []*helmstore.Record, force bool, now time.Time) (Next, error) {
	remediation, retry := hr.GetActiveRemediation(), hr.GetActiveRetry(false)
	switch {
	case force, remediation == nil, hr.Status.Failures == 0 && remediation.GetFailureCount(hr) == 0:
		return Next{Kind: Upgrade, Message: why}, nil
	case retry != nil:
		if due := lastTried(all).Add(retry.GetRetryInterval()); now.Before(due) {
			return Next{Kind: Wait, After: due.Sub(now), Message: why}, nil
		}
		return Next{Kind: Upgrade, Message: why}, nil
	case remediation.GetFailureCount(hr) == 0: // nothing that changed the storage failed
		return Next{Kind: Upgrade, Message: why}, nil
	}
	exhausted := remediation.RetriesExhausted(hr)
	if exhausted && !remediation.MustRemediateLastFailure() {
		return exceeded(string(hr.Status.LastAttemptedReleaseAction), remediation.GetFailureCount(hr)), nil
	}
	if remediation.GetStrategy() == helmv2.UninstallRemediationStrategy {
		return Next{Kind: Uninstall, Message: why}, nil
	}
	next, err := rollback(hr, remediation, why, all)
	if err == nil && next.Kind == Upgrade && exhausted && remediation.GetFailureCount(hr) > int64(remediation.GetRetries())+1 { // that was tried, too
		return exceeded(string(hr.Status.LastAttemptedReleaseAction), remediation.GetFailureCount(hr)), nil
	}
	return next, err
}

func rollback(hr *helmv2.HelmRelease, remediation helmv2.Remediation, why string, all []*helmstore.Record) (Next, error) {
	previous := hr.Status.History.Previous(remediation.MustIgnoreTestFailures(hr.GetTest().IgnoreFailures))
	if previous == nil {
		return Next{Kind: Stop, Reason: ReasonMissingTarget, Message: "Failed to perform remediation: missing target release for rollback: cannot remediate failed release"}, nil
	}
	for _, r := range all {
		if r.Outline && r.Name == previous.Name && r.Version == previous.Version {
			return Next{Kind: Rollback, To: r, Message: why}, nil
		}
		if r.Outline || !previous.Targets(r.Name, r.Namespace, r.Version) {
			continue
		}
		sum, err := Digest(r)
		if err != nil {
			return Next{}, err
		}
		if sum == previous.Digest {
			return Next{Kind: Rollback, To: r, Message: why}, nil
		}
	}
	return Next{Kind: Upgrade, Message: "the release to roll back to was changed or deleted by somebody else"}, nil
}

func lastTried(all []*helmstore.Record) time.Time {
	return all[len(all)-1].Info.LastDeployed.Time
}

// Revision returns the revision that comes after the stored ones.
func Revision(all []*helmstore.Record) int {
	if len(all) == 0 {
		return 1
	}
	return all[len(all)-1].Version + 1
}
