package helmstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// ErrTooMuch says that a release's Secrets are more than is read of one release.
var ErrTooMuch = errors.New("the history of the release is too large")

// The bounds of a history, which whoever may write Secrets decides about: how many Secrets an answer has, how many there
// may be in all, how many of the newest are read as a whole, and the bytes of all that are, before they are unpacked.
const (
	pageSize     = 10
	maxRevisions = 10_000
	recent       = 10
	maxPacked    = 16 << 20
)

// remedy is what helps a history that is too large.
const remedy = "delete the Secrets of revisions that nobody needs (their labels are owner=helm and name), and set spec.maxHistory"

// List returns the revisions of a release, oldest first. The newest are read as a whole, and of older ones the deployed
// ones and the newest good one; of the others there is an outline, and so there is of those of the newest that are too much
// beside what is needed. A Secret that cannot be read is an error: what to do next depends on all of them; one without a
// number is no revision. So is, with ErrTooMuch, a history beyond all measure.
func (s *Store) List(ctx context.Context, name string) ([]*Record, error) {
	var found []*entry
	seen := 0
	var junk junk
	defer func() { junk.tell(s.Log) }()
	options := metav1.ListOptions{LabelSelector: labels.Set{labelOwner: helm, labelName: name}.String(), Limit: pageSize}
	for {
		list, err := s.secrets.List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("list revisions of release %s: %w", name, err)
		}
		if seen += len(list.Items); seen > maxRevisions {
			return nil, fmt.Errorf("release %s: %w: namespace %s has more than %d Secrets that are labelled as revisions of it; %s", name, ErrTooMuch, s.namespace, maxRevisions, remedy)
		}
		for i := range list.Items {
			e, err := entryOf(&list.Items[i])
			if err != nil { // Helm skips it too
				if s.Ignored.news(&list.Items[i]) {
					junk.add(list.Items[i].Name, err)
				}
				continue
			}
			found = append(found, e)
		}
		if err := winnow(found); err != nil {
			return nil, fmt.Errorf("release %s: %w", name, err)
		}
		if options.Continue = list.Continue; options.Continue == "" {
			all, err := s.read(ctx, name, found)
			if err != nil {
				return nil, err
			}
			return all, s.verify(ctx, all)
		}
	}
}

// entry is a Secret of a release. One that is not read as a whole has lost its data.
type entry struct {
	version       int
	status        release.Status
	secret        *corev1.Secret
	whole, needed bool
}

func entryOf(secret *corev1.Secret) (*entry, error) {
	version, err := strconv.Atoi(secret.Labels[labelVersion])
	if err != nil {
		return nil, fmt.Errorf("read Secret %s/%s: its label %s is no number", secret.Namespace, secret.Name, labelVersion)
	}
	return &entry{version: version, status: release.Status(secret.Labels[labelStatus]), secret: secret, whole: true}, nil
}

func (e *entry) good() bool {
	return e.status == release.StatusDeployed || e.status == release.StatusSuperseded
}

// winnow sorts entries and drops the data of those that are not needed as a whole.
func winnow(found []*entry) error {
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.version, b.version) })
	packed, base := 0, false
	for i, e := range slices.Backward(found) {
		newest := len(found) - 1 - i
		e.needed = newest == 0 || e.status == release.StatusDeployed || !base && e.good()
		if e.whole && !e.needed && newest >= recent {
			e.outline()
		}
		base = base || newest > 0 && e.good()
		if e.whole {
			packed += e.secret.Size()
		}
	}
	if packed > maxPacked {
		return fmt.Errorf("%w: its revisions in namespace %s have more than %d bytes; %s", ErrTooMuch, found[0].secret.Namespace, maxPacked, remedy)
	}
	return nil
}

// outline drops all that deleting the Secret does not need.
func (e *entry) outline() {
	s := e.secret
	e.whole = false
	e.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion}}
	*s = corev1.Secret{} // it is part of a list of which others are needed
}

