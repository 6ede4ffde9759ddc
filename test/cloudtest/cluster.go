package cloudtest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

const (
	eksHost  = "eks." + AWSRegion + ".amazonaws.com"
	armHost  = "management.azure.com"
	gkeHost  = "container.googleapis.com"
	stsHost  = "sts." + AWSRegion + ".amazonaws.com"
	armToken = "entra-token-of-old-management"
	aksScope = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
)

// Cluster is what providers say of a Kubernetes cluster.
type Cluster struct {
	// Addresses of its API server, https URLs; Azure tells all, the others the first.
	Addresses []string
	// Authority vouches for it, in PEM form.
	Authority []byte
	// Young is a cluster of which the providers do not know these yet.
	Young bool
	// Local says that Entra does not manage its users (Azure).
	Local bool
}

// Clusters are those of EKS, AKS and GKE, under one name at each.
type Clusters struct {
	aws    *AWS
	azure  *Azure
	google *Google

	mu    sync.Mutex
	named map[string]Cluster
}

// ServeClusters answers for EKS, the Resource Manager and GKE.
func (c *Cloud) ServeClusters(aws *AWS, azure *Azure, google *Google) *Clusters {
	all := &Clusters{aws: aws, azure: azure, google: google, named: map[string]Cluster{}}
	handle := func(host, pattern string, f http.HandlerFunc) {
		mux := http.NewServeMux()
		mux.HandleFunc(pattern, f)
		c.Handle(host, mux)
	}
	handle(eksHost, "GET /clusters/{name}", all.eks)
	handle(gkeHost, "GET /v1/projects/{project}/locations/{location}/clusters/{name}", all.gke)
	const aks = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ContainerService/managedClusters/{name}"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+aks, all.aks)
	mux.HandleFunc("POST "+aks+"/listClusterUserCredential", all.aksCredentials)
	c.Handle(armHost, mux)
	return all
}

// EKSCluster is what the provider calls a cluster: its ARN.
func EKSCluster(name string) string {
	return "arn:aws:eks:" + AWSRegion + ":" + AWSAccount + ":cluster/" + name
}

// AKSCluster is what the provider calls a cluster: its resource id.
func AKSCluster(name string) string {
	return "/subscriptions/" + AzureTenant + "/resourceGroups/tests/providers/Microsoft.ContainerService/managedClusters/" + name
}

// GKECluster is what the provider calls a cluster: its name, with project and location.
func GKECluster(name string) string {
	return "projects/project-of-tests/locations/europe-west1/clusters/" + name
}

// Put says what providers know under a name.
func (c *Clusters) Put(name string, cluster Cluster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named[name] = cluster
}

func (c *Clusters) get(name string) (Cluster, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.named[name]
	return found, ok
}

func (c *Clusters) eks(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	body, err := io.ReadAll(r.Body)
	hash := sha256.Sum256(body)
	if err != nil || !c.aws.signed(r, hex.EncodeToString(hash[:]), "eks") {
		w.Header().Set("X-Amzn-ErrorType", "UnrecognizedClientException")
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "not this: " + r.Header.Get("Authorization")})
		return
	}
	found, ok := c.get(r.PathValue("name"))
	if !ok {
		w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "no such cluster"})
		return
	}
	cluster := map[string]any{"name": r.PathValue("name"), "status": "CREATING"}
	if !found.Young {
		cluster["status"], cluster["endpoint"] = "ACTIVE", found.Addresses[0]
		cluster["certificateAuthority"] = map[string][]byte{"data": found.Authority}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"cluster": cluster})
}

func (c *Clusters) gke(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	found, ok := c.get(r.PathValue("name"))
	switch {
	case c.google.Whose(token) == "":
		c.google.refuse(w, http.StatusUnauthorized, "authError", token)
	case !ok:
		c.google.refuse(w, http.StatusNotFound, "notFound", r.PathValue("name"))
	case found.Young:
		c.google.answer(w, map[string]any{"name": r.PathValue("name"), "status": "PROVISIONING"})
	default:
		c.google.answer(w, map[string]any{
			"name": r.PathValue("name"), "endpoint": strings.TrimPrefix(found.Addresses[0], "https://"),
			"masterAuth": map[string]any{"clusterCaCertificate": base64.StdEncoding.EncodeToString(found.Authority)},
		})
	}
}

