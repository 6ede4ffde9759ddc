package builder

import (
	"os"

	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/sandbox"
)

// SandboxMain must be the first call of main. In a process that was started as a
// confined child it does the child's work, ends the process when that failed, and
// returns true otherwise: main then has nothing left to do. In any other process
// it returns false at once.
func SandboxMain() (handled bool) {
	if !sandbox.Requested(os.Args) {
		return false
	}
	if code := sandbox.Child(build.Prime, build.NewWork()); code != 0 {
		os.Exit(code)
	}
	return true
}