// read reads a history, of which a large one waits for room.
func (s *Store) read(ctx context.Context, name string, found []*entry) (all []*Record, err error) {
	err = s.within(ctx, maxUnpacked, func(left *int, small bool) (err error) {
		all, err = decodeAll(ctx, name, found, left, small)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// decodeAll reads first what is needed, then the newest of the others that there is room for. A small history is read
// completely or, with errRoom, not at all.
func decodeAll(ctx context.Context, name string, found []*entry, left *int, small bool) ([]*Record, error) {
	out := make([]*Record, len(found))
	for _, needed := range []bool{true, false} {
		for i, e := range slices.Backward(found) {
			if e.needed != needed {
				continue
			}
			var err error
			if out[i], err = e.decode(ctx, name, left, small); err != nil {
				return nil, fmt.Errorf("release %s: read Secret %s/%s: %w", name, e.secret.Namespace, e.secret.Name, err)
			}
		}
	}
	return out, nil
}

func (e *entry) decode(ctx context.Context, name string, left *int, small bool) (*Record, error) {
	if e.whole {
		r, err := decode(ctx, e.secret, left)
		switch {
		case errors.Is(err, errRoom) && small:
			return nil, err
		case errors.Is(err, errRoom) && e.needed:
			return nil, fmt.Errorf("%w: unpacked, those of its revisions that are needed take more than %d bytes of memory; "+
				"delete the Secrets of revisions that nobody needs, or make the chart smaller", ErrTooMuch, maxUnpacked)
		case errors.Is(err, errRoom):
			e.outline()
		case err == nil && (r.Version != e.version || r.Name != name):
			return nil, unlabelled(r)
		default:
			return r, err
		}
	}
	return &Record{Outline: true, secret: e.secret, Release: &release.Release{
		Name: name, Version: e.version, Info: &release.Info{Status: e.status}, Chart: &chart.Chart{Metadata: &chart.Metadata{}},
	}}, nil
}

// Complete reads an outline as a whole, in place. It returns ErrLost when that is not the newest any more, and ErrTooMuch
// when it weighs more than half of what is read of a release.
func (s *Store) Complete(ctx context.Context, r *Record) error {
	secret, err := s.secrets.Get(ctx, r.secret.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && (secret.UID != r.secret.UID || secret.ResourceVersion != r.secret.ResourceVersion):
		return fmt.Errorf("read revision %d of release %s: %w", r.Version, r.Name, ErrLost)
	case err != nil:
		return fmt.Errorf("read revision %d of release %s: %w", r.Version, r.Name, err)
	}
	var whole *Record
	err = s.within(ctx, maxUnpacked/2, func(left *int, _ bool) (err error) {
		whole, err = decode(ctx, secret, left)
		return err
	})
	switch {
	case errors.Is(err, errRoom):
		err = fmt.Errorf("%w: unpacked, this revision takes more than %d bytes of memory", ErrTooMuch, maxUnpacked/2)
	case err == nil && (whole.Version != r.Version || whole.Name != r.Name):
		err = unlabelled(whole)
	}
	if err != nil {
		return fmt.Errorf("release %s: read Secret %s/%s: %w", r.Name, secret.Namespace, secret.Name, err)
	}
	*r = *whole
	return nil
}

func unlabelled(r *Record) error {
	return fmt.Errorf("it holds revision %d of release %s, which its labels do not say", r.Version, r.Name)
}

// decode reads a record from its Secret.
func decode(ctx context.Context, secret *corev1.Secret, left *int) (*Record, error) {
	r, err := unpackIn(ctx, secret.Data[dataKey], left)
	if err != nil {
		return nil, err
	}
	r.secret = secret
	r.Labels = maps.Clone(secret.Labels)
	for _, own := range []string{labelName, labelOwner, labelStatus, labelVersion, labelCreated, labelModified} {
		delete(r.Labels, own)
	}
	return r, nil
}
