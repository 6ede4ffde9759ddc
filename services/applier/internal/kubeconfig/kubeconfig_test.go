package kubeconfig

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/test/pki"
)

// secretive is in every field that could be quoted, and must be in no error.
const secretive = "hunter2"

// store is the Secrets and ConfigMaps of namespace ns.
type store map[string]map[string]string

// held is a client that reads a store and does nothing else.
type held struct {
	client.Client
	store store
}

func (h held) Get(_ context.Context, name client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	data, ok := h.store[name.Name]
	if !ok || name.Namespace != "ns" {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, name.Name)
	}
	switch o := o.(type) {
	case *corev1.Secret:
		o.Data = map[string][]byte{}
		for k, v := range data {
			o.Data[k] = []byte(v)
		}
	case *corev1.ConfigMap:
		o.Data = data
	}
	return nil
}

func reader(s store, o Options) *Reader {
	return NewReader(held{store: s}, identity.New(held{store: s}, identity.Config{Service: "applier"}), o)
}

func secretRef(name, key string) *fluxmeta.KubeConfigReference {
	return &fluxmeta.KubeConfigReference{SecretRef: &fluxmeta.SecretKeyReference{Name: name, Key: key}}
}

func configMapRef(name string) *fluxmeta.KubeConfigReference {
	return &fluxmeta.KubeConfigReference{ConfigMapRef: &fluxmeta.LocalObjectReference{Name: name}}
}

// written returns a kubeconfig that is good but for what edit does to it.
func written(t *testing.T, edit func(*api.Cluster, *api.AuthInfo, *api.Config)) string {
	t.Helper()
	config := api.NewConfig()
	cluster, user := &api.Cluster{Server: "https://far.example"}, &api.AuthInfo{Token: secretive}
	config.Clusters["c"], config.AuthInfos["u"] = cluster, user
	config.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	if edit != nil {
		edit(cluster, user, config)
	}
	text, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestKubeconfigsAreRefused(t *testing.T) {
	type edit = func(*api.Cluster, *api.AuthInfo, *api.Config)
	all := Options{AllowExec: true, AllowInsecureTLS: true}
	for _, c := range []struct {
		reason string
		text   string
		edit   edit
		o      Options
		want   string
	}{
		{reason: "exec runs a program", edit: func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) {
			u.Exec = &api.ExecConfig{Command: secretive, APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: api.NeverExecInteractiveMode}
		}, want: "user.exec is refused unless the applier runs with insecure-kubeconfig-exec"},
		{reason: "an auth provider runs code, whatever the switches say", o: all, edit: func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) {
			u.AuthProvider = &api.AuthProviderConfig{Name: secretive}
		}, want: "user.auth-provider is refused"},
		{reason: "a token file is the applier's", o: all, edit: func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) { u.TokenFile = "/" + secretive }, want: "user.tokenFile refers to a file"},
		{reason: "a certificate file is the applier's", o: all, edit: func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) { u.ClientCertificate = "/" + secretive }, want: "user.client-certificate refers to a file"},
		{reason: "a key file is the applier's", o: all, edit: func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) { u.ClientKey = "/" + secretive }, want: "user.client-key refers to a file"},
		{reason: "an authority file is the applier's", o: all, edit: func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.CertificateAuthority = "/" + secretive }, want: "cluster.certificate-authority refers to a file"},
		{reason: "a server that is not checked may be anybody", edit: func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.InsecureSkipTLSVerify = true }, want: "cluster.insecure-skip-tls-verify is refused unless the applier runs with insecure-kubeconfig-tls"},
		{reason: "http sends the token in the clear", edit: func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.Server = "http://" + secretive }, want: "cluster.server is not an https URL"},
		{reason: "no other scheme is a server", o: all, edit: func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.Server = "file:///" + secretive }, want: "cluster.server is not a URL with a host"},
		{reason: "credentials in the URL would reach messages", edit: func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.Server = "https://u:" + secretive + "@far" }, want: "cluster.server holds credentials"},
		{reason: "no server: the library would take localhost", edit: func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.Server = "" }, want: "cluster.server is not a URL with a host"},
		{reason: "a proxy that is none of the three schemes", o: all, edit: func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.ProxyURL = "unix://" + secretive }, want: "cluster.proxy-url is not an http, https or socks5 URL"},
		{reason: "an authority that is none", edit: func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) {
			c.CertificateAuthorityData = []byte(secretive)
		}, want: "cluster.certificate-authority-data holds no certificate"},
		{reason: "a certificate without its key", edit: func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) { u.ClientCertificateData = []byte(secretive) }, want: "must be set together"},
		{reason: "a pair that is none", edit: func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) {
			u.ClientCertificateData, u.ClientKeyData = []byte(secretive), []byte(secretive)
		}, want: "are not a pair in PEM form"},
		{reason: "nobody in particular", edit: func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) { u.Token = "" }, want: "user holds no credentials"},
		{reason: "groups of nobody would be dropped, and the user's own rights remain", edit: func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) { u.ImpersonateGroups = []string{secretive} }, want: "need as"},
		{reason: "no current context", edit: func(_ *api.Cluster, _ *api.AuthInfo, c *api.Config) { c.CurrentContext = secretive }, want: "current-context names no context"},
		{reason: "a context without cluster", edit: func(_ *api.Cluster, _ *api.AuthInfo, c *api.Config) { c.Contexts["x"].Cluster = secretive }, want: "names no cluster"},
		{reason: "a context without user", edit: func(_ *api.Cluster, _ *api.AuthInfo, c *api.Config) { c.Contexts["x"].AuthInfo = secretive }, want: "names no user"},
		{reason: "not a kubeconfig; what the library says quotes it", text: "users: " + secretive, want: "it is not a kubeconfig"},
		{reason: "not even YAML", text: "\t" + secretive + ": [", want: "it is not a kubeconfig"},
		{reason: "aliases would be written out", text: "a: &a " + strings.Repeat(secretive, 1000) + "\nb: [" + strings.Repeat("*a,", 4000) + "]\n", want: "too large to be read"},
		{reason: "empty", text: " ", want: "current-context names no context"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			text := c.text
			if text == "" {
				text = written(t, c.edit)
			}
			r := reader(store{"far": {"value": text}}, c.o)
			_, err := r.Connect(t.Context(), "ns", secretRef("far", ""))
			if refusal := (*RefusedError)(nil); !errors.As(err, &refusal) || refusal.Missing || refusal.Disabled {
				t.Fatalf("error is %v", err)
			}
			for _, want := range []string{c.want, `Secret "far"`, `"value"`} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), secretive) || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte(secretive))) {
				t.Errorf("error quotes the kubeconfig: %q", err)
			}
		})
	}
}

