package helmrelease

import (
	"errors"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// unanswered is what is said in place of an answer: who asks holds a worker until there is one. What somebody has to mend
// fails the build by name.
func unanswered(why error) render.Answer {
	if errors.Is(why, helmstore.ErrNoRoom) {
		return render.Answer{Busy: true}
	}
	text := kube.Short(why.Error())
	if errors.Is(why, helmstore.ErrTooMuch) || !release.Transient(why) {
		return render.Answer{Refused: text}
	}
	return render.Answer{Unavailable: text}
}
