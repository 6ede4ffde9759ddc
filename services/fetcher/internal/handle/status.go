package handle

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

func (p *pass) conditions() kube.Conditions {
	return kube.Conditions{List: p.state.Conditions, Generation: p.obj.GetGeneration()}
}

// negative are the conditions of which each says by itself that a pass failed.
func (p *pass) negative() []string {
	return append([]string{sourcev1.FetchFailedCondition, sourcev1.StorageOperationFailedCondition}, p.state.Negative...)
}

// conclude puts the outcome of the pass into the status.
func (p *pass) conclude(failed *source.Error) {
	if token := p.obj.GetAnnotations()[kube.RequestedAt]; token != "" {
		*p.state.Handled = token
	}
	if failed == nil {
		p.succeed()
		return
	}
	c := p.conditions()
	for _, kind := range p.negative() {
		if kind != failed.Condition {
			c.Remove(kind)
		}
	}
	text := message(failed)
	status := metav1.ConditionTrue
	if failed.Condition == sourcev1.SourceVerifiedCondition {
		status = metav1.ConditionFalse // the one that says by being False that a pass failed
	}
	c.Set(failed.Condition, status, failed.Reason, text)
	if failed.Stalled {
		*p.state.ObservedGeneration = p.obj.GetGeneration()
		c.Stall(failed.Reason, text)
		return
	}
	c.Retry(failed.Reason, text)
	c.Set(kube.ConditionReconciling, metav1.ConditionTrue, kube.ReasonProgressingWithRetry, p.progress())
}

// message is what the status says of a failure, without credentials, and no more than it has room for.
func message(f *source.Error) string {
	text := f.Err.Error()
	var invalid x509.CertificateInvalidError
	if errors.As(f.Err, &invalid) && invalid.Reason == x509.Expired {
		// The library's own words name no certificate, and the time: each try would say something new.
		text = strings.Replace(text, invalid.Error(), expired(invalid.Cert), 1)
	}
	return kube.Short(text)
}

func expired(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if len(c.DNSNames) > 0 {
		name = c.DNSNames[0]
	}
	return fmt.Sprintf("x509: certificate has expired or is not yet valid: that of '%s' is valid from %s to %s: renew it on the server",
		name, c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
}

// succeed says what is in storage. A pass that made nothing leaves what the one said
// that did.
func (p *pass) succeed() {
	c := p.conditions()
	for _, kind := range append(p.negative(), sourcev1.ArtifactOutdatedCondition) {
		c.Remove(kind)
	}
	reason, text := kube.ReasonSucceeded, fmt.Sprintf("stored artifact for revision '%s'", p.artifact().Revision)
	if p.made != nil && p.made.Message != "" {
		text = p.made.Message
	}
	if p.made != nil && p.made.Reason != "" {
		reason = p.made.Reason
	}
	if before := meta.FindStatusCondition(*p.state.Conditions, sourcev1.ArtifactInStorageCondition); p.made == nil && before != nil {
		reason, text = before.Reason, before.Message
	}
	c.Set(sourcev1.ArtifactInStorageCondition, metav1.ConditionTrue, reason, text)
	c.Succeed(reason, text)
	*p.state.ObservedGeneration = p.obj.GetGeneration()
	p.kind.Observe(p.obj)
}

// progress says what was going on when the pass failed.
func (p *pass) progress() string {
	switch observed := *p.was.ObservedGeneration; {
	case p.why != "":
		return "building artifact: " + p.why
	case p.artifact() == nil && *p.was.Artifact != nil:
		return "building artifact: " + disappeared
	case observed != p.obj.GetGeneration():
		return fmt.Sprintf("processing object: new generation %d -> %d", observed, p.obj.GetGeneration())
	}
	return "reconciliation in progress"
}

// patchStatus writes the status on the version that was read: conditions that
// others wrote since are never lost, the pass is made anew instead.
func (p *pass) patchStatus(ctx context.Context) error {
	written := p.obj.DeepCopyObject().(source.Object)
	patch := client.MergeFromWithOptions(p.old, client.MergeFromWithOptimisticLock{})
	if err := p.cluster.Writer.Status().Patch(ctx, written, patch); err != nil {
		return fmt.Errorf("write status of %s: %w", p.key, err)
	}
	p.obj.SetResourceVersion(written.GetResourceVersion())
	p.written.remember(p.key, written)
	return nil
}

// hadFailed says that the object's last pass failed.
func (p *pass) hadFailed() bool {
	return meta.IsStatusConditionFalse(*p.was.Conditions, sourcev1.SourceVerifiedCondition) || slices.ContainsFunc(p.negative(), func(kind string) bool {
		return meta.IsStatusConditionTrue(*p.was.Conditions, kind)
	})
}
