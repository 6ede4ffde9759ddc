package source

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Secret reads a Secret of a namespace from the API server, each time: credentials
// are kept nowhere. Its failure is one of authentication.
func Secret(ctx context.Context, live client.Reader, namespace, name string) (map[string][]byte, error) {
	var secret corev1.Secret
	key := types.NamespacedName{Namespace: namespace, Name: name}
	if err := live.Get(ctx, key, &secret); err != nil {
		return nil, AuthenticationFailed(fmt.Errorf("failed to get secret '%s': %w", key, err))
	}
	return secret.Data, nil
}