func TestReferences(t *testing.T) {
	good := written(t, nil)
	other := written(t, func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.Server = "https://other.example" })
	for _, c := range []struct {
		reason string
		ref    *fluxmeta.KubeConfigReference
		data   map[string]string
		host   string
		want   string
		gone   bool
	}{
		{reason: "value comes first", ref: secretRef("far", ""), data: map[string]string{"value": good, "value.yaml": other}, host: "https://far.example"},
		{reason: "value.yaml is the other default", ref: secretRef("far", ""), data: map[string]string{"value.yaml": other}, host: "https://other.example"},
		{reason: "a named key is the only one", ref: secretRef("far", "mine"), data: map[string]string{"value": good, "mine": other}, host: "https://other.example"},
		{reason: "a named key that is not there is not replaced by a default", ref: secretRef("far", "mine"), data: map[string]string{"value": good}, want: "there is no key mine"},
		{reason: "no default key", ref: secretRef("far", ""), data: map[string]string{"kubeconfig": good}, want: `there is no key "value" or "value.yaml"`},
		{reason: "a Secret that is not there", ref: secretRef("near", ""), want: `Secret "near" not found`, gone: true},
		{reason: "a ConfigMap that is not there", ref: configMapRef("near"), want: `ConfigMap "near" not found`, gone: true},
		{reason: "a reference without a name", ref: secretRef("", ""), want: "the name of the Secret is empty"},
		{reason: "neither", ref: &fluxmeta.KubeConfigReference{}, want: "exactly one of secretRef and configMapRef"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			got, err := reader(store{"far": c.data}, Options{}).Connect(t.Context(), "ns", c.ref)
			if c.host != "" {
				if err != nil || got.Config.Host != c.host || got.Config.Timeout != 30*time.Second {
					t.Fatalf("connection is %+v: %v", got.Config, err)
				}
				return
			}
			refusal := (*RefusedError)(nil)
			if !errors.As(err, &refusal) || !strings.Contains(err.Error(), c.want) || refusal.Missing != c.gone {
				t.Fatalf("error is %v", err)
			}
		})
	}
}

