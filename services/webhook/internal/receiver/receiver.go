package receiver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/webhook/internal/provider"
)

// ErrToken says that a Receiver's Secret is missing or holds no token. Anything
// else that Token returns is a fault of the API server and worth trying again.
var ErrToken = errors.New("token not found")

// Refusal says that a spec asks for something that is not served.
type Refusal struct{ Reason, Message string }

// Refused returns why a spec cannot be served, or nil. Nothing in a spec is ever
// silently ignored.
func Refused(r *notificationv1.Receiver) *Refusal {
	if !slices.Contains(provider.Served(), r.Spec.Type) {
		return &Refusal{
			Reason: "UnsupportedType",
			Message: fmt.Sprintf("spec.type: receiver type %q is not served; served types are %s",
				r.Spec.Type, strings.Join(provider.Served(), " and ")),
		}
	}
	if r.Spec.ResourceFilter != "" {
		return &Refusal{Reason: "UnsupportedField", Message: "spec.resourceFilter is not served; name the resources or select them by label"}
	}
	for i, resource := range r.Spec.Resources {
		if resource.Filter != "" {
			return &Refusal{
				Reason:  "UnsupportedField",
				Message: fmt.Sprintf("spec.resources[%d].filter is not served; name the resources or select them by label", i),
			}
		}
	}
	return nil
}

// Token reads a Receiver's token from the API server. A missing Secret, a missing
// key and an empty token are ErrToken.
func Token(ctx context.Context, live client.Reader, r *notificationv1.Receiver) (string, error) {
	if r.Spec.SecretRef == nil {
		return "", fmt.Errorf("%w: spec.secretRef is missing", ErrToken)
	}
	name := types.NamespacedName{Namespace: r.Namespace, Name: r.Spec.SecretRef.Name}
	var secret corev1.Secret
	if err := live.Get(ctx, name, &secret); err != nil {
		if apierrors.IsNotFound(err) {
			return "", fmt.Errorf("%w: secret %s does not exist", ErrToken, name)
		}
		return "", fmt.Errorf("read secret %s: %w", name, err)
	}
	token := string(secret.Data["token"])
	if token == "" {
		return "", fmt.Errorf("%w: secret %s has no key token, or it is empty", ErrToken, name)
	}
	return token, nil
}

// Interval returns the time to the next validation, up to 5% sooner or later, so
// that Receivers made together do not stay together.
func Interval(r *notificationv1.Receiver) time.Duration {
	interval := r.GetInterval()
	return interval + time.Duration((rand.Float64()-0.5)*0.1*float64(interval)) //nolint:gosec // spread, not secrecy
}
