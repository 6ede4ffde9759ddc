package release

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// logLines is how many lines about an action are kept, logWidth how many bytes of each.
const (
	logLines = 10
	logWidth = 240
)

// note adds a line to what is said about the action when it fails. What was said is not said again.
func (a *acting) note(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	if len(text) > logWidth {
		text = strings.ToValidUTF8(text[:logWidth], "") + "…"
	}
	if slices.ContainsFunc(a.run.Log, func(line string) bool { return strings.HasSuffix(line, " "+text) }) {
		return
	}
	a.run.Log = append(a.run.Log, a.now().UTC().Format(time.RFC3339)+" "+text)
	a.run.Log = a.run.Log[max(0, len(a.run.Log)-logLines):]
}

// notePhase says what the action is about to do.
func (a *acting) notePhase() {
	switch a.run.Phase {
	case phaseBefore, phaseAfter:
		event := hooksOf[a.run.Action][0]
		if a.run.Phase == phaseAfter {
			event = hooksOf[a.run.Action][1]
		}
		if n := len(a.hooksFor(event)); n > 0 {
			a.note("running %d hooks of %s", n, event)
		}
	case phaseResources:
		verb := "applying"
		if a.run.Action == Uninstall {
			verb = "deleting"
		}
		a.note("%s the resources of revision %d", verb, a.record.Version)
	case phaseWait:
		if !a.Options.DisableWait {
			a.note("beginning wait for resources with timeout of %s", a.Options.Timeout)
		}
	}
}