func TestKeysTellConnectionsApart(t *testing.T) {
	authority, err := pki.NewAuthority("far")
	if err != nil {
		t.Fatal(err)
	}
	key := func(o Options, edit func(*api.Cluster, *api.AuthInfo, *api.Config)) Key {
		t.Helper()
		c, err := reader(store{"far": {"value": written(t, edit)}}, o).Connect(t.Context(), "ns", secretRef("far", ""))
		if err != nil {
			t.Fatal(err)
		}
		return c.Key
	}
	all := Options{AllowExec: true, AllowInsecureTLS: true}
	plain := key(all, nil)
	if again := key(Options{}, func(_ *api.Cluster, _ *api.AuthInfo, c *api.Config) {
		c.Contexts["unused"] = &api.Context{Cluster: "u"}
	}); again != plain {
		t.Error("what is not used makes another connection")
	}
	seen := map[Key]string{plain: "plain"}
	for reason, edit := range map[string]func(*api.Cluster, *api.AuthInfo, *api.Config){
		"server":      func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.Server = "https://other" },
		"server name": func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.TLSServerName = "other" },
		"trust": func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) {
			c.CertificateAuthorityData = authority.Certificate
		},
		"no trust":      func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.InsecureSkipTLSVerify = true },
		"proxy":         func(c *api.Cluster, _ *api.AuthInfo, _ *api.Config) { c.ProxyURL = "http://proxy" },
		"token":         func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) { u.Token = "other" },
		"password":      func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) { u.Token, u.Username, u.Password = "", "u", "p" },
		"impersonation": func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) { u.Impersonate = "other" },
		"program": func(_ *api.Cluster, u *api.AuthInfo, _ *api.Config) {
			u.Token = ""
			u.Exec = &api.ExecConfig{Command: "get-token", APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: api.NeverExecInteractiveMode}
		},
	} {
		k := key(all, edit)
		if other, ok := seen[k]; ok {
			t.Errorf("another %s is taken for %s", reason, other)
		}
		seen[k] = reason
	}
}

