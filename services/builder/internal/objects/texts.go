package objects

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxTexts is how many bytes the ConfigMaps and Secrets may have together that one object refers to: the process that reads
// them serves everybody.
const maxTexts = 8 << 20

// errUnusable says that what is referred to cannot be used, which the object's author can help.
var errUnusable = errors.New("not usable")

// texts reads what one object refers to in its namespace: each ConfigMap and Secret once, however many references name it.
type texts struct {
	reader    client.Reader
	namespace string
	left      int
	known     map[string]text
}

// text is the data of a ConfigMap or a Secret, or why it was not read.
type text struct {
	data map[string]string
	err  error
}

func (r Reader) texts(namespace string) *texts {
	return &texts{reader: r.Live, namespace: namespace, left: maxTexts, known: map[string]text{}}
}

// read returns the data of a ConfigMap or a Secret.
func (t *texts) read(ctx context.Context, kind, name string) (map[string]string, error) {
	at := kind + "/" + name
	have, ok := t.known[at]
	if !ok {
		have.data, have.err = t.get(ctx, kind, client.ObjectKey{Namespace: t.namespace, Name: name})
		t.known[at] = have
	}
	return have.data, have.err
}

// get asks the API server.
func (t *texts) get(ctx context.Context, kind string, key client.ObjectKey) (map[string]string, error) {
	data := map[string]string{}
	switch kind {
	case "ConfigMap":
		var object corev1.ConfigMap
		if err := t.reader.Get(ctx, key, &object); err != nil {
			return nil, err
		}
		data = object.Data
	case "Secret":
		var object corev1.Secret
		if err := t.reader.Get(ctx, key, &object); err != nil {
			return nil, err
		}
		for name, value := range object.Data {
			data[name] = string(value)
		}
	default:
		return nil, fmt.Errorf("%w: kind %q is neither ConfigMap nor Secret", errUnusable, kind)
	}
	for name, value := range data {
		t.left -= len(name) + len(value)
	}
	if t.left < 0 {
		return nil, fmt.Errorf("%w: with it, the ConfigMaps and Secrets referred to have more than %d bytes: refer to fewer or to smaller ones", errUnusable, maxTexts)
	}
	return data, nil
}
