// Package helmstore keeps Helm releases where Helm does, in Secrets, in its format: the
// helm command lists, shows and rolls back what is stored here, and the other way round.
//
// What is our own is an annotation on the Secret of a release that an action is
// working on, or made: how far it got. It goes with the release in one write, so that an applier that
// is killed leaves what the next one needs to go on, or to tell how it ended. A second annotation
// seals the first with the release: what others wrote there is nobody's Run.
package helmstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"time"

	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/internal/share"
	"github.com/sluice-gitops/sluice/services/applier/internal/keys"
)

// ErrLost says that somebody else wrote the release since it was read.
var ErrLost = errors.New("the release changed since it was read")

// The labels of Helm's Secrets, and the one owner that counts.
const (
	labelName     = "name"
	labelOwner    = "owner"
	labelStatus   = "status"
	labelVersion  = "version"
	labelCreated  = "createdAt"
	labelModified = "modifiedAt"
	helm          = "helm"
	secretType    = "helm.sh/release.v1" //nolint:gosec // the type of a Secret
	dataKey       = "release"
)

// runAnnotation holds the Run of a release.
const runAnnotation = "sluice.dev/run"

// Run is how far an action on a release got.
type Run struct {
	// Action is install, upgrade, rollback, uninstall or test.
	Action string `json:"action"`
	// Owner is namespace/name of the HelmRelease, UID its uid.
	Owner string `json:"owner"`
	UID   string `json:"uid"`
	// Phase is the phase it is in, Hook the hook of that phase. Cleared says that what was there of that
	// hook is gone, so that what is there now is of this action; Made that the hook was made.
	Phase   string `json:"phase"`
	Hook    int    `json:"hook,omitempty"`
	Cleared bool   `json:"cleared,omitempty"`
	Made    bool   `json:"made,omitempty"`
	// Input identifies what an install or an upgrade was rendered from, Generation is that of the
	// HelmRelease, OCIDigest the chart's when it comes from an OCIRepository.
	Input      string `json:"input,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	OCIDigest  string `json:"ociDigest,omitempty"`
	// PostRenderers and CommonMetadata are the digests of these parts of the spec that it was rendered with.
	PostRenderers  string `json:"postRenderers,omitempty"`
	CommonMetadata string `json:"commonMetadata,omitempty"`
	// To is the revision that a rollback goes back to.
	To int `json:"to,omitempty"`
	// ForcedAt is the newest request to force an action that this one answers.
	ForcedAt string `json:"forcedAt,omitempty"`
	// Forget says that an uninstall makes room for another chart, where else it remedies a failure; and that what was
	// there before an upgrade is not as the HelmRelease knew it.
	Forget bool `json:"forget,omitempty"`
	// Foreign says that an uninstall is of a revision which is not known to be the HelmRelease's: its hooks do not run.
	Foreign bool `json:"foreign,omitempty"`
	// Surveyed says that it was looked, before anything was applied, which of the objects are there that a failure would have
	// deleted; Found are those, by their index in the manifest.
	Surveyed bool  `json:"surveyed,omitempty"`
	Found    []int `json:"found,omitempty"`
	// Over says that the action has ended, Failure why it failed.
	Over    bool   `json:"over,omitempty"`
	Failure string `json:"failure,omitempty"`
	// Log says what the action did last, for people.
	Log []string `json:"log,omitempty"`
	// Since is when the action began, Reached when it got to what it is at, which may take the timeout.
	Since   time.Time `json:"since"`
	Reached time.Time `json:"reached,omitzero"`
}

// Record is a stored release.
type Record struct {
	*release.Release
	// ApplyMethod is ssa for server-side apply; empty for what Helm 3 stored.
	ApplyMethod string
	// Run is the action that is under way, or that made the revision; nil when none of this HelmRelease did.
	Run *Run
	// Outline says that only number and status are known of an old revision: nothing more is needed of it but to roll back to
	// it, which Complete reads.
	Outline bool

	secret *corev1.Secret
}

// Store has the releases of one namespace, as one HelmRelease sees them. It is for one goroutine, which closes it when it does
// not use any more what it read.
type Store struct {
	// Log tells of Secrets that are no revisions; New sets one that discards it.
	Log *slog.Logger
	// Ignored are those that were told of; nil remembers none.
	Ignored *Ignored
	// Room is where large histories are read, together with those of other releases; nil bounds them alone.
	Room *share.Room

	held      int // of the room
	secrets   typedcorev1.SecretInterface
	namespace string
	keys      *keys.Ring
	owner     seal.Identity
}

// New returns a Store of the releases that a client's Secrets of a namespace hold. What it stores
// of actions is sealed for the owner, who alone reads it.
func New(secrets typedcorev1.SecretInterface, namespace string, ring *keys.Ring, owner seal.Identity) *Store {
	return &Store{Log: slog.New(slog.DiscardHandler), secrets: secrets, namespace: namespace, keys: ring, owner: owner}
}

// Create stores a new revision. It returns ErrLost when there is one of this number. A Secret that has its name and is none
// is refused for good.
func (s *Store) Create(ctx context.Context, r *Record) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName(r)}, Type: secretType}
	stamp(secret, labelCreated)
	if err := s.encode(secret, r); err != nil {
		return err
	}
	made, err := s.secrets.Create(ctx, secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		err = s.taken(ctx, r, err)
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", describe(r), err)
	}
	r.secret = made
	return nil
}

// taken says why the name of a revision is taken: by a revision that List returns as just that by now, or by something else,
// which is there until somebody acts.
func (s *Store) taken(ctx context.Context, r *Record, why error) error {
	there, err := s.secrets.Get(ctx, secretName(r), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ErrLost
	}
	if err != nil {
		return err
	}
	wanted := labels.Set{labelOwner: helm, labelName: r.Name, labelVersion: strconv.Itoa(r.Version)}
	if wanted.AsSelector().Matches(labels.Set(there.Labels)) {
		return ErrLost
	}
	return fmt.Errorf("%w: Secret %s/%s has the name of this revision but not its labels (%s): give them back to it if it is the revision, else delete it",
		why, there.Namespace, there.Name, wanted)
}

// Update writes a revision over the one that was read. It returns ErrLost when that is not
// the newest any more.
func (s *Store) Update(ctx context.Context, r *Record) error {
	secret := r.secret.DeepCopy()
	stamp(secret, labelModified)
	if err := s.encode(secret, r); err != nil {
		return err
	}
	written, err := s.secrets.Update(ctx, secret, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("store %s: %w", describe(r), ErrLost)
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", describe(r), err)
	}
	r.secret = written
	return nil
}

// Delete removes a revision as it was read. It returns ErrLost when that is not the newest any more; one that is
// gone already is no error.
func (s *Store) Delete(ctx context.Context, r *Record) error {
	read := metav1.Preconditions{UID: &r.secret.UID, ResourceVersion: &r.secret.ResourceVersion}
	err := s.secrets.Delete(ctx, r.secret.Name, metav1.DeleteOptions{Preconditions: &read})
	if apierrors.IsConflict(err) {
		return fmt.Errorf("delete %s: %w", describe(r), ErrLost)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", describe(r), err)
	}
	return nil
}

// Stored is how far the storage says that the action is; the zero Run when it says nothing. It is to be believed once
// the record has a Run.
func (r *Record) Stored() (Run, error) {
	run := Run{}
	text, ok := "", false
	if r.secret != nil {
		text, ok = r.secret.Annotations[runAnnotation]
	}
	if !ok {
		return run, nil
	}
	if err := json.Unmarshal([]byte(text), &run); err != nil {
		return run, fmt.Errorf("annotation %s of %s: %w", runAnnotation, describe(r), err)
	}
	return run, nil
}

// Mark identifies what the storage has of a revision: every write of it has another.
func (r *Record) Mark() string { return string(r.secret.UID) + "/" + r.secret.ResourceVersion }

func secretName(r *Record) string {
	return fmt.Sprintf("sh.helm.release.v1.%s.v%d", r.Name, r.Version)
}

func describe(r *Record) string {
	return fmt.Sprintf("revision %d of release %s/%s", r.Version, r.Namespace, r.Name)
}

func stamp(secret *corev1.Secret, label string) {
	if secret.Labels == nil {
		secret.Labels = map[string]string{}
	}
	secret.Labels[label] = strconv.FormatInt(time.Now().Unix(), 10)
}

// encode puts a record into its Secret.
func (s *Store) encode(secret *corev1.Secret, r *Record) error {
	body, err := pack(r)
	if err != nil {
		return fmt.Errorf("encode %s: %w", describe(r), err)
	}
	secret.Data = map[string][]byte{dataKey: body}
	maps.Copy(secret.Labels, r.Labels)
	maps.Copy(secret.Labels, map[string]string{
		labelName: r.Name, labelOwner: helm, labelStatus: r.Info.Status.String(), labelVersion: strconv.Itoa(r.Version),
	})
	if r.Run == nil {
		delete(secret.Annotations, runAnnotation)
		return s.sign(secret)
	}
	run, err := json.Marshal(r.Run)
	if err != nil {
		return fmt.Errorf("encode %s: %w", describe(r), err)
	}
	if secret.Annotations == nil {
		secret.Annotations = map[string]string{}
	}
	secret.Annotations[runAnnotation] = string(run)
	return s.sign(secret)
}
