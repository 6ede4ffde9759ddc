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
	secret, err := read(ctx, live, namespace, name)
	return secret.Data, err
}

// PullSecret reads a Secret that holds logins of registries, as Secret does.
func PullSecret(ctx context.Context, live client.Reader, namespace, name string) (corev1.Secret, error) {
	secret, err := read(ctx, live, namespace, name)
	if err == nil && len(secret.Data[corev1.DockerConfigJsonKey]) == 0 {
		err = AuthenticationFailed(fmt.Errorf("secret '%s/%s' has no key '%s': make it of type %s",
			namespace, name, corev1.DockerConfigJsonKey, corev1.SecretTypeDockerConfigJson))
	}
	return secret, err
}

// LoginSecret reads a Secret that holds logins of registries, or a username and a
// password for one, as Secret does.
func LoginSecret(ctx context.Context, live client.Reader, namespace, name string) (corev1.Secret, error) {
	secret, err := read(ctx, live, namespace, name)
	if err == nil && (len(secret.Data["username"]) == 0) != (len(secret.Data["password"]) == 0) {
		err = AuthenticationFailed(fmt.Errorf("secret '%s/%s': 'username' and 'password' go together: set both or none", namespace, name))
	}
	return secret, err
}

func read(ctx context.Context, live client.Reader, namespace, name string) (corev1.Secret, error) {
	var secret corev1.Secret
	key := types.NamespacedName{Namespace: namespace, Name: name}
	if err := live.Get(ctx, key, &secret); err != nil {
		return secret, AuthenticationFailed(fmt.Errorf("failed to get secret '%s': %w", key, err))
	}
	return secret, nil
}
