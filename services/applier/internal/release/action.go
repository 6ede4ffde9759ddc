package release

import (
	"time"

	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// Manager is the field manager of what a release applies, as Flux has it.
const Manager = livestate.ReleaseManager

// The actions.
const (
	Install   = "install"
	Upgrade   = "upgrade"
	Rollback  = "rollback"
	Uninstall = "uninstall"
	Test      = "test"
)

// The phases of actions, in the order in which an action has them.
const (
	phaseBefore    = "before"
	phaseResources = "resources"
	phaseWait      = "wait"
	phaseAfter     = "after"
	phaseEnd       = "end"
)

// hooksOf names the hooks before and after an action's resources.
var hooksOf = map[string][2]helmrelease.HookEvent{
	Install:   {helmrelease.HookPreInstall, helmrelease.HookPostInstall},
	Upgrade:   {helmrelease.HookPreUpgrade, helmrelease.HookPostUpgrade},
	Rollback:  {helmrelease.HookPreRollback, helmrelease.HookPostRollback},
	Uninstall: {helmrelease.HookPreDelete, helmrelease.HookPostDelete},
	Test:      {helmrelease.HookTest, ""},
}

// CRDPolicy says what happens to the custom resource definitions of a chart.
type CRDPolicy string

// The policies: nothing, make those that are missing, make and replace.
const (
	SkipCRDs          CRDPolicy = "Skip"
	CreateCRDs        CRDPolicy = "Create"
	CreateReplaceCRDs CRDPolicy = "CreateReplace"
)

// Options change how an action runs.
type Options struct {
	// Timeout of each thing that the action waits for: a hook, the resources, their deletion.
	Timeout time.Duration
	// Brief is how long an action that can be taken from its begin again may wait for its resources
	// before the storage is told how far it got.
	Brief time.Duration
	// DisableHooks runs none, DisableWait does not wait until resources are ready or gone,
	// DisableWaitForJobs does not wait for Jobs among them.
	DisableHooks, DisableWait, DisableWaitForJobs bool
	// KeepOthers refuses to adopt objects that are not the release's.
	KeepOthers bool
	// CleanupOnFail deletes what an upgrade or a rollback made that fails.
	CleanupOnFail bool
	// KeepHistory leaves the revisions of an uninstalled release.
	KeepHistory bool
	// Propagation of an uninstall's deletions; background when empty.
	Propagation metav1.DeletionPropagation
	// MaxHistory is how many revisions stay; zero keeps all.
	MaxHistory int
	// CRDPolicy of install and upgrade; Create when empty.
	CRDPolicy CRDPolicy
	// CRDs are the files of definitions.
	CRDs []*chart.File
	// CRDLabels are added to the definitions.
	CRDLabels map[string]string
	// TestFilters select tests by name; all run when it selects none.
	TestFilters func(name string) bool
	// Rules stand in for the rules of health of some kinds.
	Rules health.Rules
}

// Runner runs actions on the revisions of one release.
type Runner struct {
	Client  *cluster.Client
	Store   *helmstore.Store
	Options Options
	// Live notes what objects are like; nil notes nothing.
	Live *Live
	// Manifests keep what was read; nil reads each time.
	Manifests *Manifests
	// Now is time.Now when nil.
	Now func() time.Time
}

// Progress is where an action stands after a step.
type Progress struct {
	// Done says that the action is over with success.
	Done bool
	// Waiting are the objects it waits for; Message says how they are.
	Waiting []cluster.Seen
	Message string
	// Left is how much time there is for what it waits for.
	Left time.Duration
	// Ahead says that the action got further than the storage says.
	Ahead bool
}

// FailedError is an action that ended without success and is stored as failed.
type FailedError struct {
	Err error
	// Log says what the action did last, oldest first.
	Log []string
}

// Error implements error.
func (e *FailedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *FailedError) Unwrap() error { return e.Err }

func (r *Runner) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}