func TestConfigMaps(t *testing.T) {
	with := func(edit func(map[string]string)) map[string]string {
		data := map[string]string{"provider": "generic", "address": "https://far.example", "serviceAccountName": "robot"}
		edit(data)
		return data
	}
	for _, c := range []struct {
		reason   string
		data     map[string]string
		o        Options
		want     string
		disabled bool
	}{
		{reason: "EKS has the region in the cluster's name", data: with(func(d map[string]string) { d["provider"] = "aws" }), want: "cluster is empty: name the cluster as provider aws does"},
		{reason: "a region with a dot would name another host for the token", data: map[string]string{"provider": "aws", "cluster": "arn:aws:eks:evil.example:123456789012:cluster/far"}, want: "the region of the EKS cluster ARN is not"},
		{reason: "so would one with a slash", data: map[string]string{"provider": "aws", "cluster": "arn:aws:eks:evil/x:123456789012:cluster/far"}, want: "the region of the EKS cluster ARN is not"},
		{reason: "the applier's own identity goes by the cluster's name only", data: map[string]string{"provider": "azure", "address": "https://far.example"}, want: "cluster is empty"},
		{reason: "half of what is known leads nowhere without a name", data: with(func(d map[string]string) { d["provider"] = "gcp" }), want: "cluster is empty"},
		{reason: "a bearer's token is not sent in the clear, whatever the switches say", o: Options{AllowInsecureTLS: true},
			data: with(func(d map[string]string) { d["provider"], d["cluster"], d["address"] = "gcp", "c", "http://far" }), want: "address is not an https URL"},
		{reason: "credentials would reach messages", data: with(func(d map[string]string) {
			d["provider"], d["cluster"], d["address"] = "gcp", "c", "u:"+secretive+"@far"
		}), want: "address holds credentials"},
		{reason: "an account's identity needs the gate", data: with(func(d map[string]string) { d["provider"], d["cluster"] = "gcp", "c" }), want: "please enable the ObjectLevelWorkloadIdentity feature gate", disabled: true},
		{reason: "so does the default's", o: Options{DefaultServiceAccount: "robot"}, data: map[string]string{"provider": "aws", "cluster": "c"}, want: "start the applier with --object-level-workload-identity", disabled: true},
		{reason: "no provider", data: with(func(d map[string]string) { delete(d, "provider") }), want: "provider is not one of"},
		{reason: "an unknown provider is not quoted", data: with(func(d map[string]string) { d["provider"] = secretive }), want: "provider is not one of"},
		{reason: "no address", data: with(func(d map[string]string) { delete(d, "address") }), want: "address is not a URL with a host"},
		{reason: "http would send the token in the clear", data: with(func(d map[string]string) { d["address"] = "http://far" }), want: "address is not an https URL"},
		{reason: "an authority that is none", data: with(func(d map[string]string) { d["ca.crt"] = secretive }), want: "ca.crt holds no certificate"},
		{reason: "without a service account the applier's own token would go to whoever is named", data: with(func(d map[string]string) { delete(d, "serviceAccountName") }), want: "serviceAccountName is empty"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			_, err := reader(store{"far": c.data}, c.o).Connect(t.Context(), "ns", configMapRef("far"))
			refusal := (*RefusedError)(nil)
			if !errors.As(err, &refusal) || !strings.Contains(err.Error(), c.want) || refusal.Disabled != c.disabled ||
				!strings.Contains(err.Error(), `ConfigMap "far"`) || strings.Contains(err.Error(), secretive) {
				t.Fatalf("error is %v", err)
			}
		})
	}
}

// ailing is a client whose API server reads no service accounts, or makes no tokens of them.
type ailing struct {
	held
	accounts, tokens error
}

func (a ailing) Get(ctx context.Context, name client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if account, ok := o.(*corev1.ServiceAccount); ok {
		account.Name, account.Namespace = name.Name, name.Namespace
		account.Annotations = map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/team"}
		return a.accounts
	}
	return a.held.Get(ctx, name, o, options...)
}

func (a ailing) SubResource(string) client.SubResourceClient { return ailingTokens{err: a.tokens} }

type ailingTokens struct {
	client.SubResourceClient
	err error
}

func (a ailingTokens) Create(context.Context, client.Object, client.Object, ...client.SubResourceCreateOption) error {
	return a.err
}

func TestWhoIsAtFaultForAnAccount(t *testing.T) {
	things := schema.GroupResource{Resource: "serviceaccounts"}
	for _, c := range []struct {
		reason           string
		accounts, tokens error
		refused, missing bool
	}{
		{reason: "an account that does not exist", accounts: apierrors.NewNotFound(things, "robot"), refused: true, missing: true},
		{reason: "an API server that fails", accounts: apierrors.NewInternalError(errors.New("no"))},
		{reason: "an API server that cannot be reached in time", accounts: context.DeadlineExceeded},
		{reason: "an API server that has too much to do for a token", tokens: apierrors.NewTooManyRequests("later", 1)},
		{reason: "an API server that fails to make a token", tokens: apierrors.NewInternalError(errors.New("no"))},
		{reason: "a token that nobody may have", tokens: apierrors.NewForbidden(things, "robot", errors.New("no")), refused: true},
	} {
		t.Run(c.reason, func(t *testing.T) {
			data := map[string]string{"provider": "aws", "cluster": "arn:aws:eks:eu-west-1:123456789012:cluster/far", "serviceAccountName": "robot"}
			server := ailing{held: held{store: store{"far": data}}, accounts: c.accounts, tokens: c.tokens}
			r := NewReader(server, identity.New(server, identity.Config{Service: "applier", ServiceAccounts: true}), Options{})
			got, err := r.Connect(t.Context(), "ns", configMapRef("far"))
			if err == nil {
				_, err = got.Locate(t.Context())
				err = got.Unlocated(err)
			}
			refusal := (*RefusedError)(nil)
			if refused := errors.As(err, &refusal); refused != c.refused || refused && refusal.Missing != c.missing {
				t.Fatalf("error is %v", err)
			}
			if !c.refused && !strings.Contains(err.Error(), "ConfigMap ns/far") {
				t.Errorf("%v does not say where", err)
			}
		})
	}
}

