package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/smithy-go"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
)

func TestBrief(t *testing.T) {
	const secret = "secret-of-the-test"
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzZWNyZXQifQ.c2VjcmV0LW9mLXRoZS10ZXN0"
	res := func(status int) *http.Response {
		u, err := url.Parse("https://acme.example.com/c?sig=" + secret)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Response{StatusCode: status, Request: &http.Request{Method: http.MethodGet, URL: u}, Body: io.NopCloser(bytes.NewReader([]byte(secret)))}
	}
	for _, c := range []struct {
		why  string
		err  error
		want string
	}{
		{"an answer of Azure", &azcore.ResponseError{StatusCode: 403, ErrorCode: "AuthenticationFailed", RawResponse: res(403)}, "HTTP 403 AuthenticationFailed"},
		{"a code that is none", &azcore.ResponseError{StatusCode: 403, ErrorCode: secret + " " + secret, RawResponse: res(403)}, "HTTP 403"},
		{"an answer of Google", &googleapi.Error{Code: 404, Message: secret, Body: secret, Errors: []googleapi.ErrorItem{{Reason: "notFound", Message: secret}}}, "HTTP 404 notFound"},
		{"a token server", &oauth2.RetrieveError{Response: res(400), Body: []byte(`{"error":"invalid_grant","error_description":"` + secret + `"}`)}, "no token was given: HTTP 400 invalid_grant"},
		{"a token server without JSON", &oauth2.RetrieveError{Response: res(502), Body: []byte(secret)}, "no token was given: HTTP 502"},
		{"an answer of AWS", &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRoleWithWebIdentity", Err: &smithy.GenericAPIError{Code: "InvalidIdentityToken", Message: secret}}, "STS AssumeRoleWithWebIdentity: the answer is InvalidIdentityToken"},
		{"a request that fails", fmt.Errorf("list: %w", &url.Error{Op: "Get", URL: "https://x?sig=" + secret, Err: io.ErrUnexpectedEOF}), "unexpected EOF"},
		{"federation at Google", errors.New("oauth2/google: status code 400: {\"error\":\"" + secret + "\"}"), "oauth2/google: status code 400"},
		{"a token in a sentence", errors.New("cannot use " + token), "cannot use ***"},
		{"many lines", errors.New("first\n" + secret), "first"},
	} {
		got := Brief(c.err)
		if got.Error() != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
		if strings.Contains(got.Error(), secret) || !errors.Is(got, c.err) {
			t.Errorf("%s: %q tells too much, or is another error", c.why, got)
		}
	}
	if Brief(nil) != nil {
		t.Error("nothing became an error")
	}
	if got := Brief(errors.New(strings.Repeat("é", 400))).Error(); len(got) > maxText+len("…") {
		t.Errorf("%d bytes are told", len(got))
	}
}
