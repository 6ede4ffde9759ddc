package applier_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
	"github.com/sluice-gitops/sluice/test/cloudtest"
	"github.com/sluice-gitops/sluice/test/controlplane"
)

const (
	teamRole = "arn:aws:iam::" + cloudtest.AWSAccount + ":role/team"
	// known is the cluster's name at all providers.
	known = "known"
)

// cloudWorld is a world with another cluster that providers know, which asks them whose a
// token is. All its apps have one namespace, with the accounts that the providers know.
type cloudWorld struct {
	*remoteWorld
	namespace string
	clusters  *cloudtest.Clusters
	google    *cloudtest.Google
	aws       *cloudtest.AWS
	// sink is a server that a tenant could have: it notes what it is sent.
	sink *sink
}

// TestClouds runs the cases of spec.kubeConfig.configMapRef with a provider: the applier's
// environment is a pod's, and the providers' names lead to servers of the test.
func TestClouds(t *testing.T) {
	w := newCloudWorld(t)
	type cloudCase struct {
		name, reason string
		run          func(*testing.T, *cloudWorld)
	}
	t.Run("gate", func(t *testing.T) { cloudGate(t, w) })
	w.with(applier.Settings{ServiceAccountIdentities: true, DefaultKubeconfigServiceAccount: "team"}, func() {
		t.Run("default account", func(t *testing.T) { cloudDefaultAccount(t, w) })
	})
	w.stop()
	w.stop = w.start(applier.Settings{ServiceAccountIdentities: true})
	t.Run("alone", func(t *testing.T) {
		for _, c := range []cloudCase{
			{"identities", "three providers, by both identities, with and without asking where the cluster is", cloudIdentities},
			{"stalled", "a token server that does not answer holds up no other namespace", cloudStalled},
		} {
			t.Run(c.name, func(t *testing.T) { c.run(t, w) })
		}
	})
	t.Run("beside", func(t *testing.T) {
		for _, c := range []cloudCase{
			{"nobody else's server", "the applier's own identity goes where the provider says", cloudOwn},
			{"failures", "what is wrong is told by its code", cloudFailures},
			{"tokens that end", "requests have a fresh token over the same connection", cloudTokensThatEnd},
			{"moved", "a cluster that is elsewhere now is found there", cloudMoved},
			{"account changed", "an account that says something else is another identity at once", cloudAccountChanged},
			{"account gone", "a deletion leaves objects behind when the account is gone", cloudAccountGone},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, w)
			})
		}
	})
	w.nothingTold(t)
}

func newCloudWorld(t *testing.T) *cloudWorld {
	t.Helper()
	w := &cloudWorld{remoteWorld: &remoteWorld{world: newWorld(t)}, sink: newSink(t)}
	w.namespace = w.newNamespace(t)
	subject := func(name string) string { return "system:serviceaccount:" + w.namespace + ":" + name }
	review := func(token, audience string) string {
		review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}}}
		if err := w.Create(t.Context(), review); err != nil || !review.Status.Authenticated {
			return ""
		}
		return review.Status.User.Username
	}
	w.aws = internet.ServeAWS(&cloudtest.AWS{
		OwnToken: cloudtest.OwnAWSToken, OwnRole: cloudtest.OwnAWSRole, Clusters: []string{known},
		Keys: aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "secret-key-of-the-test", SessionToken: "session-token-of-the-test"},
	}, review)
	w.aws.Live(time.Hour)
	w.aws.Allow(teamRole, subject("team"))
	azure := internet.ServeAzure(&cloudtest.Azure{OwnToken: cloudtest.OwnAzureToken, Subjects: []string{subject("team")}}, review)
	w.google = internet.ServeGoogle(&cloudtest.Google{Subjects: []string{subject("team"), subject("short"), subject("gone"), subject("changes")}}, review)
	w.clusters = internet.ServeClusters(w.aws, azure, w.google)
	w.startFar(t)
	google := func(account string) map[string]string {
		return map[string]string{"gcp.auth.fluxcd.io/workload-identity-provider": cloudtest.GCPProvider, "iam.gke.io/gcp-service-account": account}
	}
	all := google(cloudtest.GCPAccount)
	all["eks.amazonaws.com/role-arn"] = teamRole
	all["azure.workload.identity/tenant-id"], all["azure.workload.identity/client-id"] = cloudtest.AzureTenant, cloudtest.AzureClient
	for name, annotations := range map[string]map[string]string{
		"team": all, "stranger": all, "nobody": nil, "short": google(cloudtest.GCPShortAccount),
		"gone": google(cloudtest.GCPAccount), "changes": google(cloudtest.GCPAccount),
	} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Annotations: annotations}}
		if err := w.Create(t.Context(), account); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// startFar starts the other cluster.
