package events

// The CloudEvents types. A type never changes meaning; an incompatible change
// gets a new version suffix.
const (
	TypeSourceChanged    = "dev.sluice.source.changed.v1"
	TypeSourceFailed     = "dev.sluice.source.failed.v1"
	TypeBuildRendered    = "dev.sluice.build.rendered.v1"
	TypeBuildUnchanged   = "dev.sluice.build.unchanged.v1"
	TypeBuildFailed      = "dev.sluice.build.failed.v1"
	TypeApplyProgressing = "dev.sluice.apply.progressing.v1"
	TypeApplySucceeded   = "dev.sluice.apply.succeeded.v1"
	TypeApplyFailed      = "dev.sluice.apply.failed.v1"
	TypeHealth           = "dev.sluice.apply.health.v1"
	TypeDriftDetected    = "dev.sluice.drift.detected.v1"
	TypeDriftCorrected   = "dev.sluice.drift.corrected.v1"
	TypeDriftContested   = "dev.sluice.drift.contested.v1"
	TypePruned           = "dev.sluice.apply.pruned.v1"
	TypeHookReceived     = "dev.sluice.hook.received.v1"
)

// Data is what an event carries: one of the structs of this package.
type Data interface {
	// EventType returns the CloudEvents type of the data.
	EventType() string
}

// Types returns an empty value of every event's data, in the order in which a
// revision meets them.
func Types() []Data {
	return []Data{
		HookReceived{}, SourceChanged{}, SourceFailed{},
		BuildRendered{}, BuildUnchanged{}, BuildFailed{},
		ApplyProgressing{}, ApplySucceeded{}, ApplyFailed{}, Health{},
		DriftDetected{}, DriftCorrected{}, DriftContested{}, Pruned{},
	}
}
