package identity

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// The service's own token goes to AWS's token service, whatever the endpoint that an object names looks like.
func TestTokenService(t *testing.T) {
	var asked string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Host
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer proxy.Close()
	via, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/fetcher", "AWS_MAX_ATTEMPTS": "1", "AWS_CA_BUNDLE": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	for _, c := range []struct{ why, endpoint, region, asked string }{
		{"none", "", "eu-west-1", "sts.eu-west-1.amazonaws.com:443"},
		{"the global one", "https://sts.amazonaws.com", "", "sts.amazonaws.com:443"},
		{"one in a private network", "https://vpce-1-a.sts.us-east-1.vpce.amazonaws.com", "", "vpce-1-a.sts.us-east-1.vpce.amazonaws.com:443"},
		{"a path", "https://evil.example/x.sts.amazonaws.com", "", ""},
		{"a port and a path", "https://evil.example:8443/x.sts.amazonaws.com", "", ""},
		{"a path without dots before it", "https://sts.evil/x.amazonaws.com", "", ""},
		{"a query", "https://evil.example?x.sts.amazonaws.com", "", ""},
		{"a fragment", "https://evil.example#x.sts.amazonaws.com", "", ""},
		{"a backslash", `https://evil.example\x.sts.amazonaws.com`, "", ""},
		{"a user", "https://user:word@x.sts.amazonaws.com", "", ""},
		{"an address", "https://[::1]:443/x.sts.amazonaws.com", "", ""},
		{"another host", "https://sts.amazonaws.com.evil.example", "", ""},
		{"a region that is a host", "", "evil.example/#", ""},
	} {
		if asked = ""; c.region == "" {
			c.region = "us-east-1"
		}
		id := Identity{Provider: AWS, Namespace: "tenant", Region: c.region, STS: c.endpoint, Proxy: via}
		_, err := New(nil, Config{Service: "fetcher", Field: "spec.serviceAccountName"}).AWS(t.Context(), id)
		if asked != c.asked || err == nil {
			t.Errorf("%s: %q is asked, want %q; error %v", c.why, asked, c.asked, err)
		}
		if refused := errors.Is(err, ErrRefused); refused != (c.asked == "" && c.endpoint != "") {
			t.Errorf("%s: error %v", c.why, err)
		}
	}
}