func (w *cloudWorld) startFar(t *testing.T) {
	t.Helper()
	hook := httptest.NewServer(http.HandlerFunc(w.clusters.Review))
	t.Cleanup(hook.Close)
	config := api.NewConfig()
	config.Clusters["c"] = &api.Cluster{Server: hook.URL}
	config.AuthInfos["u"] = &api.AuthInfo{}
	config.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "webhook")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	w.farPlane = controlplane.StartT(t, controlplane.Options{RequestLog: true, NoNodes: true, NoControllerManager: true, APIServerFlags: []string{
		"--authentication-token-webhook-config-file=" + path, "--authentication-token-webhook-version=v1", "--authentication-token-webhook-cache-ttl=0s",
	}})
	var err error
	if w.far, err = client.New(w.farPlane.RESTConfig(), client.Options{Scheme: w.Scheme()}); err != nil {
		t.Fatal(err)
	}
	if err := w.far.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}); err != nil {
		t.Fatal(err)
	}
	w.clusters.Put(known, w.at(w.farPlane.URL))
	w.clusters.Put("two", w.at("https://127.0.0.1:1", w.farPlane.URL))
	w.clusters.Put("young", cloudtest.Cluster{Young: true})
	w.clusters.Put("local", cloudtest.Cluster{Local: true})
}

// at is the other cluster as providers know it, at addresses.
func (w *cloudWorld) at(addresses ...string) cloudtest.Cluster {
	return cloudtest.Cluster{Addresses: addresses, Authority: w.farPlane.RESTConfig().CAData}
}

// sink is an API server that lets nobody in.
type sink struct {
	url       string
	authority []byte
	mu        sync.Mutex
	sent      []string
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.sent = append(s.sent, r.Header.Get("Authorization"))
		s.mu.Unlock()
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	s.authority = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return s
}

func (s *sink) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// cloudApp is an app whose objects go where its ConfigMap says.
func (w *cloudWorld) cloudApp(t *testing.T, name string, data map[string]string) *remoteApp {
	t.Helper()
	a := &remoteApp{app: &app{world: w.world, t: t, namespace: w.namespace, name: name}, far: w.far}
	a.source = sourceRef{kind: sourcev1.GitRepositoryKind, namespace: a.namespace, name: name}
	a.createSource()
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name, Labels: map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}}, Data: data,
	}
	if err := w.Create(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	a.create(name, func(ks *kustomizev1.Kustomization) {
		ks.Spec.KubeConfig = &fluxmeta.KubeConfigReference{ConfigMapRef: &fluxmeta.LocalObjectReference{Name: name}}
	})
	a.build(configMap("of-"+name, "1"))
	return a
}

// applied waits until the app's object is in the other cluster, and returns who applied it.
func (w *cloudWorld) applied(a *remoteApp) string {
	a.t.Helper()
	a.ready()
	a.farHolds("of-"+a.name, "1")
	a.stranger("of-" + a.name)
	all, err := w.farPlane.Requests(time.Time{}, time.Now())
	if err != nil {
		a.t.Fatal(err)
	}
	who := ""
	for _, r := range all {
		if r.Verb == "patch" && r.Name == "of-"+a.name {
			who = r.User
		}
	}
	return who
}

// failing waits until the app says why it has no cluster.
func failing(a *remoteApp, message string) {
	a.t.Helper()
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", message)
}

// resources are what each provider calls a cluster.
var resources = map[string]func(string) string{"aws": cloudtest.EKSCluster, "azure": cloudtest.AKSCluster, "gcp": cloudtest.GKECluster}

