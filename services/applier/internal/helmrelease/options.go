package helmrelease

import (
	"fmt"
	"slices"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// runner returns what runs an action as the spec says.
func (p *pass) runner(action string) (*release.Runner, error) {
	rules, err := health.Compile(p.CEL, p.hr.Spec.HealthCheckExprs)
	if err != nil {
		return nil, fmt.Errorf("compile healthCheckExprs: %w", err)
	}
	options := p.options(action)
	options.Rules, options.MaxHistory, options.Brief = rules, p.hr.GetMaxHistory(), brief
	options.CRDLabels = map[string]string{originName: p.hr.Name, originNamespace: p.hr.Namespace}
	live, err := p.live()
	if err != nil {
		return nil, err
	}
	return &release.Runner{Client: p.client, Store: p.store, Manifests: &p.manifests, Options: options, Live: live}, nil
}

func (p *pass) options(action string) release.Options {
	timeout := p.hr.GetTimeout()
	switch action {
	case release.Install:
		s := p.hr.GetInstall()
		return release.Options{
			Timeout: s.GetTimeout(timeout).Duration, DisableHooks: s.DisableHooks, DisableWait: s.DisableWait,
			DisableWaitForJobs: s.DisableWaitForJobs, KeepOthers: s.DisableTakeOwnership, CRDPolicy: policy(kube.InstallCRDs(p.hr)),
		}
	case release.Upgrade:
		s := p.hr.GetUpgrade()
		return release.Options{
			Timeout: s.GetTimeout(timeout).Duration, DisableHooks: s.DisableHooks, DisableWait: s.DisableWait,
			DisableWaitForJobs: s.DisableWaitForJobs, KeepOthers: s.DisableTakeOwnership, CleanupOnFail: s.CleanupOnFail, CRDPolicy: policy(s.CRDs),
		}
	case release.Rollback:
		s := p.hr.GetRollback()
		return release.Options{
			Timeout: s.GetTimeout(timeout).Duration, DisableHooks: s.DisableHooks, DisableWait: s.DisableWait,
			DisableWaitForJobs: s.DisableWaitForJobs, CleanupOnFail: s.CleanupOnFail,
		}
	case release.Uninstall:
		s := p.hr.GetUninstall()
		return release.Options{
			Timeout: s.GetTimeout(timeout).Duration, DisableHooks: s.DisableHooks, DisableWait: s.DisableWait, KeepHistory: s.KeepHistory,
			Propagation: propagation(s.GetDeletionPropagation()),
		}
	}
	s := p.hr.GetTest()
	return release.Options{Timeout: s.GetTimeout(timeout).Duration, TestFilters: selected(s.GetFilters())}
}

func propagation(name string) metav1.DeletionPropagation {
	switch name {
	case "foreground":
		return metav1.DeletePropagationForeground
	case "orphan":
		return metav1.DeletePropagationOrphan
	}
	return metav1.DeletePropagationBackground
}

// policy is what happens to CRDs: Create unless the spec says otherwise.
func policy(p helmv2.CRDsPolicy) release.CRDPolicy {
	if p == "" {
		return release.CreateCRDs
	}
	return release.CRDPolicy(p)
}

// selected says which tests filters select: those that are named, without those that are excluded.
func selected(filters []helmv2.Filter) func(string) bool {
	if len(filters) == 0 {
		return nil
	}
	named := slices.ContainsFunc(filters, func(f helmv2.Filter) bool { return !f.Exclude })
	return func(name string) bool {
		selected := !named
		for _, f := range filters {
			if f.Name == name {
				selected = !f.Exclude
			}
		}
		return selected
	}
}

// took notes how long an action has been at work.
func (p *pass) took(since time.Time) {
	p.hr.Status.LastAttemptedReleaseActionDuration = &metav1.Duration{Duration: time.Since(since).Round(time.Millisecond)}
}
