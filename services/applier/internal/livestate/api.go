package livestate

import (
	"log/slog"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// Why says what was noticed about an object.
type Why string

// What can be noticed about an object.
const (
	// Changed means that someone changed or removed a field the applier owns.
	Changed Why = "changed"
	// Absorb means that someone wrote with a field manager whose fields the applier
	// takes over, such as kubectl.
	Absorb Why = "absorb"
	// Deleted means that the object is gone.
	Deleted Why = "deleted"
	// Unlabelled means that the object lives but lost its owner labels.
	Unlabelled Why = "unlabelled"
	// Verify means that the metadata alone cannot tell; a dry run can.
	Verify Why = "verify"
	// Conflict means that another owner's labels are on the object. The object is
	// not dirty: it is reported, not fought over.
	Conflict Why = "conflict"
)

// Notice is one observation about an object.
type Notice struct {
	Object cluster.Ref
	Why    Why
	// Repeated is true when the object has been put back so often lately that
	// notices about it are held back: another controller fights for it.
	Repeated bool
	// Rival is who owns the object now; set for Conflict.
	Rival cluster.Owner
}

// CorrectionInterval is how often an object is put back that others keep changing, when
// the options say nothing else.
const CorrectionInterval = 10 * time.Second

// gather is how long notices are gathered.
const gather = 20 * time.Millisecond

// Options are the settings of a table. Callbacks run on the table's own goroutine,
// must not block for long and may call the table. What a callback returns an error
// for is told again after Retry, merged with what came meanwhile.
type Options struct {
	// OnDrift is told of objects of an owner that differ from what was applied.
	// Notices are gathered for a moment, so that one edit of many objects is one call.
	// Whether the owner is suspended is the receiver's business: the objects stay
	// dirty until they are applied.
	OnDrift func(owner cluster.Owner, notices []Notice) error
	// OnChange is told that an awaited object of an owner changed in any way.
	OnChange func(owner cluster.Owner) error
	// Ownership says whose objects these are; Kustomizations' when zero.
	Ownership Ownership
	// HashKey keys the hashes of kept records; random when empty, so that nothing kept
	// is of use to another process.
	HashKey []byte
	// Logger gets what goes wrong with watches; the default logger when nil.
	Logger *slog.Logger
	// Retry is how long after its failure a callback is called again; 1 s when zero.
	Retry time.Duration
	// VerifyDelay is how long notices of kind Verify are gathered; 4 s when zero, so
	// that the second of our own write, in which a dry run proves little, is over.
	VerifyDelay time.Duration
	// Corrections is how many notices about one object pass before they are held
	// back; 60 when zero. One more is earned each CorrectionInterval.
	Corrections        int
	CorrectionInterval time.Duration
}

// Leave says for how long an object is left alone that an owner wants. The zero value
// means that it is not: it was applied.
type Leave uint8

// For how long an object can be left alone.
const (
	// WhileOptedOut is until an annotation of the live object goes.
	WhileOptedOut Leave = iota + 1
	// WhilePresent is for as long as it exists: the owner makes it, and never changes it.
	WhilePresent
)

// Standing says how an object compares to what was last applied for an owner.
type Standing int

// How an object can stand.
const (
	// Unknown means that this process never applied the object, or cannot watch it.
	Unknown Standing = iota
	// Clean means that the object is as it was applied.
	Clean
	// Dirty means that the object differs from what was applied.
	Dirty
	// Outdated means that it was another version of the object that was applied.
	Outdated
	// Doubtful means that a dry run has to tell.
	Doubtful
	// Lost means that another owner took the object after it was applied in this form.
	Lost
	// OptedOut means that the live object carries an annotation that keeps the applier away.
	OptedOut
)