// cloudGate has an applier that refuses the identities of service accounts.
func cloudGate(t *testing.T, w *cloudWorld) {
	for provider, name := range resources {
		a := w.cloudApp(t, "gate-"+provider, map[string]string{"provider": provider, "cluster": name(known), "serviceAccountName": "team"})
		a.condition(kube.ConditionStalled, "True", "FeatureGateDisabled", "to use serviceAccountName of a ConfigMap of spec.kubeConfig for provider authentication "+
			"please enable the ObjectLevelWorkloadIdentity feature gate in the controller: start the applier with --object-level-workload-identity")
	}
	own := w.cloudApp(t, "gate-own", map[string]string{"provider": "gcp", "cluster": cloudtest.GKECluster(known)})
	if who := w.applied(own); who != "gcp:machine" {
		t.Errorf("without the gate, the own identity is %q", who)
	}
}

// cloudDefaultAccount has an applier that shows its own identity to nobody.
func cloudDefaultAccount(t *testing.T, w *cloudWorld) {
	const machine = "GET metadata/computeMetadata/v1/instance/service-accounts/default/token"
	before := internet.Count(machine)
	a := w.cloudApp(t, "default", map[string]string{"provider": "gcp", "cluster": cloudtest.GKECluster(known)})
	if who := w.applied(a); who != "gcp:"+cloudtest.GCPAccount {
		t.Errorf("applied by %q", who)
	}
	if internet.Count(machine) != before {
		t.Error("the machine was asked for its identity")
	}
}

func cloudIdentities(t *testing.T, w *cloudWorld) {
	authority := string(w.farPlane.RESTConfig().CAData)
	bare := strings.TrimPrefix(w.farPlane.URL, "https://")
	// lookups begin the requests that ask for a cluster.
	lookups := map[string]string{"aws": "GET eks.", "azure": "POST management.azure.com/", "gcp": "GET container.googleapis.com/"}
	for _, c := range []struct {
		name, reason, provider, want string
		data                         map[string]string
		unasked                      bool
	}{
		{"eks-own", "the pod's role", "aws", "aws:known", map[string]string{}, false},
		{"eks-team", "the account's role", "aws", "aws:known", map[string]string{"serviceAccountName": "team"}, false},
		{"eks-given", "nothing is asked for; the ARN says region and name", "aws", "aws:known", map[string]string{"serviceAccountName": "team", "address": w.farPlane.URL, "ca.crt": authority}, true},
		{"aks-own", "the pod's application", "azure", "azure:" + cloudtest.AzureOwnClient, map[string]string{}, false},
		{"aks-team", "the account's application", "azure", "azure:" + cloudtest.AzureClient, map[string]string{"serviceAccountName": "team"}, false},
		{"aks-chosen", "the second address of two", "azure", "azure:" + cloudtest.AzureClient, map[string]string{"cluster": cloudtest.AKSCluster("two"), "serviceAccountName": "team", "address": w.farPlane.URL}, false},
		{"aks-own-chosen", "the second address of two", "azure", "azure:" + cloudtest.AzureOwnClient, map[string]string{"cluster": cloudtest.AKSCluster("two"), "address": w.farPlane.URL}, false},
		{"aks-given", "the cluster needs no name", "azure", "azure:" + cloudtest.AzureClient, map[string]string{"cluster": "", "serviceAccountName": "team", "address": w.farPlane.URL, "ca.crt": authority}, true},
		{"gke-own", "the machine's account", "gcp", "gcp:machine", map[string]string{}, false},
		{"gke-team", "the account's", "gcp", "gcp:" + cloudtest.GCPAccount, map[string]string{"serviceAccountName": "team"}, false},
		{"gke-given", "an address without a scheme", "gcp", "gcp:" + cloudtest.GCPAccount, map[string]string{"cluster": "", "serviceAccountName": "team", "address": bare, "ca.crt": authority}, true},
		{"gke-half", "an address without its authority", "gcp", "gcp:" + cloudtest.GCPAccount, map[string]string{"serviceAccountName": "team", "address": w.farPlane.URL}, false},
		{"gke-own-same", "what the provider says, too", "gcp", "gcp:machine", map[string]string{"address": bare, "ca.crt": authority}, false},
		{"gke-audience", "an audience by name", "gcp", "gcp:" + cloudtest.GCPAccount, map[string]string{"serviceAccountName": "team", "audiences": "//iam.googleapis.com/" + cloudtest.GCPProvider + "\n"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := map[string]string{"provider": c.provider, "cluster": resources[c.provider](known)}
			maps.Copy(data, c.data)
			before := internet.Count(lookups[c.provider])
			a := w.cloudApp(t, c.name, data)
			if who := w.applied(a); who != c.want {
				t.Errorf("%s: applied by %q, want %q", c.reason, who, c.want)
			}
			if c.unasked && internet.Count(lookups[c.provider]) != before {
				t.Error("the provider was asked for what the ConfigMap says")
			}
		})
	}
}

