package kubeconfig

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/credential"
	"github.com/sluice-gitops/sluice/internal/identity"
)

// timeout bounds every request to a cluster, as Flux does.
const timeout = 30 * time.Second

// Connection is how to reach a cluster, and as whom.
type Connection struct {
	// Config is nil as long as the cluster is to be located.
	Config *rest.Config
	// Key is the same for connections that are the same: server, trust and credentials.
	Key Key
	// Locate asks a cloud for the cluster's address and lets the connection's identity in,
	// which may take half a minute. It is nil when nothing is to be asked for. Connections of
	// the same key may share what it returns, so its error says nothing of the reference.
	Locate func(context.Context) (Connection, error)
	// Located returns what Locate would when nothing has to be asked for it.
	Located func() (Connection, bool)
	// Unlocated makes an error of Locate, of any connection of the same key, one of Connect
	// for this connection's reference.
	Unlocated func(error) error
}

// Key tells connections apart. It is derived from credentials, so it is not logged.
type Key [sha256.Size]byte

// Options loosen or complete what kubeconfigs may say. The zero value is the strictest.
type Options struct {
	// AllowExec lets kubeconfigs run programs of the applier's image to get credentials.
	AllowExec bool
	// AllowInsecureTLS accepts servers whose certificate is not checked, and http.
	AllowInsecureTLS bool
	// DefaultServiceAccount is whose identity is used by ConfigMaps that name no service
	// account. Without one, provider generic is refused, and clouds see the applier's own.
	DefaultServiceAccount string
	// UserAgent is sent with every request.
	UserAgent string
}

// RefusedError says why an object's reference leads to no connection. Its text names the
// Secret or ConfigMap and the field at fault, and never its content.
type RefusedError struct {
	// Missing is true when the Secret, the ConfigMap or the service account that it names
	// does not exist.
	Missing bool
	// Disabled is true when a feature gate must allow what was asked for.
	Disabled bool
	text     string
}

// Error implements error.
func (r *RefusedError) Error() string { return r.text }

// Reader reads connections.
type Reader struct {
	live    client.Reader
	tokens  tokenRequester
	kept    credential.Cache[string]
	clouds  clouds
	options Options
}

// NewReader returns a Reader. live reads Secrets, ConfigMaps and service accounts from the
// API server, so that a changed one counts at once, and requests tokens of service accounts.
func NewReader(live client.Client, clouds *identity.Client, o Options) *Reader {
	return &Reader{live: live, tokens: tokenClient{live}, clouds: clouds, options: o}
}

// Connect reads the connection that a spec.kubeConfig of a namespace leads to. The error is a
// *RefusedError when the reference, its Secret or its ConfigMap is at fault.
func (r *Reader) Connect(ctx context.Context, namespace string, ref *fluxmeta.KubeConfigReference) (Connection, error) {
	switch {
	case ref == nil || (ref.SecretRef == nil) == (ref.ConfigMapRef == nil):
		return Connection{}, &RefusedError{text: "spec.kubeConfig: exactly one of secretRef and configMapRef must be set"}
	case ref.SecretRef != nil:
		return r.fromSecret(ctx, types.NamespacedName{Namespace: namespace, Name: ref.SecretRef.Name}, ref.SecretRef.Key)
	}
	return r.fromConfigMap(ctx, types.NamespacedName{Namespace: namespace, Name: ref.ConfigMapRef.Name})
}

func (r *Reader) fromSecret(ctx context.Context, name types.NamespacedName, key string) (Connection, error) {
	secret := &corev1.Secret{}
	if err := r.read(ctx, name, secret, "Secret"); err != nil {
		return Connection{}, err
	}
	key, text := pick(secret.Data, key)
	at := fmt.Sprintf("kubeconfig of Secret %q", name.Name)
	if text == nil {
		return Connection{}, &RefusedError{text: fmt.Sprintf("%s: there is no key %s", at, key)}
	}
	f, why := parse(text, r.options)
	if why != "" {
		return Connection{}, &RefusedError{text: fmt.Sprintf("%s, key %q: %s", at, key, why)}
	}
	return f.connection(r.options.UserAgent)
}

// pick returns the kubeconfig of a Secret and its key; without it, what was looked for.
func pick(data map[string][]byte, key string) (string, []byte) {
	if key != "" {
		return key, data[key]
	}
	for _, key := range []string{"value", "value.yaml"} {
		if text, ok := data[key]; ok {
			return key, text
		}
	}
	return `"value" or "value.yaml"`, nil
}

func (r *Reader) read(ctx context.Context, name types.NamespacedName, into client.Object, kind string) error {
	if name.Name == "" {
		return &RefusedError{text: fmt.Sprintf("spec.kubeConfig: the name of the %s is empty", kind)}
	}
	err := r.live.Get(ctx, name, into)
	if apierrors.IsNotFound(err) {
		return &RefusedError{Missing: true, text: fmt.Sprintf("spec.kubeConfig: %s %q not found", kind, name.Name)}
	}
	if err != nil {
		return fmt.Errorf("read %s %s of spec.kubeConfig: %w", kind, name, err)
	}
	return nil
}

// keyOf digests what a connection is made of.
func keyOf(parts ...any) (Key, error) {
	text, err := json.Marshal(parts)
	if err != nil {
		return Key{}, fmt.Errorf("digest connection: %w", err)
	}
	return sha256.Sum256(text), nil
}