// issuer hands out tokens that tell for whom they are.
type issuer struct {
	asked    []string
	lifetime time.Duration
	err      error
}

func (i *issuer) request(_ context.Context, account types.NamespacedName, audiences []string) (string, time.Time, error) {
	i.asked = append(i.asked, account.String()+" "+strings.Join(audiences, ","))
	return "token" + strings.Repeat("!", len(i.asked)), time.Now().Add(i.lifetime), i.err
}

func TestGenericTokens(t *testing.T) {
	for _, c := range []struct {
		reason string
		data   map[string]string
		o      Options
		from   issuer
		refuse bool
		asked  []string
		sent   []string
	}{
		{reason: "the address is the audience; one token serves all requests", from: issuer{lifetime: time.Hour},
			data: map[string]string{"serviceAccountName": "robot"}, asked: []string{"ns/robot ADDRESS"}, sent: []string{"Bearer token!", "Bearer token!"}},
		{reason: "audiences one a line", from: issuer{lifetime: time.Hour},
			data: map[string]string{"serviceAccountName": "robot", "audiences": "a\nb\n"}, asked: []string{"ns/robot a,b"}, sent: []string{"Bearer token!", "Bearer token!"}},
		{reason: "the default account", from: issuer{lifetime: time.Hour}, o: Options{DefaultServiceAccount: "default"},
			asked: []string{"ns/default ADDRESS"}, sent: []string{"Bearer token!", "Bearer token!"}},
		{reason: "a token that is about to expire is renewed", from: issuer{},
			data: map[string]string{"serviceAccountName": "robot"}, asked: []string{"ns/robot ADDRESS", "ns/robot ADDRESS"}, sent: []string{"Bearer token!", "Bearer token!!"}},
		{reason: "a token that is refused is renewed", from: issuer{lifetime: time.Hour}, refuse: true,
			data: map[string]string{"serviceAccountName": "robot"}, asked: []string{"ns/robot ADDRESS", "ns/robot ADDRESS"}, sent: []string{"Bearer token!", "Bearer token!!"}},
		{reason: "nothing is sent without a token", from: issuer{err: errors.New("no such account")},
			data: map[string]string{"serviceAccountName": "robot"}, asked: []string{"ns/robot ADDRESS", "ns/robot ADDRESS"}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			var sent []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sent = append(sent, r.Header.Get("Authorization"))
				if c.refuse {
					w.WriteHeader(http.StatusUnauthorized)
				}
			}))
			defer server.Close()
			data := map[string]string{"provider": "generic", "address": server.URL}
			for k, v := range c.data {
				data[k] = v
			}
			c.o.AllowInsecureTLS = true
			r := reader(store{"far": data}, c.o)
			r.tokens = &c.from
			got, err := r.Connect(t.Context(), "ns", configMapRef("far"))
			if err != nil {
				t.Fatal(err)
			}
			client := http.Client{Transport: got.Config.WrapTransport(http.DefaultTransport)}
			for range 2 {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if err == nil {
					_ = resp.Body.Close()
				}
				if (err != nil) != (c.from.err != nil) {
					t.Fatalf("request: %v", err)
				}
			}
			if got, want := strings.Join(c.from.asked, ";"), strings.ReplaceAll(strings.Join(c.asked, ";"), "ADDRESS", server.URL); got != want {
				t.Errorf("asked for %s, want %s", got, want)
			}
			if got, want := strings.Join(sent, ";"), strings.Join(c.sent, ";"); got != want {
				t.Errorf("sent %s, want %s", got, want)
			}
		})
	}
}
