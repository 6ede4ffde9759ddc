package cloudtest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// The region and the account of the tests.
const (
	AWSRegion   = "us-east-1"
	AWSAccount  = "123456789012"
	ECRHost     = AWSAccount + ".dkr.ecr." + AWSRegion + ".amazonaws.com"
	CodeCommit  = "git-codecommit." + AWSRegion + ".amazonaws.com"
	ECRUser     = "AWS"
	ECRPassword = "ecr-password-of-the-test"
)

// AWS gives keys to who may take a role, and passwords to who has keys.
type AWS struct {
	cloud  *Cloud
	review Review
	// OwnToken is what the file of the pod holds, and OwnRole the role for it.
	OwnToken, OwnRole string
	// Keys are what STS gives.
	Keys aws.Credentials
	// Clusters are the names of those of EKS that tokens may be for.
	Clusters []string

	mu    sync.Mutex
	roles map[string]string
	life  time.Duration
}

// Allow lets a subject of the cluster take a role.
func (a *AWS) Allow(role, subject string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.roles == nil {
		a.roles = map[string]string{}
	}
	a.roles[role] = subject
}

// Live says how long keys last.
func (a *AWS) Live(life time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.life = life
}

func (a *AWS) allowed(role string) (subject string, life time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.roles[role], a.life
}

// ServeAWS answers for STS and ECR.
func (c *Cloud) ServeAWS(a *AWS, review Review) *AWS {
	a.cloud, a.review = c, review
	c.Secret(a.Keys.SecretAccessKey, "secret key of AWS")
	c.Secret(a.Keys.SessionToken, "session token of AWS")
	c.Secret(ECRPassword, "password of ECR")
	c.Secret(a.OwnToken, "web identity token")
	c.Handle("sts."+AWSRegion+".amazonaws.com", http.HandlerFunc(a.sts))
	c.Handle("api.ecr."+AWSRegion+".amazonaws.com", http.HandlerFunc(a.ecr))
	return a
}

// sts serves AssumeRoleWithWebIdentity.
func (a *AWS) sts(w http.ResponseWriter, r *http.Request) {
	refuse := func(code string) {
		w.WriteHeader(http.StatusBadRequest)
		// The answer repeats the token, as no server should, and some may.
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>not this: %s</Message></Error></ErrorResponse>`,
			code, r.FormValue("WebIdentityToken"))
	}
	token, role := r.FormValue("WebIdentityToken"), r.FormValue("RoleArn")
	if r.Method != http.MethodPost || r.FormValue("Action") != "AssumeRoleWithWebIdentity" {
		refuse("InvalidAction")
		return
	}
	allowed, life := a.allowed(role)
	own := token == a.OwnToken && role == a.OwnRole
	if !own {
		a.cloud.Secret(token, "token of a service account")
		subject := a.review(token, "sts.amazonaws.com")
		if subject == "" {
			refuse("InvalidIdentityToken")
			return
		}
		parts := strings.Split(subject, ":")
		if allowed != subject || r.FormValue("RoleSessionName") != parts[3]+"."+parts[2]+"."+AWSRegion+".fluxcd.io" {
			refuse("AccessDenied")
			return
		}
	}
	a.cloud.granted("aws", role)
	type credentials struct {
		AccessKeyId, SecretAccessKey, SessionToken, Expiration string //nolint:revive // the names are AWS's
	}
	text, err := xml.Marshal(struct {
		XMLName     xml.Name    `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleWithWebIdentityResponse"`
		Credentials credentials `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}{Credentials: credentials{a.Keys.AccessKeyID, a.Keys.SecretAccessKey, a.Keys.SessionToken, time.Now().Add(life).UTC().Format(time.RFC3339)}})
	if err != nil {
		refuse("InternalFailure")
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = w.Write(text)
}

// ecr serves GetAuthorizationToken to requests that the keys have signed.
func (a *AWS) ecr(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	hash := sha256.Sum256(body)
	if err != nil || !a.signed(r, hex.EncodeToString(hash[:]), "ecr") || r.Header.Get("X-Amz-Target") != "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken" {
		w.Header().Set("X-Amzn-ErrorType", "InvalidSignatureException")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"InvalidSignatureException","message":"not signed"}`))
		return
	}
	a.cloud.granted("ecr", ECRUser)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(map[string]any{"authorizationData": []any{map[string]any{
		"authorizationToken": base64.StdEncoding.EncodeToString([]byte(ECRUser + ":" + ECRPassword)),
		"expiresAt":          time.Now().Add(12 * time.Hour).Unix(), "proxyEndpoint": "https://" + ECRHost,
	}}})
}

// signed makes the signature again, over what the request says it is over.
func (a *AWS) signed(r *http.Request, hash, service string) bool {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 5*time.Minute {
		return false
	}
	_, list, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	again, err := http.NewRequest(r.Method, "https://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		return false
	}
	again.ContentLength = r.ContentLength
	for _, name := range strings.Split(list, ";") {
		if name != "host" && name != "content-length" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	if err := signer(service).SignHTTP(context.Background(), a.Keys, again, hash, service, AWSRegion, at); err != nil {
		return false
	}
	return again.Header.Get("Authorization") == r.Header.Get("Authorization")
}

func signer(service string) *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
}

// Resign checks that the keys and their session have signed a request to S3, and makes it one
// that they sign without a session, for a server that knows no sessions.
func (a *AWS) Resign(r *http.Request) bool {
	hash := r.Header.Get("X-Amz-Content-Sha256")
	if r.Header.Get("X-Amz-Security-Token") != a.Keys.SessionToken || !a.signed(r, hash, "s3") {
		return false
	}
	r.Header = http.Header{"X-Amz-Content-Sha256": {hash}}
	r.URL.Scheme, r.URL.Host = "http", r.Host
	keys := aws.Credentials{AccessKeyID: a.Keys.AccessKeyID, SecretAccessKey: a.Keys.SecretAccessKey}
	return signer("s3").SignHTTP(r.Context(), keys, r, hash, "s3", AWSRegion, time.Now()) == nil
}

// Commits says whether a request to CodeCommit has a password that the keys have signed
// for its repository (Signature Version 4, with the method GIT and no payload).
func (a *AWS) Commits(r *http.Request, repository string) bool {
	user, password, ok := r.BasicAuth()
	stamp, signature, found := strings.Cut(password, "Z")
	at, err := time.Parse("20060102T150405", stamp)
	if !ok || !found || err != nil || time.Since(at).Abs() > 15*time.Minute || user != a.Keys.AccessKeyID+"%"+a.Keys.SessionToken {
		return false
	}
	a.cloud.Secret(password, "password of CodeCommit")
	request := sha256.Sum256([]byte("GIT\n" + repository + "\n\nhost:" + CodeCommit + "\n\nhost\n"))
	scope := stamp[:8] + "/" + AWSRegion + "/codecommit/aws4_request"
	key := []byte("AWS4" + a.Keys.SecretAccessKey)
	for _, part := range append(strings.Split(scope, "/"), "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hex.EncodeToString(request[:])) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return signature == hex.EncodeToString(key)
}
