package helmrelease

import (
	"context"
	"fmt"
	"strings"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// ignored reads the rules of spec.driftDetection.
func ignored(hr *helmv2.HelmRelease) (ignore.Rules, error) {
	var rules []kustomizev1.IgnoreRule
	for _, r := range hr.GetDriftDetection().Ignore {
		rules = append(rules, kustomizev1.IgnoreRule(r))
	}
	return ignore.CompileField("spec.driftDetection.ignore", rules)
}

// drift compares a release that is in sync with the cluster, tells what differs and puts it
// back if that is asked for. What cannot be compared is told and holds up nothing.
func (p *pass) drift(ctx context.Context, made *record) error {
	c, mode := p.conditions(), p.hr.GetDriftDetection()
	if !mode.MustDetectChanges() {
		c.Remove(helmv2.DriftedCondition)
		if _, known := p.place.follows(p.owner()); known {
			p.place.Forget(p.owner())
		}
		return nil
	}
	live, err := p.live()
	if err != nil {
		return err
	}
	runner := &release.Runner{Client: p.client, Store: p.store, Manifests: &p.manifests, Live: live}
	found, err := p.compare(ctx, runner, made)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		message := fmt.Sprintf("Release %s could not be compared with the cluster: %s", fullName(made), err)
		c.Set(helmv2.DriftedCondition, metav1.ConditionUnknown, "DriftDetectionFailed", message)
		p.log.Error("drift detection failed", "error", message)
		return nil
	}
	if len(found) == 0 {
		c.Set(helmv2.DriftedCondition, metav1.ConditionFalse, helmv2.NoDriftDetectedReason, "No drift detected against the cluster state")
		return nil
	}
	message := textDrift(made, found)
	enabled := mode.GetMode() == helmv2.DriftDetectionEnabled
	if was := meta.FindStatusCondition(p.read.Status.Conditions, helmv2.DriftedCondition); !enabled && was != nil && was.Message == kube.Short(message) {
		c.Set(helmv2.DriftedCondition, metav1.ConditionTrue, helmv2.DriftDetectedReason, message)
		return nil // it was told
	}
	c.Set(helmv2.DriftedCondition, metav1.ConditionTrue, helmv2.DriftDetectedReason, message)
	journal, err := p.journal(ctx)
	if err != nil {
		return err
	}
	about := journal.Applied(p.hr.Status.LastAttemptedRevision, "")
	p.tell(note{reason: helmv2.DriftDetectedReason, message: message, warning: !enabled, of: made})
	if err := journal.Write(ctx, events.DriftDetected{Applied: about, Objects: objectsOf(found)}); err != nil {
		return err
	}
	if !enabled {
		return nil
	}
	if err := runner.Correct(ctx, found); err != nil {
		p.tell(note{reason: "DriftCorrectionFailed", warning: true, of: made, message: fmt.Sprintf(
			"Failed to correct cluster state of release %s: %s", fullName(made), err)})
		return nil
	}
	p.tell(note{reason: "DriftCorrected", of: made, message: fmt.Sprintf("Cluster state of release %s has been corrected:\n%s", fullName(made), lines(found))})
	c.Set(helmv2.DriftedCondition, metav1.ConditionFalse, helmv2.NoDriftDetectedReason, "No drift detected against the cluster state")
	return journal.Write(ctx, events.DriftCorrected{Applied: about, Objects: objectsOf(found)})
}

func textDrift(made *record, found []release.Difference) string {
	return fmt.Sprintf("Cluster state of release %s has drifted from the desired state:\n%s", fullName(made), lines(found))
}

func lines(found []release.Difference) string {
	out := make([]string, len(found))
	for i, d := range found {
		out[i] = d.String()
	}
	return strings.Join(out, "\n")
}

func objectsOf(found []release.Difference) []events.ObjectRef {
	out := make([]events.ObjectRef, len(found))
	for i, d := range found {
		out[i] = refOf(d.Object)
	}
	return out
}

func refOf(r cluster.Ref) events.ObjectRef {
	return events.ObjectRef{APIVersion: r.APIVersion(), Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}