// managed returns a cluster, if the request shows a token.
func (c *Clusters) managed(w http.ResponseWriter, r *http.Request) (Cluster, bool) {
	refuse := func(status int, code string) (Cluster, bool) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": code, "message": "not this: " + r.Header.Get("Authorization")}})
		return Cluster{}, false
	}
	if r.Header.Get("Authorization") != "Bearer "+armToken {
		return refuse(http.StatusUnauthorized, "InvalidAuthenticationToken")
	}
	found, ok := c.get(r.PathValue("name"))
	if !ok {
		return refuse(http.StatusNotFound, "ResourceNotFound")
	}
	return found, true
}

func (c *Clusters) aks(w http.ResponseWriter, r *http.Request) {
	found, ok := c.managed(w, r)
	if !ok {
		return
	}
	properties := map[string]any{}
	if !found.Local {
		properties["aadProfile"] = map[string]any{"managed": true}
	}
	c.azure.answer(w, map[string]any{"name": r.PathValue("name"), "properties": properties})
}

func (c *Clusters) aksCredentials(w http.ResponseWriter, r *http.Request) {
	found, ok := c.managed(w, r)
	if !ok {
		return
	}
	list := []any{}
	for _, address := range found.Addresses {
		config := api.NewConfig()
		config.Clusters["c"] = &api.Cluster{Server: address, CertificateAuthorityData: found.Authority}
		config.AuthInfos["u"] = &api.AuthInfo{}
		config.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
		config.CurrentContext = "x"
		text, err := clientcmd.Write(*config)
		if err != nil {
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		list = append(list, map[string]any{"name": "clusterUser", "value": text})
	}
	c.azure.answer(w, map[string]any{"kubeconfigs": list})
}

// Review answers for a cluster of one of the providers whose a token is (TokenReview), as its
// webhook does.
func (c *Clusters) Review(w http.ResponseWriter, r *http.Request) {
	var review authenticationv1.TokenReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	user := c.user(review.Spec.Token)
	review.Spec = authenticationv1.TokenReviewSpec{}
	review.Status = authenticationv1.TokenReviewStatus{
		Authenticated: user != "", User: authenticationv1.UserInfo{Username: user, Groups: []string{"system:masters"}},
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

func (c *Clusters) user(token string) string {
	client, azure := strings.CutPrefix(token, entraTokens[aksScope]+"-for-")
	switch {
	case azure:
		return "azure:" + client
	case strings.HasPrefix(token, "k8s-aws-v1."):
		if cluster := c.aws.caller(token); cluster != "" {
			return "aws:" + cluster
		}
	case c.google.Whose(token) != "":
		return "gcp:" + c.google.Whose(token)
	}
	return ""
}

// caller returns the cluster that a token is for: a request to STS, GetCallerIdentity, which
// the keys have signed in its query together with the cluster's name.
func (a *AWS) caller(token string) (cluster string) {
	a.cloud.Secret(token, "token for a cluster of EKS")
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "k8s-aws-v1."))
	if err != nil {
		return ""
	}
	u, err := url.Parse(string(text))
	if err != nil || u.Host != stsHost {
		return ""
	}
	query := u.Query()
	at, err := time.Parse("20060102T150405Z", query.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 15*time.Minute || query.Get("Action") != "GetCallerIdentity" {
		return ""
	}
	signature := query.Get("X-Amz-Signature")
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		query.Del(name)
	}
	for _, cluster := range a.Clusters {
		again, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+stsHost+"/?"+query.Encode(), nil)
		if err != nil {
			return ""
		}
		again.Header.Set("x-k8s-aws-id", cluster)
		empty := sha256.Sum256(nil)
		signed, _, err := signer("sts").PresignHTTP(context.Background(), a.Keys, again, hex.EncodeToString(empty[:]), "sts", AWSRegion, at)
		if err == nil && strings.Contains(signed, "X-Amz-Signature="+signature) {
			return cluster
		}
	}
	return ""
}

// newShort returns a token of GCPShortAccount.
func (g *Google) newShort() (token string, ends time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.short == nil {
		g.short = map[string]time.Time{}
	}
	token, ends = g.cloud.Secret(fmt.Sprintf("google-token-of-an-account-%d", len(g.short)), "token of Google"), time.Now().Add(4*time.Second)
	g.short[token] = ends
	return token, ends
}

// Short returns how many tokens GCPShortAccount has got.
func (g *Google) Short() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.short)
}

// Whose returns who has a token that counts; "" for one that does not.
func (g *Google) Whose(token string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case token == GCPOwnToken:
		return "machine"
	case token == gcpFederatedToken:
		return "federation"
	case token == gcpAccountToken:
		return GCPAccount
	case time.Now().Before(g.short[token]):
		return GCPShortAccount
	}
	return ""
}

// Revoke ends the tokens of GCPShortAccount at once.
func (g *Google) Revoke() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for token := range g.short {
		g.short[token] = time.Time{}
	}
}