// cloudOwn has ConfigMaps of a tenant who wants the applier's identity.
func cloudOwn(t *testing.T, w *cloudWorld) {
	for provider, name := range resources {
		for kind, data := range map[string]map[string]string{
			"server":    {"address": w.sink.url, "ca.crt": string(w.sink.authority)},
			"address":   {"address": w.sink.url},
			"authority": {"ca.crt": string(w.sink.authority)},
		} {
			data["provider"], data["cluster"] = provider, name(known)
			want := "refused: the applier's own identity is shown to a cluster as its provider knows it only"
			if provider == "azure" && kind != "authority" {
				want = "no kubeconfig found for AKS cluster"
			}
			failing(w.cloudApp(t, "own-"+provider+"-"+kind, data), want)
		}
		failing(w.cloudApp(t, "own-"+provider+"-nameless", map[string]string{
			"provider": provider, "address": w.sink.url, "ca.crt": string(w.sink.authority),
		}), "cluster is empty: name the cluster as provider "+provider+" does")
	}
	if sent := w.sink.received(); len(sent) > 0 {
		t.Errorf("a tenant's server was sent %q", sent)
	}
	// An account's is the tenant's own.
	a := w.cloudApp(t, "own-not", map[string]string{
		"provider": "gcp", "serviceAccountName": "team", "address": w.sink.url, "ca.crt": string(w.sink.authority),
	})
	a.until("the account's identity is shown to the server that its tenant names", func() error {
		if !slices.Contains(w.sink.received(), "Bearer "+cloudtest.GCPAccountToken) {
			return errors.New("it is not")
		}
		return nil
	})
}

