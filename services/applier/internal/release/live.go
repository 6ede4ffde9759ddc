package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// Live notes in a live table what the objects of a release were like when they were applied, so that
// one that is as it was costs no request. A nil Live notes nothing and knows nothing.
type Live struct {
	Table *livestate.Table
	// Owner is the HelmRelease.
	Owner cluster.Owner
	// Rules say which fields are left to others. Other rules are another wish for an object.
	Rules ignore.Rules
}

// manage has the kinds of objects watched.
func (l *Live) manage(objects []*unstructured.Unstructured) {
	if l == nil {
		return
	}
	for _, group := range groups(objects) {
		l.Table.Manage(group[0].GroupVersionKind())
	}
}

// put applies an object of the release, notes what it is like now and returns it.
func (l *Live) put(ctx context.Context, client *cluster.Client, o *unstructured.Unstructured, digest string) (*unstructured.Unstructured, error) {
	ref := cluster.RefOf(o)
	if l != nil {
		l.Table.Begin(ref)
	}
	answer, _, err := client.ApplyAs(ctx, Manager, o, false)
	switch {
	case err != nil && l != nil:
		l.Table.Abort(ref)
	case l != nil:
		l.Table.Applied(ref, l.Owner, digest, cluster.MetadataOf(answer))
	}
	if err != nil {
		return nil, engine.Refusal(o, err)
	}
	return answer, nil
}

// standing compares an object to what was applied, without a request.
func (l *Live) standing(o *unstructured.Unstructured, digest string) livestate.Standing {
	if l == nil {
		return livestate.Unknown
	}
	return l.Table.Standing(cluster.RefOf(o), l.Owner, digest)
}

// seen notes that an object is as the release wants it, opted out or not.
func (l *Live) seen(live *unstructured.Unstructured, digest string) {
	if l == nil {
		return
	}
	ref := cluster.RefOf(live)
	l.Table.Begin(ref)
	l.Table.Applied(ref, l.Owner, digest, cluster.MetadataOf(live))
}

// left notes an object that opts out, so that the end of that is seen.
func (l *Live) left(live *unstructured.Unstructured, digest string) {
	if l != nil {
		now := l.Table.Reduce(cluster.MetadataOf(live))
		l.Table.Left(cluster.RefOf(live), l.Owner, digest, now, livestate.WhileOptedOut)
	}
}

// withdraw notes that an object is no part of the release any more.
func (l *Live) withdraw(r cluster.Ref) {
	if l != nil {
		l.Table.Withdraw(r, l.Owner)
	}
}

// digest identifies the wish for an object: what it is to be, and what of it is left to others.
func (l *Live) digest(o *unstructured.Unstructured) (string, error) {
	if l == nil {
		return "", nil
	}
	body, err := json.Marshal(struct {
		Object map[string]any
		Left   []ignore.Pointer `json:",omitempty"`
	}{o.Object, l.Rules.Of(o)})
	if err != nil {
		return "", fmt.Errorf("digest %s: %w", cluster.RefOf(o), err)
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}
