package livestate

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// OptOut is what an object's own annotations (or labels) ask of the applier.
type OptOut uint8

// What an object can ask for.
const (
	// NoReconcile: neither applied nor pruned.
	NoReconcile OptOut = 1 << iota
	// NoPrune: never pruned.
	NoPrune
	// IfNotPresent: created when absent, never changed.
	IfNotPresent
	// Merge: fields of other managers are left to them.
	Merge
	// Ignore: never applied, never pruned.
	Ignore
	// Force: recreated when an immutable field changes.
	Force
)

// Has reports whether all of asks are asked for.
func (o OptOut) Has(asks OptOut) bool { return o&asks == asks }

// Any reports whether one of asks is asked for.
func (o OptOut) Any(asks OptOut) bool { return o&asks != 0 }

const control = "kustomize.toolkit.fluxcd.io/"

// OptOuts reads the control annotations of an object. Labels are accepted too, and
// letter case of the values does not matter.
func OptOuts(annotations, labels map[string]string) OptOut {
	is := func(key, value string) bool {
		return strings.EqualFold(annotations[control+key], value) || strings.EqualFold(labels[control+key], value)
	}
	var o OptOut
	for _, c := range []struct {
		key, value string
		bit        OptOut
	}{
		{"reconcile", "disabled", NoReconcile},
		{"prune", "disabled", NoPrune},
		{"ssa", "IfNotPresent", IfNotPresent},
		{"ssa", "Merge", Merge},
		{"ssa", "Ignore", Ignore},
		{"force", "enabled", Force},
	} {
		if is(c.key, c.value) {
			o |= c.bit
		}
	}
	return o
}

// Slim is what the table keeps of an object's metadata.
type Slim struct {
	UID             types.UID
	ResourceVersion string
	Owner           cluster.Owner
	OptOut          OptOut
	// Generation counts changes of the spec, for kinds that count them.
	Generation int64
	// Terminating is true once deletion was asked for.
	Terminating bool
	// Own is a hash of API version and fields of our entry, zero when there is none,
	// and OwnTime the entry's time in Unix seconds.
	Own     uint64
	OwnTime int64
	// Rest is a hash of all other entries of the main resource.
	Rest uint64
	// Sub is a hash of the entries of subresources, such as status.
	Sub uint64
	// Absorb is true when a manager whose fields are taken over wrote the main resource.
	Absorb bool
}

// hasher reduces metadata. Its hashes are keyed, so that nobody can choose field
// names that hide a change, and are comparable wherever the key is the same.
type hasher struct {
	key       []byte
	overrides []string
	ownership Ownership
}

// newHasher takes a key of the caller's, or one of this process alone.
func newHasher(key []byte, overrides []string, o Ownership) hasher {
	if len(key) == 0 {
		key = make([]byte, sha256.Size)
		_, _ = rand.Read(key) // never fails: it ends the process instead
	}
	return hasher{key: key, overrides: overrides, ownership: o}
}

// reduce returns the slim record of an object's metadata. It has a bound, whatever that has.
func (h hasher) reduce(m *metav1.PartialObjectMetadata) Slim {
	s := Slim{
		UID: types.UID(clip(string(m.UID), maxText)), ResourceVersion: clip(m.ResourceVersion, maxText), Owner: h.ownership.of(m.Labels),
		OptOut: h.ownership.OptOuts(m.Annotations, m.Labels), Generation: m.Generation, Terminating: m.DeletionTimestamp != nil,
	}
	var rest, sub []metav1.ManagedFieldsEntry
	for _, e := range m.ManagedFields {
		switch {
		case e.Subresource != "":
			sub = append(sub, e)
		case e.Manager == h.ownership.Manager && e.Operation == metav1.ManagedFieldsOperationApply:
			s.Own = h.hash(e.APIVersion, fieldsOf(e))
			s.OwnTime = unix(e.Time)
		default:
			rest = append(rest, e)
			s.Absorb = s.Absorb || h.ownership.Absorbs(e, h.overrides)
		}
	}
	s.Rest, s.Sub = h.entries(rest), h.entries(sub)
	return s
}

func (h hasher) entries(entries []metav1.ManagedFieldsEntry) uint64 {
	slices.SortFunc(entries, func(a, b metav1.ManagedFieldsEntry) int {
		return cmp.Or(
			strings.Compare(a.Manager, b.Manager), strings.Compare(string(a.Operation), string(b.Operation)),
			bytes.Compare(fieldsOf(a), fieldsOf(b)), cmp.Compare(unix(a.Time), unix(b.Time)),
		)
	})
	if len(entries) == 0 {
		return 0
	}
	sum := hmac.New(sha256.New, h.key)
	var at [8]byte
	for _, e := range entries {
		write(sum, []byte(e.Manager), []byte(e.Operation), []byte(e.APIVersion), fieldsOf(e))
		binary.BigEndian.PutUint64(at[:], uint64(unix(e.Time)))
		sum.Write(at[:])
	}
	return number(sum)
}

func (h hasher) hash(version string, fields []byte) uint64 {
	sum := hmac.New(sha256.New, h.key)
	write(sum, []byte(version), fields)
	return number(sum)
}

// write adds parts, each with its length in front, so that no two lists are alike.
func write(sum hash.Hash, parts ...[]byte) {
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		sum.Write(size[:])
		sum.Write(p)
	}
}

// number is the start of a sum; zero stands for nothing hashed.
func number(sum hash.Hash) uint64 { return max(binary.BigEndian.Uint64(sum.Sum(nil)), 1) }

func fieldsOf(e metav1.ManagedFieldsEntry) []byte {
	if e.FieldsV1 == nil {
		return nil
	}
	return e.FieldsV1.GetRawBytes()
}

func unix(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}
