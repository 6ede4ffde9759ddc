package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/smithy-go"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"github.com/sluice-gitops/sluice/internal/serve"
)

const (
	// maxText bounds what is told of an error, maxAnswer what is read of an answer.
	maxText   = 300
	maxAnswer = 1 << 16
)

// Brief leaves out of an error of a provider's library what that repeats of requests and
// answers, which may hold credentials, and says what went wrong by codes. Its text is
// one line.
func Brief(err error) error {
	text, known := code(err)
	if !known {
		if err == nil {
			return nil
		}
		text = serve.Redact(firstLine(err.Error()))
	}
	return &briefError{text: text, err: err}
}

// code says what went wrong, if the error is of a library that has a code for it.
func code(err error) (text string, known bool) {
	var entra *azidentity.AuthenticationFailedError
	var azure *azcore.ResponseError
	var google *googleapi.Error
	var token *oauth2.RetrieveError
	var aws smithy.APIError
	var failed *url.Error
	switch {
	case errors.As(err, &entra) && entra.RawResponse != nil:
		return "no token was given: " + answer(entra.RawResponse.StatusCode, entraCode(entra.RawResponse)), true
	case errors.As(err, &azure):
		return answer(azure.StatusCode, azure.ErrorCode), true
	case errors.As(err, &google):
		reason := ""
		if len(google.Errors) > 0 {
			reason = google.Errors[0].Reason
		}
		return answer(google.Code, reason), true
	case errors.As(err, &token) && token.Response != nil:
		found := token.ErrorCode
		if found == "" {
			found = oauthCode(token.Body)
		}
		return "no token was given: " + answer(token.Response.StatusCode, found), true
	case errors.As(err, &aws):
		operation := ""
		var of *smithy.OperationError
		if errors.As(err, &of) {
			operation = of.Service() + " " + of.Operation() + ": "
		}
		return operation + "the answer is " + word(aws.ErrorCode()), true
	case errors.As(err, &failed):
		return serve.Redact(firstLine(failed.Err.Error())), true
	}
	return "", false
}

// entraCode is what Entra calls what is wrong.
func entraCode(res *http.Response) string {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return ""
	}
	return oauthCode(body)
}

// oauthCode is the code in an answer of a token server (RFC 6749, 5.2), or the finer one
// that Entra begins its description with.
func oauthCode(body []byte) string {
	var said struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	if found := regexp.MustCompile(`^AADSTS[0-9]+`).FindString(said.Description); found != "" {
		return found
	}
	return said.Code
}

func answer(status int, code string) string {
	if code = word(code); code != "" {
		code = " " + code
	}
	return fmt.Sprintf("HTTP %d%s", status, code)
}

// word is a server's code for an error, if it looks like one.
func word(code string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	if len(code) > 64 || strings.TrimLeftFunc(code, plain) != "" {
		return ""
	}
	return code
}

// firstLine of a text; of Google's library the code alone, which it puts between the URL and
// the answer.
func firstLine(text string) string {
	if found := regexp.MustCompile(`oauth2/google: status code [0-9]+`).FindString(text); found != "" {
		return found
	}
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// briefError has another text than what it wraps.
type briefError struct {
	text string
	err  error
}

// Error implements error.
func (e *briefError) Error() string { return e.text }

// Unwrap returns the original, for its identity, not for its text.
func (e *briefError) Unwrap() error { return e.err }
