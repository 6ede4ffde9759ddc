package bucket

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
)

// What is asked whether the machine's identity may be shown, and what logs in, agree.
func TestOfMachine(t *testing.T) {
	for _, c := range []struct {
		why  string
		data map[string]string
		want bool
	}{
		{"a client alone", map[string]string{"clientId": "c"}, true},
		{"a client of a tenant", map[string]string{"tenantId": "t", "clientId": "c"}, true},
		{"a blank secret is none", map[string]string{"tenantId": "t", "clientId": "c", "clientSecret": "\n"}, true},
		{"a blank certificate is none", map[string]string{"tenantId": "t", "clientId": "c", "clientCertificate": " "}, true},
		{"a blank tenant is none", map[string]string{"tenantId": " ", "clientId": "c", "clientSecret": "s"}, true},
		{"a client with its secret", map[string]string{"tenantId": "t", "clientId": "c", "clientSecret": "s"}, false},
		{"a blank client is none", map[string]string{"clientId": " ", "sasKey": "sig=x"}, false},
	} {
		s := secrets{Login: map[string][]byte{}}
		for key, value := range c.data {
			s.Login[key] = []byte(value)
		}
		if got := s.ofMachine(); got != c.want {
			t.Errorf("%s: ofMachine is %v", c.why, got)
		}
		spec := sourcev1.BucketSpec{Endpoint: "https://a.blob.core.windows.net", SecretRef: &fluxmeta.LocalObjectReference{Name: "s"}}
		login, err := s.azure(spec, http.DefaultTransport)
		if err != nil {
			t.Fatalf("%s: %v", c.why, err)
		}
		if _, machine := login.token.(*azidentity.ManagedIdentityCredential); machine != c.want {
			t.Errorf("%s: logs in by %T", c.why, login.token)
		}
	}
}

// A redirect is no way to get at a login.
func TestNoRedirect(t *testing.T) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://other.example.com", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if got := azureOptions(http.DefaultTransport).Transport.(*http.Client).CheckRedirect(request, nil); !errors.Is(got, http.ErrUseLastResponse) {
		t.Errorf("a redirect of Azure is answered by %v", got)
	}
}