func cloudFailures(t *testing.T, w *cloudWorld) {
	for name, c := range map[string]struct {
		data map[string]string
		want string
	}{
		"eks-arn":      {map[string]string{"provider": "aws", "cluster": "known"}, "provider aws: invalid EKS cluster ARN"},
		"aks-id":       {map[string]string{"provider": "azure", "cluster": "known"}, "provider azure: invalid AKS cluster ID"},
		"gke-name":     {map[string]string{"provider": "gcp", "cluster": "known"}, "provider gcp: invalid GKE cluster ID"},
		"eks-unknown":  {map[string]string{"provider": "aws", "cluster": cloudtest.EKSCluster("none")}, "provider aws: EKS DescribeCluster: the answer is ResourceNotFoundException"},
		"aks-unknown":  {map[string]string{"provider": "azure", "cluster": cloudtest.AKSCluster("none")}, "provider azure: HTTP 404 ResourceNotFound"},
		"gke-unknown":  {map[string]string{"provider": "gcp", "cluster": cloudtest.GKECluster("none")}, "provider gcp: HTTP 404 notFound"},
		"eks-young":    {map[string]string{"provider": "aws", "cluster": cloudtest.EKSCluster("young")}, "it may not be ready yet"},
		"gke-young":    {map[string]string{"provider": "gcp", "cluster": cloudtest.GKECluster("young")}, "it may not be ready yet"},
		"aks-local":    {map[string]string{"provider": "azure", "cluster": cloudtest.AKSCluster("local")}, "does not have Microsoft Entra ID integration enabled"},
		"missing":      {map[string]string{"provider": "gcp", "cluster": cloudtest.GKECluster(known), "serviceAccountName": "none"}, "failed to get service account '" + w.namespace + "/none'"},
		"eks-nobody":   {map[string]string{"provider": "aws", "cluster": cloudtest.EKSCluster(known), "serviceAccountName": "nobody"}, "invalid eks.amazonaws.com/role-arn annotation"},
		"aks-nobody":   {map[string]string{"provider": "azure", "cluster": cloudtest.AKSCluster(known), "serviceAccountName": "nobody"}, "azure tenant ID is not set in the service account annotation"},
		"eks-stranger": {map[string]string{"provider": "aws", "cluster": cloudtest.EKSCluster(known), "serviceAccountName": "stranger"}, "provider aws: STS AssumeRoleWithWebIdentity: the answer is AccessDenied"},
		"aks-stranger": {map[string]string{"provider": "azure", "cluster": cloudtest.AKSCluster(known), "serviceAccountName": "stranger"}, "provider azure: no token was given: HTTP 401 AADSTS7000215"},
		"gke-stranger": {map[string]string{"provider": "gcp", "cluster": cloudtest.GKECluster(known), "serviceAccountName": "stranger"}, "provider gcp: oauth2/google: status code 400"},
		"http":         {map[string]string{"provider": "gcp", "serviceAccountName": "team", "address": "http://far.example", "ca.crt": string(w.sink.authority)}, "address is not an https URL"},
		"authority":    {map[string]string{"provider": "gcp", "serviceAccountName": "team", "ca.crt": "none"}, "ca.crt holds no certificate in PEM form"},
	} {
		failing(w.cloudApp(t, "failed-"+name, c.data), c.want)
	}
}

// cloudTokensThatEnd has tokens that last four seconds, and one that is refused before.
func cloudTokensThatEnd(t *testing.T, w *cloudWorld) {
	a := w.cloudApp(t, "short", map[string]string{"provider": "gcp", "cluster": cloudtest.GKECluster(known), "serviceAccountName": "short"})
	if who := w.applied(a); who != "gcp:"+cloudtest.GCPShortAccount {
		t.Fatalf("applied by %q", who)
	}
	revisions := 0
	another := func(reason string) {
		t.Helper()
		before := w.google.Short()
		a.until(reason, func() error {
			revisions++
			a.moveSource(fmt.Sprint("main@sha1:again-", revisions))
			a.build(configMap("of-short", fmt.Sprint("again ", revisions)))
			a.farHolds("of-short", fmt.Sprint("again ", revisions))
			if w.google.Short() == before {
				return errors.New("the token is still the same")
			}
			return nil
		})
	}
	another("a token is asked for when the first one ends")
	another("a token is asked for when the second one ends")
	w.google.Revoke()
	another("a token is asked for instead of one that is refused")
	all, err := w.farPlane.Requests(time.Time{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	watches := 0
	for _, r := range all {
		if r.User == "gcp:"+cloudtest.GCPShortAccount && r.Verb == "watch" && r.Resource == "configmaps" {
			watches++
		}
	}
	if watches != 1 {
		t.Errorf("ConfigMaps were watched %d times: a token is to cost no connection", watches)
	}
}

// cloudMoved has a cluster whose address becomes another.
func cloudMoved(t *testing.T, w *cloudWorld) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	defer end()
	go forward(ended, listener, strings.TrimPrefix(w.farPlane.URL, "https://"))
	w.clusters.Put("moves", w.at("https://"+listener.Addr().String()))
	a := w.cloudApp(t, "moved", map[string]string{"provider": "gcp", "cluster": cloudtest.GKECluster("moves")})
	w.applied(a)
	w.clusters.Put("moves", w.at(w.farPlane.URL))
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	end()
	a.moveSource("main@sha1:2")
	a.build(configMap("of-moved", "2"))
	a.farHolds("of-moved", "2")
	a.ready()
}

// cloudAccountChanged gives an account another identity at the provider.
func cloudAccountChanged(t *testing.T, w *cloudWorld) {
	a := w.cloudApp(t, "changes", map[string]string{"provider": "gcp", "cluster": cloudtest.GKECluster(known), "serviceAccountName": "changes"})
	if who := w.applied(a); who != "gcp:"+cloudtest.GCPAccount {
		t.Fatalf("applied by %q", who)
	}
	account := &corev1.ServiceAccount{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "changes"}, account); err != nil {
		t.Fatal(err)
	}
	delete(account.Annotations, "iam.gke.io/gcp-service-account") // so that it acts as itself
	if err := w.Update(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	a.moveSource("main@sha1:2")
	a.build(configMap("of-changes", "2"))
	a.farHolds("of-changes", "2")
	all, err := w.farPlane.Requests(time.Time{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(r controlplane.Request) bool {
		return r.Verb == "patch" && r.Name == "of-changes" && r.User == "gcp:federation"
	}) {
		t.Error("the next pass was the old identity's")
	}
}

func cloudAccountGone(t *testing.T, w *cloudWorld) {
	a := w.cloudApp(t, "gone", map[string]string{"provider": "gcp", "cluster": cloudtest.GKECluster(known), "serviceAccountName": "gone"})
	w.applied(a)
	if err := w.Delete(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "gone"}}); err != nil {
		t.Fatal(err)
	}
	a.delete()
	a.farHolds("of-gone", "1")
	a.event("Warning", "PruneFailed", "ConfigMap/"+w.namespace+"/of-gone")
}

