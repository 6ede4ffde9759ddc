package helmrelease

import (
	"context"
	"fmt"
	"strings"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/serve"
)

// Component is the source of the Kubernetes Events, the one that Flux users filter by.
const Component = "helm-controller"

// Keys of the metadata on Kubernetes Events, as Flux's tools read them.
const (
	keyRevision   = "helm.toolkit.fluxcd.io/revision"
	keyAppVersion = "helm.toolkit.fluxcd.io/app-version"
	keyOCIDigest  = "helm.toolkit.fluxcd.io/oci-digest"
	keyToken      = "helm.toolkit.fluxcd.io/token" //nolint:gosec // the name of an annotation
	eventPrefix   = "event.toolkit.fluxcd.io/"
)

// fullName is namespace/name.vN of a revision.
func fullName(r *record) string { return fmt.Sprintf("%s/%s.v%d", r.Namespace, r.Name, r.Version) }

// chartName is name@version of a revision's chart.
func chartName(r *record) string {
	return r.Chart.Metadata.Name + "@" + r.Chart.Metadata.Version
}

func textSucceeded(action string, r *record) string {
	return fmt.Sprintf("Helm %s succeeded for release %s with chart %s", action, fullName(r), chartName(r))
}

func textFailed(action string, hr *helmv2.HelmRelease, r *record, why error) string {
	return fmt.Sprintf("Helm %s failed for release %s/%s with chart %s: %s", action, hr.GetReleaseNamespace(), kube.ReleaseName(hr), chartName(r), why)
}

func textAwaiting(r *record) string {
	return fmt.Sprintf("Helm release %s with chart %s is awaiting tests", fullName(r), chartName(r))
}

func textTested(r *record, hooks int) string {
	what := "no test hooks"
	if hooks == 1 {
		what = "1 test hook completed successfully"
	}
	if hooks > 1 {
		what = fmt.Sprintf("%d test hooks completed successfully", hooks)
	}
	return fmt.Sprintf("Helm test succeeded for release %s with chart %s: %s", fullName(r), chartName(r), what)
}

func textTestFailed(r *record, why error) string {
	return fmt.Sprintf("Helm test failed for release %s with chart %s: %s", fullName(r), chartName(r), why)
}

func textRolledBack(r *record) string {
	return fmt.Sprintf("Helm rollback to previous release %s with chart %s succeeded", backTo(r), chartName(r))
}

func textRollbackFailed(r *record, why error) string {
	return fmt.Sprintf("Helm rollback to previous release %s with chart %s failed: %s", backTo(r), chartName(r), why)
}

// backTo is the revision that a rollback goes back to.
func backTo(r *record) string { return fmt.Sprintf("%s/%s.v%d", r.Namespace, r.Name, r.Run.To) }

func textRemedied(r *record) string {
	return fmt.Sprintf("Helm uninstall remediation for release %s with chart %s succeeded", fullName(r), chartName(r))
}

func textRemedyFailed(r *record, why error) string {
	return fmt.Sprintf("Helm uninstall remediation for release %s with chart %s failed: %s", fullName(r), chartName(r), why)
}

func textUninstalled(r *record) string {
	return fmt.Sprintf("Helm uninstall succeeded for release %s with chart %s", fullName(r), chartName(r))
}

func textUninstallFailed(r *record, why error) string {
	return fmt.Sprintf("Helm uninstall failed for release %s with chart %s: %s", fullName(r), chartName(r), why)
}

// note is one Kubernetes Event, of a revision or of the newest attempt.
type note struct {
	reason, message string
	warning         bool
	of              *record
	// lines say what an action that failed did last.
	lines []string
}

// tell writes a Kubernetes Event, unless the check has told the same before.
func (p *pass) tell(n note) {
	if p.news(n.reason, n.message) {
		p.event(n)
	}
}

// news says whether something is said for the first time in a check.
func (p *pass) news(parts ...string) bool {
	key := strings.Join(parts, "\n")
	if p.told[key] {
		return false
	}
	p.told[key] = true
	return true
}

func (p *pass) event(n note) {
	s := p.hr.Status
	metadata := map[string]string{}
	for k, v := range p.hr.Annotations {
		if strings.HasPrefix(k, eventPrefix) {
			metadata[k] = v
		}
	}
	for k, v := range map[string]string{keyRevision: s.LastAttemptedRevision, keyOCIDigest: s.LastAttemptedRevisionDigest, keyToken: s.LastAttemptedConfigDigest} {
		if v != "" {
			metadata[k] = v
		}
	}
	if n.of != nil && n.of.Chart.Metadata.AppVersion != "" {
		metadata[keyAppVersion] = n.of.Chart.Metadata.AppVersion
	}
	kind := corev1.EventTypeNormal
	if n.warning {
		kind = corev1.EventTypeWarning
		p.log.Error("helm release", "reason", n.reason, "err", serve.Redact(n.message))
	} else {
		p.log.Info("helm release", "reason", n.reason, "message", n.message)
	}
	message := n.message
	if len(n.lines) > 0 {
		message += "\n\nLast Helm logs:\n\n" + strings.Join(n.lines, "\n")
	}
	p.Recorder.AnnotatedEventf(p.hr, metadata, kind, n.reason, "%s", message)
}

// maxJournaled bounds what the journal says of a failure, in bytes.
const maxJournaled = 16 << 10

// journalFailure appends a failure to the object's log, unless the check has done so before.
func (p *pass) journalFailure(ctx context.Context, reason, message string, stalled bool) error {
	if !p.news("journal", reason, message) {
		return nil
	}
	if message = serve.Redact(message); len(message) > maxJournaled {
		message = strings.ToValidUTF8(message[:maxJournaled], "") + "…"
	}
	journal, err := p.journal(ctx)
	if err != nil {
		return err
	}
	return journal.Write(ctx, events.ApplyFailed{
		Applied: journal.Applied(p.hr.Status.LastAttemptedRevision, ""), Reason: reason, Message: message, Stalled: stalled,
	})
}

func textRunning(action string, timeout time.Duration) string {
	return fmt.Sprintf("Running '%s' action with timeout of %s", action, timeout)
}

// textMeets says what an action under way meets with that may go away by itself; nothing when that is nil.
func textMeets(err error) string {
	if err == nil {
		return ""
	}
	return ": " + serve.Redact(err.Error())
}