// cloudStalled has more objects than workers behind a token server that does not answer,
// each with an identity of its own.
func cloudStalled(t *testing.T, w *cloudWorld) {
	release := make(chan struct{})
	answered := internet.Hold("sts.us-east-1.amazonaws.com", release)
	defer answered()
	var stuck []*remoteApp
	for n := range 20 {
		name := fmt.Sprint("stuck-", n)
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Annotations: map[string]string{"eks.amazonaws.com/role-arn": teamRole}}}
		if err := w.Create(t.Context(), account); err != nil {
			t.Fatal(err)
		}
		stuck = append(stuck, w.cloudApp(t, name, map[string]string{"provider": "aws", "cluster": cloudtest.EKSCluster(known), "serviceAccountName": name}))
	}
	stuck[0].until("the token server was asked by all", func() error {
		if n := internet.Count("POST sts."); n < len(stuck) {
			return fmt.Errorf("by %d", n)
		}
		return nil
	})
	sent := stuck[0].sentDuring(5 * time.Second)
	for _, what := range []string{"get configmaps", "get serviceaccounts"} {
		if sent[what] > len(stuck)/4 {
			t.Errorf("objects that wait for a lookup ask their own cluster all the time: %v", sent)
		}
	}
	for n := range 3 {
		near := w.world.newApp(t, nil)
		began := time.Now()
		near.build(configMap("near", "1"))
		near.ready()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("object %d of the own cluster took %s beside identities that nobody answers for", n, took)
		}
	}
	far := w.cloudApp(t, "beside-stuck", map[string]string{"provider": "azure", "cluster": cloudtest.AKSCluster(known)})
	w.applied(far)
	stuck[0].untilWithin(45*time.Second, "the failure is told", func() error {
		c := apimeta.FindStatusCondition(stuck[0].get().Status.Conditions, kube.ConditionReady)
		if c == nil || !strings.Contains(c.Message, "no answer within 30s") {
			return fmt.Errorf("it is %v", c)
		}
		return nil
	})
	for _, a := range stuck { // so that they ask no more
		a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = true })
	}
	close(release)
}

// nothingTold looks for credentials in what people can read.
func (w *cloudWorld) nothingTold(t *testing.T) {
	t.Helper()
	var objects kustomizev1.KustomizationList
	var told corev1.EventList
	for _, list := range []client.ObjectList{&objects, &told} {
		if err := w.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal([]any{objects, told})
	if err != nil {
		t.Fatal(err)
	}
	secrets := internet.Secrets()
	for secret, what := range secrets {
		if secret != "" && (strings.Contains(string(text), secret) || len(w.logs.about(secret)) > 0) {
			t.Errorf("the %s can be read", what)
		}
	}
	if len(secrets) < 20 {
		t.Errorf("there were %d credentials", len(secrets))
	}
}
